"""The texts of the page in the visitor's language, from words.json."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

import gradio as gr
from starlette.requests import Request

from flowers_model.errors import UserError

WORDS: dict[str, dict[str, str]] = json.loads(
    pathlib.Path(__file__).with_name("words.json").read_text("utf-8")
)
LANGUAGES = tuple(WORDS["title"])


class Words:
    """The texts in one language.

    Attributes:
        language: its code, such as `en`.
        table: all texts by name.
    """

    def __init__(self, language: str):
        self.language = language
        self.table = {name: texts[language] for name, texts in WORDS.items()}

    def __call__(self, name: str, /, **values: object) -> str:
        """A text by name; it is HTML if the values are, and safe in an attribute."""
        return self.table[name].format(**values) if values else self.table[name]

    def reason(self, error: UserError) -> str:
        """The text for a mistake, or its own message if there is no text for it."""
        if error.word is None:
            return str(error)
        also = "".join(f"{name}{self('comma')}" for name in ("HEIC", "TIFF"))
        return self(error.word, needed=self("needed", also=also), **error.values)

    def number(self, value: float, digits: int = 0) -> str:
        """A number with `digits` digits after the point."""
        signs = {",": self.table["thousands"], ".": self.table["decimal"]}
        return "".join(signs.get(letter, letter) for letter in f"{value:,.{digits}f}")

    def share(self, value: float | None, digits: int = 1) -> str:
        """A fraction, 0..1, in percent; empty for None."""
        return "" if value is None else self("percent", number=self.number(100 * value, digits))

    def percent(self, probability: float) -> str:
        """A probability as HTML: never 0 %, nor 100 %, which no model can be sure of."""
        if probability > 0.995:
            return f"&gt;{self.share(0.99, 0)}"
        return f"&lt;{self.share(0.01, 0)}" if probability < 0.005 else self.share(probability, 0)

    def photos(self, count: int) -> str:
        """A number of photos."""
        return self("one_photo") if count == 1 else self("photos", count=self.number(count))

    def listed(self, names: Sequence[str]) -> str:
        """A list of names."""
        return self("comma").join(names)


IN = {language: Words(language) for language in LANGUAGES}
ENGLISH = IN["en"]


def of(request: gr.Request | Request | None) -> Words:
    """The texts for the sender of a request, in the first language that the browser prefers.

    Gradio's own script uses that language, too. For languages that are missing it is English.
    """
    wanted = request.headers.get("accept-language", "") if request else ""
    return IN.get(wanted.partition(",")[0].partition(";")[0].partition("-")[0].strip(), ENGLISH)
