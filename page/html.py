"""Text of strangers as HTML, and a visitor's file read."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Sequence

import gradio as gr
import numpy as np

from flowers_model.classifier import Prediction
from flowers_model.errors import UserError
from flowers_model.photo import decode
from page.words import ENGLISH, Words

MOST = 5  # photos of one plant
TRIED = 9  # labelled photos that the first screen offers
SIMILAR = 6  # labelled photos that are shown beside an answer
LISTED = 8  # names of a label set that are told


def read(file: dict | None) -> np.ndarray:
    """The pixels of a file as gradio describes it, uint8 `(H, W, 3)`.

    Raises:
        UserError: where there is none, and for what is no photo.
    """
    if not file or not file.get("path"):
        raise UserError("there is no photo here; send one as a file")
    # As bytes, since the decoder's messages would give away the path.
    return decode(pathlib.Path(file["path"]).read_bytes())


def chosen(
    event: gr.EventData, what: str, count: int, say: Words, names: Sequence[str] = ()
) -> int:
    """The number that an event of the page's own script carries, from 0 to below `count`.

    Args:
        say: the visitor's words.
        names: one of these stands for its number; so does it in an address.
    """
    number = event._data.get(what) if isinstance(event._data, dict) else None
    if isinstance(number, str) and number in names:
        number = list(names).index(number)
    if type(number) is not int or not 0 <= number < count:
        raise gr.Error(say("no_such"), print_exception=False)
    return number


def sorry(error: UserError, say: Words = ENGLISH) -> str:
    """What a visitor is told of a mistake."""
    return say("sorry", reason=say.reason(error))


def escape(value: object) -> str:
    """Text for HTML, also inside Markdown: on one line there, for a blank one would end it."""
    return html.escape(" ".join(str(value).split()))


def flower(prediction: Prediction, label: str, say: Words) -> str:
    """What to call a class, as HTML, with its own name in small print where that misleads."""
    return named(prediction.display_names, label, say)


def named(display_names: dict[str, str], label: str, say: Words) -> str:
    """As `flower`, by the manifest's display names."""
    if label not in display_names:
        return escape(label)
    own = f'<small class="own">{say("own", name=escape(label))}</small>'
    return f"{escape(display_names[label])} {own}"


def strip(figures: Sequence[str]) -> str:
    """Figures in a row, as HTML; empty where there are none."""
    return f'<div class="strip">{"".join(figures)}</div>' if figures else ""


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """An HTML table of text."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"
