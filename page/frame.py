"""The page's frame in the visitor's language: gradio's script in the browser puts it there.

It knows texts by names, in all our languages, and replaces the mark of one by the text itself: a
component's label, or its value as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from page.words import IN, LANGUAGES, Words


class Frame:
    """The texts of one page's frame.

    Attributes:
        texts: in each language, by name; what `gr.I18n` takes.
    """

    def __init__(self):
        self.texts: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES}

    def text(self, name: str, /, **values: object) -> str:
        """The mark of one of our words."""
        return self._mark(name, lambda say: say(name, **values))

    def html(self, name: str, write: Callable[[Words], str]) -> str:
        """The mark of HTML.

        Args:
            name: what no other text of the frame is called.
            write: gives it in a language.
        """
        # In braces, gradio's script would look for names of values to fill in.
        return self._mark(
            name, lambda say: write(say).replace("{", "&#123;").replace("}", "&#125;")
        )

    def _mark(self, name: str, write: Callable[[Words], str]) -> str:
        key = f"flowers-{name}"  # gradio has words of its own
        for language, texts in self.texts.items():
            texts[key] = write(IN[language])
        return str(gr.I18n()(key))
