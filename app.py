"""The page: show it a flower, and it says the name.

    python app.py [--model PATH|USER/MODEL[@REVISION]]

Without --model it opens the model that FLOWERS_MODEL names, else the newest run's. Hugging Face
Spaces runs this file as it stands. Host and port are gradio's own settings, GRADIO_SERVER_NAME
and GRADIO_SERVER_PORT.
"""

from __future__ import annotations

import atexit
import html
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence

# Read by gradio when it is imported; without it, every start would be reported to its makers.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import numpy as np
from PIL import Image

from flowers_model import bundle
from flowers_model.classifier import FlowerClassifier, Prediction, predictions
from flowers_model.command import Parser
from flowers_model.errors import UserError
from flowers_model.explain import explain_top
from flowers_model.photo import decode
from flowers_model.similar import Similar

# Where a Space keeps the name of its model, on one line; spaces/deploy.py writes it.
MODEL_FILE = pathlib.Path(__file__).with_name("model.txt")
ALL = "One of each"
PREVIEW = 1024  # longest side of the photo that the page shows, pixels
SIMILAR = 6  # photos of the gallery that are shown beside an answer
UPLOAD_LIMIT = "50mb"
# Once a minute gradio deletes what visitors sent, or was made for them, over five minutes ago.
FORGET = (60, 300)
PRIVACY = (
    "Your photo is used for this one answer. It is kept nowhere: the server deletes it within "
    "ten minutes."
)

UNKNOWN = "This does not look like a flower I know"

THEME = gr.themes.Soft(
    primary_hue="emerald",
    secondary_hue="emerald",
    neutral_hue="stone",
    radius_size="lg",
    font=["system-ui", "sans-serif"],  # the visitor's own: nothing to download, from nowhere
    font_mono=["ui-monospace", "monospace"],
)
CSS = """
#hero h1 { font-size: 2.2rem; line-height: 1.15; letter-spacing: -0.02em; margin: 0.5rem 0 0; }
#hero p { font-size: 1.1rem; color: var(--body-text-color-subdued); margin: 0.4rem 0 0; }
#photo .upload-container { width: 100% !important; }
#photo .image-frame img { width: 100%; height: 100%; object-fit: contain; }
#photo .icon-button-wrapper:not(:has(button)) { display: none; }
#answer { scroll-margin-top: 1rem; }
#headline h2 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.01em; margin: 0; }
#headline h2::first-letter { text-transform: uppercase; }
#headline p { font-size: 1rem; margin: 0.3rem 0 0; }
#headline .aside { color: var(--body-text-color-subdued); }
#answer:has(.refused) #bars { opacity: 0.45; filter: grayscale(1); }
#bars * { font-family: var(--font); }
#bars .container { padding: 0; }
#bars .bar { height: 6px; border-radius: 3px; }
#examples { align-items: center; margin-top: 0.5rem; }
.wall { border-width: 0; box-shadow: none; background: none; }
.wall .grid-wrap { padding: 2px; height: auto; max-height: none; }
.wall .grid-container {
    grid-template-columns: repeat(auto-fill, minmax(min(140px, 24vw), 1fr));
    gap: 0.7rem;
}
.wall .thumbnail-item { border: none; }
.wall .caption-label { font-size: 0.8rem; }
.note p { font-size: 0.85rem; color: var(--body-text-color-subdued); }
#card { max-width: 48rem; }
.figure { max-width: 48rem; margin-left: 0 !important; }
#card table { width: auto; }
#card table, #card tr, #card th, #card td { border: none; text-align: left; vertical-align: top; }
#card th, #card td { padding: 0.2rem 1rem 0.2rem 0; word-break: normal; overflow-wrap: normal; }
#card td:not(:last-child) { white-space: nowrap; }
#card td:first-child { color: var(--body-text-color-subdued); }
#card td:last-child { overflow-wrap: anywhere; }
@media (max-width: 640px) {
    #hero h1 { font-size: 1.7rem; }
    #hero p { font-size: 1rem; }
    #photo { height: 270px !important; }
}
"""
# On a phone the answer stands below the photo, and a tapped example below them both.
SCROLL = """() => setTimeout(() => {
    const answer = document.getElementById("answer");
    const top = answer ? answer.getBoundingClientRect().top : 0;
    if (top < 0 || top > window.innerHeight / 2) answer.scrollIntoView({behavior: "smooth"});
}, 50)"""


