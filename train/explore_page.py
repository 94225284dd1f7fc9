"""The page that `train.explore` leaves: one HTML file, pictures inside, no scripts."""

from __future__ import annotations

import base64
import collections
import html
import io
import pathlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from flowers_model.photo import decode

if TYPE_CHECKING:
    from train.duplicates import Pair
    from train.explore import Survey

PAIRS_SHOWN = 200  # of each kind; duplicates.csv has them all
NAMES_SHOWN = 100

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
.scroll { overflow-x: auto } .wide { min-width: 40rem }
img { max-width: 100%; height: auto; border-radius: .3rem }
.figure { width: 100%; background: #fff }
table { border-collapse: collapse; overflow-wrap: normal }
td, th { padding: .2rem .8rem .2rem 0; text-align: left;
  border-bottom: 1px solid var(--line) }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr));
  gap: .6rem }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; font-size: .8rem }
.two img { width: 100%; height: 10rem; object-fit: contain }
.mark { font-weight: 600; color: var(--warn) } .grave { color: var(--grave) }
"""


def write_page(
    found: Survey, room: pathlib.Path, augmentations: list[str], dropped: dict[int, str] | None
) -> None:
    """Write `index.html` beside the tables and pictures that lie in `room` already.

    Args:
        found: what to show.
        room: with classes.png, sizes.png, samples.jpg, samples.gif, augment-NAME.jpg.
        augmentations: the names of those.
        dropped: why which photos are not in `clean.txt`; None where there is none.
    """
    name = _text(found.source.name)
    parts = [
        f"<h1>{name}</h1><div>{_text(found.source.credits)}</div>",
        _cards(found),
        "<h2>Splits</h2>" + _split_table(found),
        *_pair_sections(found),
        *_problem_sections(found),
    ]
    if dropped is not None:
        parts.append(
            "<h2>Cleaned</h2><p>clean.txt, for <code>--data-list</code> of train/run.py, keeps "
            f"{len(found.photos) - len(dropped)} of {len(found.photos)} photos. Without:</p>"
            + _names(found, dropped)
        )
    parts.append("<h2>Samples</h2>" + _figure(room / "samples.jpg", "a grid of photos", True))
    source = _data_uri((room / "samples.gif").read_bytes(), "gif")
    parts.append(f'<p><img src="{source}" alt="photos one after another"></p>')
    for augmentation in augmentations:
        title = f"Augmentation: {_text(augmentation)}"
        picture = _figure(room / f"augment-{augmentation}.jpg", title, True)
        parts.append(f"<h2>{title}</h2>{picture}")
    parts.append("<h2>Sizes</h2>" + _figure(room / "sizes.png", "width, height, shorter side"))
    parts.append("<h2>Classes</h2>" + _figure(room / "classes.png", "photos a class", True))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    (room / "index.html").write_text(page, "utf-8")


def _cards(found: Survey) -> str:
    status = collections.Counter(photo.status for photo in found.photos)
    values = {
        "photos": len(found.photos),
        "classes": len(found.source.class_names),
        "unreadable": status["unreadable"],
        "tiny": status["tiny"],
        "duplicate pairs": len(found.pairs),
        "across splits": sum(map(found.crosses_splits, found.pairs)),
        "with two labels": sum(map(found.has_two_labels, found.pairs)),
    }
    cards = (f"<div><b>{value}</b>{title}</div>" for title, value in values.items())
    return f'<div class="cards">{"".join(cards)}</div>'


def _split_table(found: Survey) -> str:
    rows = "".join(
        f"<tr><td>{split}<td>{n.sum()}<td>{n.min()}<td>{n.max()}"
        f"<td>{n.max() / max(n.min(), 1):.1f}</tr>"
        for split, n in found.counts().items()
    )
    head = "<tr><th>split<th>photos<th>smallest class<th>largest class<th>imbalance ratio</tr>"
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _pair_sections(found: Survey) -> list[str]:
    kinds: dict[str, list[Pair]] = {
        "One photo, two labels": [],
        "Duplicates across splits": [],
        "Duplicates within a split": [],
    }
    double, crossing, within = kinds.values()
    for pair in found.pairs:
        if found.has_two_labels(pair):
            double.append(pair)
        elif found.crosses_splits(pair):
            crossing.append(pair)
        else:
            within.append(pair)
    sections = []
    for title, pairs in kinds.items():
        if pairs:
            shown = "".join(_pair(found, pair) for pair in pairs[:PAIRS_SHOWN])
            more = len(pairs) - PAIRS_SHOWN
            rest = f"<p>{more} more are in duplicates.csv.</p>" if more > 0 else ""
            sections.append(f'<h2>{title}: {len(pairs)}</h2><div class="pairs">{shown}</div>{rest}')
    return sections or ["<h2>Duplicates</h2><p>None were found.</p>"]


def _pair(found: Survey, pair: Pair) -> str:
    said = {
        "bytes": "identical files",
        "pixels": "identical pixels",
        "near": f"near: {pair.distance} of 64 bits differ, correlation {pair.correlation:.2f}",
    }[pair.kind]
    marks = ""
    if found.has_two_labels(pair):
        marks += '<span class="mark grave">two labels</span> '
    if found.crosses_splits(pair):
        marks += '<span class="mark">across splits</span> '
    sides = "".join(
        f'<div><img src="{_thumbnail(found, i)}" alt="">'
        f"<div><b>{_text(found.class_of(i))}</b>, {found.photos[i].split}</div>"
        f"<div>{_text(found.photos[i].name)}</div></div>"
        for i in (pair.first, pair.second)
    )
    return f'<div class="pair"><div>{marks}{said}</div><div class="two">{sides}</div></div>'


def _problem_sections(found: Survey) -> list[str]:
    unreadable, tiny = {}, {}
    for i, photo in enumerate(found.photos):
        if photo.status == "unreadable":
            unreadable[i] = photo.problem
        elif photo.status == "tiny":
            tiny[i] = f"{photo.width} x {photo.height}"
    return [
        f"<h2>{title}: {len(photos)}</h2>{_names(found, photos)}"
        for title, photos in (("Unreadable", unreadable), ("Tiny", tiny))
        if photos
    ]


def _names(found: Survey, photos: dict[int, str]) -> str:
    """A list of photos, each with something to say about it."""
    rows = [
        f"<li>{_text(found.photos[i].split)}: {_text(found.photos[i].name)}: {_text(said)}</li>"
        for i, said in list(photos.items())[:NAMES_SHOWN]
    ]
    if len(photos) > NAMES_SHOWN:
        rows.append(f"<li>and {len(photos) - NAMES_SHOWN} more</li>")
    return f"<ul>{''.join(rows)}</ul>"


def _thumbnail(found: Survey, i: int) -> str:
    image = Image.fromarray(np.asarray(decode(found.read(i))))
    image.thumbnail((240, 240))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return _data_uri(file.getvalue(), "jpeg")


def _figure(path: pathlib.Path, title: str, wide: bool = False) -> str:
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    classes = "figure wide" if wide else "figure"
    source = _data_uri(path.read_bytes(), kind)
    return f'<div class="scroll"><img class="{classes}" src="{source}" alt="{title}"></div>'


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _text(text: str) -> str:
    """Text as HTML; file names that are no UTF-8 get question marks."""
    return html.escape(text.encode("utf-8", "replace").decode())
