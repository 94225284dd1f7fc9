"""The page: what a visitor sees of a flower model, one module a tab.

A module's `add(page)` adds its part to the `gr.Blocks` that is open, from what the page has.
"""

from __future__ import annotations

import dataclasses

import gradio as gr

from flowers_model.classifier import FlowerClassifier
from page import api, card, look, name
from page.examples import Examples

# Once a minute gradio deletes what visitors sent, or was made for them, over five minutes ago.
FORGET = (60, 300)


@dataclasses.dataclass(frozen=True)
class Page:
    """What the parts of the page are built from."""

    classifiers: dict[str, FlowerClassifier]  # by the names that visitors see, never empty
    examples: Examples  # of the first classifier

    @property
    def classifier(self) -> FlowerClassifier:
        """The first, which the page is about."""
        return next(iter(self.classifiers.values()))


def build(classifiers: FlowerClassifier | dict[str, FlowerClassifier]) -> gr.Blocks:
    """Build the page of one model, or of several by name, and run the first one's network once.

    It is launched with `**look.SETTINGS`.
    """
    if isinstance(classifiers, FlowerClassifier):
        classifiers = {classifiers.folder.name: classifiers}
    first = next(iter(classifiers.values()))
    page = Page(classifiers, Examples(first.folder))
    with gr.Blocks(title=look.TITLE, delete_cache=FORGET) as demo:
        gr.Markdown(
            f"# {look.TITLE}\n\nShow a photo: you get the five likeliest of "
            f"{len(first.label_names)} flowers, and see where the network looked.",
            elem_id="hero",
        )
        with gr.Tab("Name a flower"):
            name.add(page)
        with gr.Tab("About the model"):
            card.add(page)
        api.add(page)
    return demo
