"""The verdict of an answer: a name, several names, or that it looks like no known flower.

Used by all tabs and the API; `spaces/static/app/render.js` says the same in a browser.
"""

from __future__ import annotations

import dataclasses

from flowers_model.classifier import Prediction
from flowers_model.uncertainty import odds
from page.html import escape, flower
from page.words import Words


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict in the visitor's language, as HTML.

    Attributes:
        title: the most likely name, or that the photo does not look like a known flower.
        names: the names of a label set with several; else empty.
        promise: how often one of these names is right; shown before them.
    """

    title: str
    names: list[str]
    promise: str


def verdict(prediction: Prediction, say: Words) -> Verdict:
    """The verdict of a prediction."""
    if prediction.refused:
        return Verdict(say("unknown"), [], "")
    title = flower(prediction, prediction.labels[0], say)
    if len(prediction.label_set or []) < 2:
        return Verdict(title, [], "")
    names = [escape(prediction.shown(label)) for label in prediction.label_set]
    return Verdict(title, names, say("set", **promise(prediction.coverage)))


def promise(coverage: float) -> dict[str, int]:
    """The promised coverage of label sets, as values of the text `set`."""
    count, of = odds(coverage)
    return {"count": count, "of": of}
