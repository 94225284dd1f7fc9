"""Naming a flower: a visitor's photo, or a labelled one, and the answer to it."""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np
from PIL import Image

from flowers_model.classifier import Prediction, predictions
from flowers_model.errors import UserError
from flowers_model.explain import explain_top
from flowers_model.similar import Similar
from page.look import WALL
from page.text import UNKNOWN, escape, read, sorry

if TYPE_CHECKING:
    from page import Page

ALL = "One of each"
PREVIEW = 1024  # longest side of the photo that the page shows, pixels
SIMILAR = 6  # photos of the gallery that are shown beside an answer
PRIVACY = (
    "Your photo is used for this one answer. It is kept nowhere: the server deletes it within "
    "ten minutes."
)
# On a phone the answer stands below the photo, and a tapped example below them both.
SCROLL = """() => setTimeout(() => {
    const answer = document.getElementById("answer");
    const top = answer ? answer.getBoundingClientRect().top : 0;
    if (top < 0 || top > window.innerHeight / 2) answer.scrollIntoView({behavior: "smooth"});
}, 50)"""


def add(page: Page) -> None:
    """Add the photo, its answer, and the labelled photos; run the network once."""
    classifier, examples = page.classifier, page.examples
    similar = Similar(classifier.folder)

    def look(pixels: np.ndarray) -> tuple[Prediction, list, list]:
        """What it is, where the network looked for each of four names, and similar photos."""
        answers = classifier.answer(classifier.prepare(pixels)[None])
        [prediction] = predictions(answers, classifier.label_names, top=5)
        nearest = similar.nearest(answers.embeddings[0], SIMILAR)
        alike = [(examples.files[i], examples.labels[i]) for i in nearest]
        return prediction, explain_top(classifier, pixels), alike

    def show(file: dict | None, label: str | None = None) -> dict:
        started = time.perf_counter()
        try:
            pixels = read(file)
            prediction, maps, alike = look(pixels)
        except UserError as error:
            return {
                photo: None,
                answer: gr.Column(visible=True),
                headline: f"<p>{html.escape(sorry(error))}</p>",
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
            bars: gr.Label(
                dict(zip(prediction.labels, prediction.probabilities, strict=True)), visible=True
            ),
            map_column: gr.Column(visible=True),
            attention: maps[0][2],
            more: gr.Column(visible=True),
            others: [(seen, f"{name}, {share:.0%}") for name, share, seen in maps[1:]],
            like_title: gr.Markdown(visible=bool(alike)),
            like: gr.Gallery(alike, visible=bool(alike)),
        }

    def hide() -> dict:
        return {column: gr.Column(visible=False) for column in (answer, map_column, more)}

    def choose(name: str) -> list[tuple[str, str]]:
        if name == ALL:
            return [(files[0], label) for label, files in examples.by_class.items()]
        return [(file, name) for file in examples.by_class.get(name, [])]

    def show_example(name: str, event: gr.SelectData) -> dict:
        file, label = choose(name)[event.index]
        # Nothing stays selected, so that a second tap on the same photo counts too.
        return {**show({"path": file}, label), gallery: gr.Gallery(selected_index=None)}

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
        gr.Markdown("### Where it looked for the next names")
        others = gr.Gallery(label="Maps of further names", elem_id="others", **WALL)
        like_title = gr.Markdown("### Labelled photos that are like yours")
        like = gr.Gallery(label="Photos like yours", elem_id="like", **WALL)
    with gr.Row(visible=bool(examples.files), elem_id="examples"):
        gr.Markdown("### Or tap one of these", min_width=160)
        chosen = gr.Dropdown(
            [ALL, *sorted(examples.by_class)],
            value=ALL,
            label="Flowers to show",
            show_label=False,
            container=False,
            min_width=120,
            elem_id="chosen",
        )
    gallery = gr.Gallery(
        choose(ALL),
        visible=bool(examples.files),
        label="Labelled photos",
        elem_id="gallery",
        **WALL,
    )
    gr.Markdown(PRIVACY, elem_classes="note")

    shown = [photo, answer, headline, bars, map_column, attention, more, others]
    shown += [like_title, like]
    inside = {"api_visibility": "private", "show_progress": "hidden"}
    # Not `input`, which gradio also reports, with the old file, when a photo is taken away. And
    # without gradio's preprocessing, which decodes by other rules: the file arrives as it is.
    photo.upload(show, photo, shown, api_name="show", preprocess=False, **inside).then(js=SCROLL)
    photo.clear(hide, None, [answer, map_column, more], api_name="hide", **inside)
    gallery.select(show_example, chosen, [*shown, gallery], api_name="show_example", **inside).then(
        js=SCROLL
    )
    chosen.input(choose, chosen, gallery, api_name="choose", **inside)

    # A network's first photo takes longer; it need not be a visitor's.
    look(np.full((64, 64, 3), 128, np.uint8))


def _headline(prediction: Prediction, label: str | None, seconds: float) -> str:
    name = html.escape(prediction.labels[0])
    if prediction.refused:
        lines = [f'<h2 class="refused">{UNKNOWN}</h2>', "<p>If it is one all the same:</p>"]
    else:
        lines = [f"<h2>{name}</h2>", f"<p>{prediction.probabilities[0]:.0%} sure</p>"]
        if len(prediction.label_set or []) > 1:
            names = ", ".join(map(escape, prediction.label_set))
            lines.append(f"<p>One of these, 9 times out of 10: {names}</p>")
    if label == prediction.labels[0]:
        lines.append("<p>✓ That is what the photo is labelled.</p>")
    elif label is not None:
        lines.append(f"<p>✗ The photo is labelled <strong>{html.escape(label)}</strong>.</p>")
    lines.append(f'<p class="aside">Answered in {1000 * seconds:.0f} ms</p>')
    return "".join(lines)