def page(classifier: FlowerClassifier) -> gr.Blocks:
    """Build the page of one model, and run its network once."""
    examples, files = _examples(classifier.folder)
    similar = Similar(classifier.folder)

    def look(pixels: np.ndarray) -> tuple[Prediction, list, list]:
        """What it is, where the network looked for each of four names, and similar photos."""
        answers = classifier.answer(classifier.prepare(pixels)[None])
        [prediction] = predictions(answers, classifier.label_names, top=5)
        nearest = similar.nearest(answers.embeddings[0], SIMILAR)
        alike = [(files[i], similar.photos[i].label) for i in nearest]
        return prediction, explain_top(classifier, pixels), alike

    def classify(photo: dict | None):
        """Name the flower in a photo.

        Takes one file: JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF. Gives a dictionary with the
        likeliest name, `label`, and the five likeliest with their calibrated probabilities, 0 to 1
        and highest first, `confidences`; a picture of where the network looked; and a dictionary
        that says whether the photo was `refused`, since it does not look like a flower that the
        model knows, with a `message` then; its `refusal_score`, above 1 where it was; and the
        `label_set`, the names of which one is right for 9 photos of 10.
        """
        try:
            prediction, maps, _ = look(_decode(photo))
        except UserError as error:
            raise gr.Error(_sorry(error), print_exception=False) from None
        return _shares(prediction), maps[0][2], _verdict(prediction)

    def show(file: dict | None, label: str | None = None) -> dict:
        started = time.perf_counter()
        try:
            pixels = _decode(file)
            prediction, maps, alike = look(pixels)
        except UserError as error:
            return {
                photo: None,
                answer: gr.Column(visible=True),
                headline: f"<p>{html.escape(_sorry(error))}</p>",
                bars: gr.Label(visible=False),
                map_column: gr.Column(visible=False),
                more: gr.Column(visible=False),
            }
        seconds = time.perf_counter() - started
        preview = Image.fromarray(pixels)
        preview.thumbnail((PREVIEW, PREVIEW))
        return {
            photo: preview,  # upright, and in a format that every browser shows
            answer: gr.Column(visible=True),
            headline: _headline(prediction, label, seconds),
            bars: gr.Label(_shares(prediction), visible=True),
            map_column: gr.Column(visible=True),
            attention: maps[0][2],
            more: gr.Column(visible=True),
            others: [(seen, f"{name}, {share:.0%}") for name, share, seen in maps[1:]],
            like: gr.Gallery(alike, visible=bool(alike)),
        }

    def hide() -> dict:
        return {column: gr.Column(visible=False) for column in (answer, map_column, more)}

    def choose(name: str) -> list[tuple[str, str]]:
        if name == ALL:
            return [(files[0], label) for label, files in examples.items()]
        return [(file, name) for file in examples.get(name, [])]

    def show_example(name: str, event: gr.SelectData) -> dict:
        file, label = choose(name)[event.index]
        # Nothing stays selected, so that a second tap on the same photo counts too.
        return {**show({"path": file}, label), gallery: gr.Gallery(selected_index=None)}

    wall = {"interactive": False, "allow_preview": False, "buttons": [], "object_fit": "cover"}
    wall |= {"height": "auto", "elem_classes": "wall"}
    with gr.Blocks(title="Which flower is this?", delete_cache=FORGET) as demo:
        gr.Markdown(
            "# Which flower is this?\n\nShow a photo: you get the five likeliest of "
            f"{len(classifier.label_names)} flowers, and see where the network looked.",
            elem_id="hero",
        )
        with gr.Tab("Name a flower"):
            with gr.Row():
                photo = gr.Image(
                    sources=["upload", "webcam", "clipboard"],
                    label="Your photo",
                    placeholder="Drop a photo here, or tap to choose one",
                    format="jpeg",
                    height=360,
                    min_width=280,
                    buttons=[],
                    elem_id="photo",
                )
                with gr.Column(visible=False, min_width=280, elem_id="answer") as answer:
                    headline = gr.Markdown(latex_delimiters=[], elem_id="headline")
                    bars = gr.Label(
                        label="Names",
                        num_top_classes=5,
                        show_heading=False,
                        show_label=False,
                        container=False,
                        elem_id="bars",
                    )
                with gr.Column(visible=False, min_width=280) as map_column:
                    attention = gr.Image(
                        label="Where the network looked",
                        alt_text="The photo, with the places that spoke for the name in warm light",
                        format="jpeg",
                        height=360,
                        interactive=False,
                        buttons=["fullscreen"],
                        elem_id="attention",
                    )
            with gr.Column(visible=False, elem_id="more") as more:
                others = gr.Gallery(
                    label="Where it looked for the next likeliest names",
                    elem_id="others",
                    **wall,
                )
                like = gr.Gallery(
                    label="The photos that are most like yours, with their labels",
                    elem_id="like",
                    **wall,
                )
            with gr.Row(visible=bool(examples), elem_id="examples"):
                gr.Markdown("### Or tap one of these", min_width=160)
                chosen = gr.Dropdown(
                    [ALL, *sorted(examples)],
                    value=ALL,
                    label="Flowers to show",
                    show_label=False,
                    container=False,
                    min_width=120,
                    elem_id="chosen",
                )
            gallery = gr.Gallery(
                choose(ALL),
                visible=bool(examples),
                label="Labelled photos",
                show_label=False,
                elem_id="gallery",
                **wall,
            )
            gr.Markdown(PRIVACY, elem_classes="note")
        with gr.Tab("About the model"):
            gr.Markdown(_card(classifier), latex_delimiters=[], elem_id="card")
            figures = {
                "reliability": "How far its percentages can be trusted",
                "refusal": "How it tells other things from flowers",
                "confusion": "What it takes for what",
                "history": "Training",
            }
            for name, title in figures.items():
                figure = classifier.folder / "report" / f"{name}.png"
                if figure.is_file():
                    gr.Markdown(f"### {title}")
                    gr.Image(
                        str(figure),
                        label=title,
                        show_label=False,
                        interactive=False,
                        buttons=["fullscreen"],
                        elem_classes="figure",
                    )

        shown = [photo, answer, headline, bars, map_column, attention, more, others, like]
        verdict = gr.JSON(label="Verdict", visible=False)
        inside = {"api_visibility": "private", "show_progress": "hidden"}
        # Without gradio's preprocessing, which decodes by other rules: files arrive as they are.
        raw = {"preprocess": False}
        # Not `input`, which gradio also reports, with the old file, when a photo is taken away.
        photo.upload(show, photo, shown, api_name="show", **raw, **inside).then(js=SCROLL)
        photo.clear(hide, None, [answer, map_column, more], api_name="hide", **inside)
        gallery.select(
            show_example, chosen, [*shown, gallery], api_name="show_example", **inside
        ).then(js=SCROLL)
        chosen.input(choose, chosen, gallery, api_name="choose", **inside)
        gr.on([], classify, photo, [bars, attention, verdict], api_name="classify", **raw)

    # A network's first photo takes longer; it need not be a visitor's.
    look(np.full((64, 64, 3), 128, np.uint8))
    return demo


