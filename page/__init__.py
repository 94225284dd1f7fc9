"""The page: what a visitor sees of a flower model, one module a tab.

A module's `add(page)` adds its part to the `gr.Blocks` that is open, from what the page has.
"""

from __future__ import annotations

import dataclasses

from page import address

with address.without_proxies():
    import gradio as gr

from flowers_model.classifier import FlowerClassifier
from page import api, batch, card, compare, gallery, limits, look, name, server, text
from page.examples import Examples
from page.kept import KeptPhotos

# Once a minute gradio deletes what visitors sent, or was made for them, over five minutes ago.
FORGET = (60, 300)


@dataclasses.dataclass(frozen=True)
class Page:
    """What the parts of the page are built from."""

    classifiers: dict[str, FlowerClassifier]  # by the names that visitors see, never empty
    examples: Examples  # of the first classifier
    kept: KeptPhotos | None  # where visitors may send photos with their right names

    @property
    def classifier(self) -> FlowerClassifier:
        """The first, which the page is about."""
        return next(iter(self.classifiers.values()))


def build(
    classifiers: FlowerClassifier | dict[str, FlowerClassifier], kept: KeptPhotos | None = None
) -> gr.Blocks:
    """Build the page of one model, or of several by name, and run the first one's network once.

    It is launched with `**look.SETTINGS`.
    """
    if isinstance(classifiers, FlowerClassifier):
        classifiers = {classifiers.folder.name: classifiers}
    first = next(iter(classifiers.values()))
    page = Page(classifiers, Examples(first.folder, first.manifest.display_names), kept)
    with server.Blocks(title=look.TITLE, delete_cache=FORGET) as demo:
        gr.HTML(
            f"<h1>{look.TITLE}</h1><p>{text.INTRODUCTION.format(count=len(first.label_names))}</p>",
            apply_default_css=False,
            elem_id="hero",
        )
        with gr.Tabs(selected="name", overflow_behavior="wrap") as tabs:
            with gr.Tab("Name a flower", id="name"):
                named = name.add(page)
            with gr.Tab("Gallery", id="gallery"):
                opened = gallery.add(page)
            with gr.Tab("Many at once", id="batch"):
                batch.add(page)
            if len(classifiers) > 1:
                with gr.Tab("Compare models", id="compare"):
                    compare.add(page)
            with gr.Tab("About the model", id="card"):
                card.add(page)
        _connect(tabs, named, opened)
        demo.routes, demo.kept = api.add(page), kept
    demo.queue(max_size=limits.QUEUE)
    return demo


def _connect(tabs: gr.Tabs, named: name.Named, opened: gallery.Opened) -> None:
    """Have a photo of the gallery answered, and the flower of an answer opened in the gallery."""

    def answer(event: gr.EventData) -> dict:
        return {tabs: gr.Tabs(selected="name"), **named.show_example(event)}

    def look_up(event: gr.EventData) -> dict:
        return {tabs: gr.Tabs(selected="gallery"), opened.flower: opened.open(event)}

    for shown in opened.shown:
        shown.choose(answer, None, [tabs, named.photos, named.answer], **name.INSIDE).then(
            js=name.ANSWERED
        )
    named.answer.open(look_up, None, [tabs, opened.flower], **name.INSIDE).then(js=gallery.OPENED)
