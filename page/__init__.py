"""The page: what a visitor sees of a flower model, one module a tab.

A module's `add(page)` adds its part to the `gr.Blocks` that is open, from what the page has.
"""

from __future__ import annotations

from page.server import address

with address.without_proxies():
    import gradio as gr

from flowers_model.classifier import FlowerClassifier
from page.context import PRIVATE, Page
from page.examples import Examples
from page.frame import Frame
from page.server import api, blocks, limits
from page.server.kept import KeptPhotos
from page.tabs import about, batch, compare, gallery, identify, teach
from page.words import ENGLISH

# Once a minute gradio deletes what visitors sent, or was made for them, over five minutes ago.
FORGET = (60, 300)


def build(
    classifiers: FlowerClassifier | dict[str, FlowerClassifier], kept: KeptPhotos | None = None
) -> gr.Blocks:
    """Build the page of one model, or of several by name, and run the first one's network once.

    It is launched with `**theme.SETTINGS`.
    """
    if isinstance(classifiers, FlowerClassifier):
        classifiers = {classifiers.folder.name: classifiers}
    first = next(iter(classifiers.values()))
    frame = Frame()
    examples = Examples(first.folder, first.manifest.display_names)
    page = Page(classifiers, examples, frame, kept)
    count = len(first.label_names)
    with blocks.Blocks(title=ENGLISH("title"), delete_cache=FORGET) as demo:
        gr.HTML(
            frame.html(
                "hero",
                lambda say: f"<h1>{say('title')}</h1><p>{say('introduction', count=count)}</p>",
            ),
            apply_default_css=False,
            elem_id="flowers-hero",
        )
        with gr.Tabs(selected="name", overflow_behavior="wrap") as tabs:
            with gr.Tab(frame.text("tab_name"), id="name"):
                named = identify.add(page)
            with gr.Tab(frame.text("tab_gallery"), id="gallery"):
                opened = gallery.add(page)
            if teach.can_be_taught(first):
                with gr.Tab(frame.text("tab_teach"), id="teach"):
                    teach.add(page)
            with gr.Tab(frame.text("tab_many"), id="batch"):
                batch.add(page)
            if len(classifiers) > 1:
                with gr.Tab(frame.text("tab_compare"), id="compare"):
                    compare.add(page)
            with gr.Tab(frame.text("tab_card"), id="card"):
                about.add(page)
        _connect(tabs, named, opened)
        demo.routes, demo.kept = api.add(page), kept
        demo.frame, demo.description = frame, ENGLISH("introduction", count=count)
    demo.queue(max_size=limits.QUEUE)
    return demo


def _connect(tabs: gr.Tabs, named: identify.Identify, opened: gallery.Opened) -> None:
    """Have a photo of the gallery answered, and the flower of an answer opened in the gallery."""

    def answer(event: gr.EventData, request: gr.Request) -> dict:
        return {tabs: gr.Tabs(selected="name"), **named.show_example(event, request)}

    def look_up(event: gr.EventData, request: gr.Request) -> dict:
        return {tabs: gr.Tabs(selected="gallery"), opened.flower: opened.open(event, request)}

    for shown in opened.shown:
        shown.choose(answer, None, [tabs, named.photos, named.answer], **PRIVATE).then(
            js=identify.ANSWERED
        )
    named.answer.open(look_up, None, [tabs, opened.flower], **PRIVATE).then(js=gallery.OPENED)
