"""What the parts of the page are built from."""

from __future__ import annotations

import dataclasses

import gradio as gr

from flowers_model.classifier import FlowerClassifier
from page.examples import Examples
from page.frame import Frame
from page.server.kept import KeptPhotos
from page.visit import Visit

# For the page's own events: no program calls them, and nothing is laid over what they change.
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}


@dataclasses.dataclass(frozen=True)
class Page:
    """What the parts of the page are built from."""

    classifiers: dict[str, FlowerClassifier]  # by the names that visitors see, never empty
    examples: Examples  # of the first classifier
    frame: Frame  # the words around what the parts show
    kept: KeptPhotos | None  # where visitors may send photos with their right names
    visit: gr.State  # what the visitor has taught, a `Visit`; None before
    teachable: bool  # whether the first classifier can be taught

    @property
    def classifier(self) -> FlowerClassifier:
        """The first, which the page is about."""
        return next(iter(self.classifiers.values()))

    def knowing(self, visit: Visit | None) -> FlowerClassifier:
        """The first classifier, with what the visitor has taught."""
        return visit.classifier if visit else self.classifier
