"""Words for visitors, and a visitor's file read."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Sequence

import gradio as gr
import numpy as np

from flowers_model.classifier import Prediction
from flowers_model.errors import UserError
from flowers_model.photo import decode

MOST = 5  # photos of one plant
TRIED = 9  # labelled photos that the first screen offers
SIMILAR = 6  # labelled photos that are shown beside an answer
LISTED = 8  # names of a label set that are told
UNKNOWN = "This does not look like a flower I know"
INTRODUCTION = (
    "Show a photo and get its name, out of {count} flowers: how sure that is, where the network "
    "looked, and photos like it."
)
CAUTION = (
    "It knows {count} flowers and no others, and it can be wrong: never decide by it what is safe "
    "to eat or to touch."
)
# What an answer says, here and in the page that runs in a browser alone (spaces/static/).
WORDS = {
    "unknown": UNKNOWN,
    "together": "{count} photos together",
    "guess": "If it is one all the same:",
    "sure": "{share} sure",
    "set": "One of these, 9 times out of 10:",
    "rest": "and {count} more",
    "right": "✓ That is what the photo is labelled.",
    "wrong": "✗ The photo is labelled {name}.",
    "strange": "✓ The photo is labelled {name}, which the model does not know.",
    "looked": "Where the network looked",
    "alone": "What each photo says alone",
    "tap": "Tap a name to see what spoke for it.",
    "took": "Answered in {count} ms.",
    "more": "More about {name}",
    "like_yours": "The labelled photos most like yours",
    "like_it": "The labelled photos most like it",
    "map": "In light: what spoke for {name}",
    "answered": "The photo that was answered",
    "numbered": "Photo {count}",
    "own": "“{name}” in the data set",
    "if_one": "If it is one: {name}",
}


def read(file: dict | None) -> np.ndarray:
    """The pixels of a file as gradio describes it, uint8 `(H, W, 3)`.

    Raises:
        UserError: where there is none, and for what is no photo.
    """
    if not file or not file.get("path"):
        raise UserError("there is no photo here; send one as a file")
    # As bytes, since the decoder's messages would give away the path.
    return decode(pathlib.Path(file["path"]).read_bytes())


def chosen(event: gr.EventData, what: str, count: int) -> int:
    """The number that an event of the page's own script carries, from 0 to below `count`."""
    number = event._data.get(what) if isinstance(event._data, dict) else None
    if type(number) is not int or not 0 <= number < count:
        raise gr.Error(f"Sorry, there is no such {what}.", print_exception=False)
    return number


def sorry(error: UserError) -> str:
    """What a visitor is told of a mistake."""
    return f"Sorry, {error}."


def escape(value: object) -> str:
    """Text for HTML, also inside Markdown: on one line there, for a blank one would end it."""
    return html.escape(" ".join(str(value).split()))


def percent(share: float) -> str:
    """A probability as HTML: never 0 %, nor 100 %, which no model can be sure of."""
    if share > 0.995:
        return "&gt;99%"
    return "&lt;1%" if share < 0.005 else f"{share:.0%}"


def flower(prediction: Prediction, label: str) -> str:
    """What to call a class, as HTML, with its own name in small print where that misleads."""
    return named(prediction.display_names, label)


def named(display_names: dict[str, str], label: str) -> str:
    """As `flower`, by the manifest's display names."""
    if label not in display_names:
        return escape(label)
    own = f'<small class="own">{WORDS["own"].format(name=escape(label))}</small>'
    return f"{escape(display_names[label])} {own}"


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """An HTML table of text."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"
