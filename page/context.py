"""What the tabs of the page share."""

from __future__ import annotations

import dataclasses

import gradio as gr

from flowers_model.classifier import FlowerClassifier
from page.examples import Examples
from page.frame import Frame
from page.server.kept import KeptPhotos
from page.visit import Visit

# For the page's own events: they are not part of the API, and show no progress overlay.
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}


@dataclasses.dataclass(frozen=True)
class Page:
    """The models, texts and state that all tabs share."""

    classifiers: dict[str, FlowerClassifier]  # by the names that visitors see; at least one
    examples: Examples  # of the first classifier
    frame: Frame  # the texts around the components
    kept: KeptPhotos | None  # where photos that visitors correct are kept
    visit: gr.State  # what the visitor has taught, a `Visit`; None before
    teachable: bool  # whether the first classifier can be taught

    @property
    def classifier(self) -> FlowerClassifier:
        """The first classifier, which the page is about."""
        return next(iter(self.classifiers.values()))

    def knowing(self, visit: Visit | None) -> FlowerClassifier:
        """The first classifier, with what the visitor has taught."""
        return visit.classifier if visit else self.classifier
