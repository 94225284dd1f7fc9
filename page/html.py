"""Untrusted text as HTML, and reading a visitor's file."""

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

MOST = 5  # photos of one plant in a question
TRIED = 9  # labelled photos on the first screen
SIMILAR = 6  # similar labelled photos below an answer
LISTED = 8  # names of a label set that are listed


def read(file: dict | None) -> np.ndarray:
    """The pixels of a file as gradio describes it, uint8 `(H, W, 3)`.

    Raises:
        UserError: if there is no file, or it is not a photo.
    """
    if not file or not file.get("path"):
        raise UserError("there is no photo here; send one as a file")
    # As bytes, because the decoder's messages would reveal the path.
    return decode(pathlib.Path(file["path"]).read_bytes())


def chosen(
    event: gr.EventData, what: str, count: int, say: Words, names: Sequence[str] = ()
) -> int:
    """The number in an event of the page's own script, 0 to `count - 1`.

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
    """The message for a visitor's mistake."""
    return say("sorry", reason=say.reason(error))


def escape(value: object) -> str:
    """Text for HTML inside Markdown: on one line, because a blank line would end the HTML."""
    return html.escape(" ".join(str(value).split()))


def flower(prediction: Prediction, label: str, say: Words) -> str:
    """The name of a class as HTML, with the dataset's name in small print if it is misleading."""
    return named(prediction.display_names, label, say)


def named(display_names: dict[str, str], label: str, say: Words) -> str:
    """As `flower`, from the manifest's display names."""
    if label not in display_names:
        return escape(label)
    own = f'<small class="own">{say("own", name=escape(label))}</small>'
    return f"{escape(display_names[label])} {own}"


def strip(figures: Sequence[str]) -> str:
    """A row of figures as HTML; empty if there are none."""
    return f'<div class="strip">{"".join(figures)}</div>' if figures else ""


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """An HTML table of text."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"
