"""Static texts in the visitor's language, inserted by gradio's script in the browser.

It has all texts in all languages by name, and replaces a placeholder by its text. A placeholder is
the label of a component, or its entire value.
"""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from page.words import IN, LANGUAGES, Words


class Frame:
    """The static texts of a page.

    Attributes:
        texts: in each language, by name; what `gr.I18n` takes.
    """

    def __init__(self):
        self.texts: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES}

    def text(self, name: str, /, **values: object) -> str:
        """The placeholder of a text of words.json."""
        return self._mark(name, lambda say: say(name, **values))

    def html(self, name: str, write: Callable[[Words], str]) -> str:
        """The placeholder of HTML.

        Args:
            name: a unique name.
            write: returns the HTML in a language.
        """
        # gradio's script takes braces for placeholders of values.
        return self._mark(
            name, lambda say: write(say).replace("{", "&#123;").replace("}", "&#125;")
        )

    def _mark(self, name: str, write: Callable[[Words], str]) -> str:
        key = f"flowers-{name}"  # gradio has texts of its own
        for language, texts in self.texts.items():
            texts[key] = write(IN[language])
        return str(gr.I18n()(key))
