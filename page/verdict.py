"""What an answer says: a name, several that are likely enough, or that it looks like none.

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
    """An answer in a visitor's words, as HTML.

    Attributes:
        title: the likeliest name, or that the photo does not look like a flower of the model.
        names: of a label set with several, which the `promise` precedes; else empty.
        promise: how often one of the names is right.
    """

    title: str
    names: list[str]
    promise: str


def verdict(prediction: Prediction, say: Words) -> Verdict:
    """What a prediction says."""
    if prediction.refused:
        return Verdict(say("unknown"), [], "")
    title = flower(prediction, prediction.labels[0], say)
    if len(prediction.label_set or []) < 2:
        return Verdict(title, [], "")
    names = [escape(prediction.shown(label)) for label in prediction.label_set]
    return Verdict(title, names, say("set", **promise(prediction.coverage)))


def promise(coverage: float) -> dict[str, int]:
    """How often a label set is to have the right name, as the words `set` say it."""
    count, of = odds(coverage)
    return {"count": count, "of": of}