def open_page(arguments: Sequence[str] = ()) -> gr.Blocks:
    """Build the page of the model that the arguments name.

    Without one, it is FLOWERS_MODEL's, else that of model.txt beside this file, which a Space has,
    else the newest run's.

    Raises:
        UserError: for arguments that do not fit, and for a model that cannot be opened.
    """
    parser = Parser(description="Show the page of a flower classifier.")
    parser.add_argument(
        "--model",
        metavar="PATH|USER/MODEL[@REVISION]",
        default=os.environ.get("FLOWERS_MODEL"),
        help="a bundle's folder or a Hub repo (else FLOWERS_MODEL, else the newest run's)",
    )
    model = parser.parse_args(arguments).model
    if not model and MODEL_FILE.is_file():
        model = MODEL_FILE.read_text("utf-8").strip()
    if not model:
        manifests = pathlib.Path("runs").glob(f"*/bundle/{bundle.MANIFEST}")
        newest = max(manifests, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            raise UserError(
                "there is no model yet: train one with `python train/run.py`, "
                "or name one with --model PATH or --model USER/MODEL"
            )
        model = newest.parent
    return page(FlowerClassifier.from_pretrained(model))


def __getattr__(name: str) -> gr.Blocks:
    """`app.demo`, for those who import it; importing `app.page` alone opens no model."""
    if name != "demo":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault("demo", open_page())


def _examples(folder: pathlib.Path) -> tuple[dict[str, list[str]], list[str]]:
    """The gallery's photos, by class and in their order, as files that the page may serve.

    They are copies: what a Hub repo holds are links into a cache, and gradio serves by the place
    that a link leads to. All are called .jpg, so that no browser takes one for a page or script.
    """
    room = pathlib.Path(tempfile.mkdtemp(prefix="flowers-gallery-")).resolve()
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    gr.set_static_paths(room)
    examples: dict[str, list[str]] = {}
    files = []
    for number, photo in enumerate(bundle.read_gallery(folder).photos):
        copy = room / f"{number}.jpg"
        shutil.copyfile(folder / "gallery" / photo.file, copy)
        files.append(str(copy))
        examples.setdefault(photo.label, []).append(str(copy))
    return examples, files


def _decode(file: dict | None) -> np.ndarray:
    """The pixels of a file as gradio describes it."""
    if not file or not file.get("path"):
        raise UserError("there is no photo here; send one as a file")
    # As bytes, since the decoder's messages would give away the path.
    return decode(pathlib.Path(file["path"]).read_bytes())


def _shares(prediction: Prediction) -> dict[str, float]:
    return dict(zip(prediction.labels, prediction.probabilities, strict=True))


def _verdict(prediction: Prediction) -> dict:
    message = {"message": f"{UNKNOWN}."} if prediction.refused else {}
    return {
        "refused": prediction.refused,
        "refusal_score": prediction.refusal_score,
        "label_set": prediction.label_set,
    } | message


def _sorry(error: UserError) -> str:
    return f"Sorry, {error}."


def _headline(prediction: Prediction, label: str | None, seconds: float) -> str:
    name = html.escape(prediction.labels[0])
    if prediction.refused:
        lines = [f'<h2 class="refused">{UNKNOWN}</h2>', "<p>If it is one all the same:</p>"]
    else:
        lines = [f"<h2>{name}</h2>", f"<p>{prediction.probabilities[0]:.0%} sure</p>"]
        if len(prediction.label_set or []) > 1:
            names = ", ".join(map(_text, prediction.label_set))
            lines.append(f"<p>One of these, 9 times out of 10: {names}</p>")
    if label == prediction.labels[0]:
        lines.append("<p>✓ That is what the photo is labelled.</p>")
    elif label is not None:
        lines.append(f"<p>✗ The photo is labelled <strong>{html.escape(label)}</strong>.</p>")
    lines.append(f'<p class="aside">Answered in {1000 * seconds:.0f} ms</p>')
    return "".join(lines)


def _card(classifier: FlowerClassifier) -> str:
    """What the model is and how well it does, as HTML. All text of the bundle is escaped."""
    manifest = classifier.manifest
    made = manifest.provenance
    splits = ", ".join(f"{count:,} {name}" for name, count in made.splits.items())
    start = "scratch" if made.weights == "none" else made.weights
    calibrated = manifest.calibration.fitted_on
    about = {
        "Photos": made.credits,
        "Data": f"{made.data} ({splits})",
        "Network": f"{made.backbone}, {made.parameters:,} parameters, trained from {start}",
        "Trained": f"{made.created[:10]}, in {made.seconds:,.0f} s, with Keras on {made.backend}",
        "Versions": ", ".join(f"{name} {version}" for name, version in made.versions.items()),
        "Command": made.command,
        "Commit": made.git_commit,
    }
    results = [
        (
            *(split, f"{of.top1:.1%}", f"{of.top5:.1%}", f"{of.loss:.3f}"),
            *(_share(of.ece), _share(of.coverage), _share(of.refused), f"{of.count:,}"),
        )
        for split, of in manifest.metrics.items()
        if split != "train"
    ]
    columns = ("", "right", "among its five", "log loss", "calibration error")
    columns += ("label set right", "refused", "photos")
    held_out = manifest.metrics.get("test", manifest.metrics.get("valid"))
    size = manifest.input.size
    always = "and always answers with a flower that it knows, whatever the photo shows."
    if manifest.calibration.refusal is not None:
        always = "and says so when a photo does not look like a flower that it knows"
        if held_out is not None and held_out.others_refused is not None:
            always += f": to {held_out.others_refused:.0%} of photos of other things"
        always += "."
    return "".join(
        [
            f"<p>It tells {len(manifest.class_names)} flowers apart. It looks at the middle "
            f"square of a photo, at {size} by {size} pixels, {always}</p>",
            "<h3>How well it does</h3>",
            _table(results, columns),
            f"<p>Its percentages are calibrated on <em>{_text(calibrated)}</em>: of the answers "
            "that it is 80% sure of, about 80% are right.</p>"
            if calibrated
            else "",
            "<h3>Flowers that it knows</h3>",
            f"<p>{_text(', '.join(sorted(manifest.class_names)))}</p>",
            "<h3>Where it comes from</h3>",
            _table([(name, value) for name, value in about.items() if value]),
        ]
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"


def _text(value: object) -> str:
    """Text for HTML inside Markdown: escaped, and on one line, for a blank one would end it."""
    return html.escape(" ".join(str(value).split()))


if __name__ == "__main__":
    try:
        demo = open_page(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    # Stopped like this (a Space is), gradio deletes its files as it does at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demo.launch(
        theme=THEME,
        css=CSS,
        max_file_size=UPLOAD_LIMIT,
        run_history=False,  # gradio would keep the photos in the visitor's browser
        footer_links=["api", "gradio", "settings"],
    )
