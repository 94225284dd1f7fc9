"""What the project's Matplotlib figures have in common."""

from __future__ import annotations

import pathlib

import matplotlib.figure

from flowers_model.files import replacing

BLUE, ORANGE, GREY = "#3b6fb6", "#d9702b", "#8a8a8a"


def finish(figure: matplotlib.figure.Figure, path: pathlib.Path) -> None:
    """Write a figure, without the upper and right sides of its frames."""
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def plain(text: str) -> str:
    """Text in which Matplotlib sees no formula, and that is no lone surrogate."""
    return text.encode("utf-8", "replace").decode().replace("$", r"\$")
