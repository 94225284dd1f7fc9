"""Building blocks of reports: each is a single HTML file with embedded pictures."""

from __future__ import annotations

import base64
import html
import io
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --paper: #fff; --soft: #f0f2f5; --line: #d5dae1;
  --grave: #b3261e; --warn: #9a5b00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14171c; --soft: #20252d;
  --line: #39414d; --grave: #ff8a80; --warn: #f0b660 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: .5rem;
  margin: 1rem 0; padding: 0 }
.cards div, .pair { background: var(--soft); border-radius: .5rem; padding: .6rem }
.cards b { display: block; font-size: 1.4rem }
.scroll { overflow-x: auto }
img { max-width: 100%; height: auto; border-radius: .3rem }
.figure { background: #fff } .wide { width: 100%; min-width: 40rem }
table { border-collapse: collapse; overflow-wrap: normal }
td, th { padding: .2rem .8rem .2rem 0; text-align: left;
  border-bottom: 1px solid var(--line) }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr));
  gap: .6rem }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; font-size: .8rem }
.two img { width: 100%; height: 10rem; object-fit: contain }
.mark { font-weight: 600; color: var(--warn) } .grave { color: var(--grave) }
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A complete page; parts are HTML, the title is text."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def cards(values: dict[str, object]) -> str:
    """A row of figures with their names."""
    each = (f"<div><b>{text(value)}</b>{text(title)}</div>" for title, value in values.items())
    return f'<div class="cards">{"".join(each)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of text cells."""

    def line(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{text(cell)}</{tag}>" for cell in cells) + "</tr>"

    lines = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table>{line(head, "th")}{lines}</table></div>'


def figure(path: pathlib.Path, title: str, wide: bool = False) -> str:
    """An embedded picture; a wide one scrolls on narrow screens."""
    kind = "jpeg" if path.suffix == ".jpg" else path.suffix[1:]
    classes = "figure wide" if wide else "figure"
    source = data_uri(path.read_bytes(), kind)
    return f'<div class="scroll"><img class="{classes}" src="{source}" alt="{text(title)}"></div>'


def thumbnail(pixels: np.ndarray) -> str:
    """A small picture as a data URI."""
    image = Image.fromarray(np.asarray(pixels))
    image.thumbnail((240, 240))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return data_uri(file.getvalue(), "jpeg")


def data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def text(value: object) -> str:
    """Text as HTML; bytes of file names that are not UTF-8 become question marks."""
    return html.escape(str(value).encode("utf-8", "replace").decode())
