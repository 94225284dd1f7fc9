"""The page: what a visitor sees of a flower model, one module a tab.

A module's `add(page)` adds its part to the `gr.Blocks` that is open, from what the page has.
"""

from __future__ import annotations

from page.server import address

with address.without_proxies():
    import gradio as gr

from flowers_model.classifier import FlowerClassifier
from page import html, theme
from page.context import Page
from page.examples import Examples
from page.server import api, blocks, limits
from page.server.kept import KeptPhotos
from page.tabs import about, batch, compare, gallery, identify, teach

# Once a minute gradio deletes what visitors sent, or was made for them, over five minutes ago.
FORGET = (60, 300)


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
    with blocks.Blocks(title=theme.TITLE, delete_cache=FORGET) as demo:
        gr.HTML(
            f"<h1>{theme.TITLE}</h1><p>{html.INTRODUCTION.format(count=len(first.label_names))}</p>",
            apply_default_css=False,
            elem_id="hero",
        )
        with gr.Tabs(selected="name", overflow_behavior="wrap") as tabs:
            with gr.Tab("Name a flower", id="name"):
                named = identify.add(page)
            with gr.Tab("Gallery", id="gallery"):
                opened = gallery.add(page)
            if teach.can_be_taught(first):
                with gr.Tab("Teach it a flower", id="teach"):
                    teach.add(page)
            with gr.Tab("Many at once", id="batch"):
                batch.add(page)
            if len(classifiers) > 1:
                with gr.Tab("Compare models", id="compare"):
                    compare.add(page)
            with gr.Tab("About the model", id="card"):
                about.add(page)
        _connect(tabs, named, opened)
        demo.routes, demo.kept = api.add(page), kept
    demo.queue(max_size=limits.QUEUE)
    return demo


def _connect(tabs: gr.Tabs, named: identify.Named, opened: gallery.Opened) -> None:
    """Have a photo of the gallery answered, and the flower of an answer opened in the gallery."""

    def answer(event: gr.EventData) -> dict:
        return {tabs: gr.Tabs(selected="name"), **named.show_example(event)}

    def look_up(event: gr.EventData) -> dict:
        return {tabs: gr.Tabs(selected="gallery"), opened.flower: opened.open(event)}

    for shown in opened.shown:
        shown.choose(answer, None, [tabs, named.photos, named.answer], **identify.INSIDE).then(
            js=identify.ANSWERED
        )
    named.answer.open(look_up, None, [tabs, opened.flower], **identify.INSIDE).then(
        js=gallery.OPENED
    )
