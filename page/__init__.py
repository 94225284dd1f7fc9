"""The web page of a flower model, with one module per tab.

Each module has a function `add(page)` that adds its components to the current `gr.Blocks`.
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
from page.visit import FORGOTTEN, Visit, can_be_taught
from page.words import ENGLISH

# Once a minute, gradio deletes files of visitors that are over five minutes old.
FORGET = (60, 300)


def build(
    classifiers: FlowerClassifier | dict[str, FlowerClassifier], kept: KeptPhotos | None = None
) -> gr.Blocks:
    """Build the page of one or more models by name, and run the network of the first one once.

    Launch it with `**theme.SETTINGS`.
    """
    if isinstance(classifiers, FlowerClassifier):
        classifiers = {classifiers.folder.name: classifiers}
    first = next(iter(classifiers.values()))
    frame = Frame()
    examples = Examples(first.folder, first.manifest.display_names)
    count = len(first.label_names)
    with blocks.Blocks(title=ENGLISH("title"), delete_cache=FORGET) as demo:
        visit = gr.State(None, time_to_live=FORGOTTEN)
        page = Page(classifiers, examples, frame, kept, visit, can_be_taught(first))
        gr.HTML(
            frame.html(
                "hero",
                lambda say: f"<h1>{say('title')}</h1><p>{say('introduction', count=count)}</p>",
            ),
            apply_default_css=False,
            elem_id="flowers-hero",
        )
        bar = teach.Bar(page) if page.teachable else None
        with gr.Tabs(selected="name", overflow_behavior="wrap") as tabs:
            with gr.Tab(frame.text("tab_name"), id="name"):
                named = identify.add(page)
            with gr.Tab(frame.text("tab_gallery"), id="gallery"):
                opened = gallery.add(page)
            if bar is not None:
                with gr.Tab(frame.text("tab_teach"), id="teach"):
                    teaching = teach.add(page, bar)
            with gr.Tab(frame.text("tab_many"), id="batch"):
                batch.add(page)
            if len(classifiers) > 1:
                with gr.Tab(frame.text("tab_compare"), id="compare"):
                    compare.add(page)
            with gr.Tab(frame.text("tab_card"), id="card"):
                about.add(page)
        _connect(page, tabs, named, opened)
        if bar is not None:
            _connect_teaching(page, tabs, named, opened, teaching)
        demo.routes, demo.kept = api.add(page), kept
        demo.frame, demo.description = frame, ENGLISH("introduction", count=count)
    demo.queue(max_size=limits.QUEUE)
    return demo


def _connect(page: Page, tabs: gr.Tabs, named: identify.Identify, opened: gallery.Opened) -> None:
    """Connect the tabs: gallery photos are answered, and answers open a flower in the gallery."""

    def answer(visit: Visit | None, event: gr.EventData, request: gr.Request) -> dict:
        return {tabs: gr.Tabs(selected="name"), **named.show_example(visit, event, request)}

    def look_up(visit: Visit | None, event: gr.EventData, request: gr.Request) -> dict:
        return {
            tabs: gr.Tabs(selected="gallery"),
            opened.flower: opened.open(visit, event, request),
        }

    for shown in opened.shown:
        shown.choose(answer, page.visit, [tabs, named.photos, named.answer], **PRIVATE).then(
            js=identify.ANSWERED
        )
    named.answer.open(look_up, page.visit, [tabs, opened.flower], **PRIVATE).then(js=gallery.OPENED)


def _connect_teaching(
    page: Page,
    tabs: gr.Tabs,
    named: identify.Identify,
    opened: gallery.Opened,
    teaching: teach.Teach,
) -> None:
    """Connect teaching: it takes an answer's photos, and answers and gallery know its flowers."""

    def offer(files: list[dict] | None) -> dict:
        return {tabs: gr.Tabs(selected="teach"), teaching.files: teach.paths(files)}

    def know(files: list[dict] | None, visit: Visit | None, request: gr.Request) -> dict:
        changed = opened.known(visit, request)
        try:
            if files:
                changed[named.answer] = named.show(files, visit, request)
            elif visit is None:  # the answer to a labelled photo may be what is forgotten
                changed[named.answer] = ""
        except FileNotFoundError:  # deleted, as promised
            changed[named.answer] = ""
        return changed

    named.answer.teach(offer, named.photos, [tabs, teaching.files], preprocess=False, **PRIVATE)
    teaching.again.click(lambda: gr.Tabs(selected="name"), None, tabs, **PRIVATE)
    for changed in (teaching.taught, teaching.forgotten):
        changed.then(
            know,
            [named.photos, page.visit],
            [named.answer, opened.taught, opened.flower],
            preprocess=False,
            **PRIVATE,
        ).then(js=gallery.CLOSED)
