"""The common style of Matplotlib figures."""

from __future__ import annotations

import functools
import pathlib

import matplotlib
import matplotlib.figure
from matplotlib import font_manager, ft2font

from flowers_model.files import replacing

BLUE, ORANGE, GREY = "#3b6fb6", "#d9702b", "#8a8a8a"


def finish(figure: matplotlib.figure.Figure, path: pathlib.Path) -> None:
    """Write a figure, without the upper and right sides of its frames."""
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def plain(text: str) -> str:
    """Text that Matplotlib can draw, and does not take for a formula.

    Characters that no installed font has are escaped, as `\\u685c`.
    """
    return "".join(map(_letter, text)).replace("$", r"\$")


@functools.cache
def _letter(letter: str) -> str:
    families = matplotlib.rcParams["font.family"]
    own = font_manager.findfont(font_manager.FontProperties())
    if ord(letter) in _letters(own):
        return letter
    for font in font_manager.fontManager.ttflist:
        # Last-resort fonts have a placeholder for every character.
        if not font.name.startswith("Last") and ord(letter) in _letters(font.fname):
            if font.name not in families:
                matplotlib.rcParams["font.family"] = [*families, font.name]
            return letter
    return letter.encode("unicode_escape").decode()


@functools.cache
def _letters(path: str) -> frozenset[int]:
    """The characters of a font."""
    try:
        return frozenset(ft2font.FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a bitmap font, or a damaged one
        return frozenset()
