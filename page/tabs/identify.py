"""Naming a flower: a visitor's photos, or a labelled one, and the answer to them."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np
from gradio.processing_utils import save_pil_to_cache
from PIL import Image

from flowers_model.errors import UserError
from flowers_model.photo import decode
from flowers_model.similar import Similar
from page import words
from page.examples import file_url
from page.html import MOST, SIMILAR, chosen, escape, read, sorry
from page.tabs import feedback, intake
from page.tabs.answer import Seen, render
from page.words import ENGLISH, Words

if TYPE_CHECKING:
    from page.context import Page

PREVIEW = 800  # longest side of the photo that the page shows, pixels
# The page's own script hears of it, and shows the answer.
ANSWERED = """() => requestAnimationFrame(() => {
    const {photo} = document.querySelector("#answer .answer")?.dataset ?? {};
    const here = location.pathname + location.search;
    history.replaceState(history.state, "", photo ? `#photo=${photo}` : here);
    for (const name of ["addressed", "answered"]) document.dispatchEvent(new Event(name));
})"""
# Tells the number of a photo that was tapped.
CHOOSE = """
element.addEventListener("click", (event) => {
    const button = event.target.closest("[data-photo]");
    if (button) trigger("choose", {photo: Number(button.dataset.photo)});
});
"""
INSIDE = {"api_visibility": "private", "show_progress": "hidden"}


@dataclasses.dataclass(frozen=True)
class Named:
    """The tab's parts that others need.

    Attributes:
        photos: the visitor's photos, a list of files; None where the answer is to a labelled one.
        answer: the answer; its event `open` carries the number of a `flower`.
        show_example: answers the labelled photo whose number an event carries, `photo`; for the
            outputs `photos` and `answer`, in the words of who sent a request.
    """

    photos: gr.HTML
    answer: gr.HTML
    show_example: Callable[[gr.EventData, gr.Request], dict]


def add(page: Page) -> Named:
    """Add the photo, its answer, and some labelled photos to try; run the network once."""
    classifier, examples, frame = page.classifier, page.examples, page.frame
    similar = Similar(classifier.folder)
    flowers = {label: number for number, label in enumerate(classifier.label_names)}

    def look(
        inputs: Sequence[np.ndarray],
        shapes: Sequence[tuple[int, int]],
        urls: Sequence[str],
        started: float,
        say: Words,
        known: int | None = None,
    ) -> str:
        """The answer to prepared photos, as HTML.

        Args:
            shapes: the photos' heights and widths, pixels.
            urls: where a browser finds them.
            started: when their answer was begun, `time.perf_counter()`.
            say: the visitor's words.
            known: the number of a labelled photo.
        """
        logits, embeddings, maps = classifier.engine.run(
            np.stack(inputs), ("logits", "embedding", "class_maps")
        )
        each = classifier.judge(logits, embeddings)
        whole = each if len(inputs) == 1 else classifier.together(each)
        [prediction] = classifier.predictions(whole, top=5)
        alone = classifier.predictions(each, top=1)
        maps = maps[..., [flowers[label] for label in prediction.labels]]
        seen = [
            Seen(url, shape, heat, one.shown(one.labels[0]), one.probabilities[0])
            for url, shape, heat, one in zip(urls, shapes, maps, alone, strict=True)
        ]
        alike = [i for i in similar.nearest(whole.embeddings[0], SIMILAR + 1) if i != known]
        return render(
            prediction,
            seen,
            classifier.manifest.input.crop,
            None if known is None else examples.labels[known],
            "" if known is None else examples.credit(known, say),
            classifier.manifest.scientific_names,
            flowers,
            examples.strip(alike[:SIMILAR], say),
            time.perf_counter() - started,
            say,
            known,
        )

    def preview(photo: np.ndarray) -> str:
        """The address of a photo upright, and in a size and a format that every browser shows.

        It is a file that gradio deletes in time; an address that held the photo itself would stay
        in the server's memory of the session.
        """
        picture = Image.fromarray(photo)
        picture.thumbnail((PREVIEW, PREVIEW))
        path = save_pil_to_cache(picture, answer.GRADIO_CACHE, format="jpeg")
        answer.temp_files.add(path)
        return file_url(path)

    def show(files: list[dict] | None, request: gr.Request) -> str:
        started = time.perf_counter()
        say = words.of(request)
        try:
            if not files:
                raise UserError("there is no photo here; send one as a file")
            if len(files) > MOST:
                raise UserError(f"these are {len(files)} photos; send up to {MOST} of one plant")
            inputs, shapes, urls = [], [], []
            for file in files:  # one after the other: a photo can be large while it is decoded
                pixels = read(file)
                inputs.append(classifier.prepare(pixels))
                shapes.append(pixels.shape[:2])
                urls.append(preview(pixels))
            return look(inputs, shapes, urls, started, say)
        except UserError as error:
            return f'<p class="sorry" role="alert" tabindex="-1">{escape(sorry(error, say))}</p>'

    def show_example(event: gr.EventData, request: gr.Request) -> dict:
        started = time.perf_counter()
        number = chosen(event, "photo", len(examples.files))
        pixels = decode(pathlib.Path(examples.files[number]).read_bytes())
        inputs, shapes = [classifier.prepare(pixels)], [pixels.shape[:2]]
        said = look(inputs, shapes, [examples.url(number)], started, words.of(request), number)
        return {photos: None, answer: said}

    def note(say: Words) -> str:
        lines = [say("privacy_server"), say("caution", count=len(flowers))]
        if page.kept is not None:
            names = {"button": say("feedback_keep"), "wrong": say("feedback_wrong")}
            lines[0] += f" {say('privacy_unless', **names)}"
        return "".join(f"<p>{line}</p>" for line in lines)

    with gr.Column(elem_id="name"):
        photos = intake.photos(frame)
        scripts = [pathlib.Path(__file__).with_name(f"{name}.js") for name in ("answer", "address")]
        answer = gr.HTML(
            "",
            js_on_load="\n".join(script.read_text("utf-8") for script in scripts),
            apply_default_css=False,
            elem_id="answer",
        )
        if page.kept is not None:
            feedback.add(page.kept, classifier.manifest, photos, frame)
        tried = gr.HTML(
            frame.html("examples", examples.some),
            js_on_load=CHOOSE,
            apply_default_css=False,
            visible=bool(examples.files),
            elem_id="examples",
        )
        gr.HTML(frame.html("note", note), apply_default_css=False, elem_classes="note")

    # Without gradio's preprocessing, which decodes by other rules: files arrive as they are.
    photos.upload(show, photos, answer, preprocess=False, **INSIDE).then(js=ANSWERED)
    for shown in (tried, answer):
        shown.choose(show_example, None, [photos, answer], **INSIDE).then(js=ANSWERED)

    # A network's first photo takes longer; it need not be a visitor's.
    grey = np.full((64, 64, 3), 128, np.uint8)
    look([classifier.prepare(grey)], [grey.shape[:2]], [""], 0, ENGLISH)
    return Named(photos, answer, show_example)
