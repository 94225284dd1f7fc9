"""The page of `train.explore`: a single HTML file with embedded pictures, without scripts."""

from __future__ import annotations

import collections
import pathlib
from typing import TYPE_CHECKING

from flowers_model.photo import decode
from train.reports import html
from train.reports.html import text

if TYPE_CHECKING:
    from train.data.duplicates import Pair
    from train.data.survey import Survey

PAIRS_SHOWN = 200  # of each kind; duplicates.csv lists all
NAMES_SHOWN = 100


def write_page(
    found: Survey, room: pathlib.Path, augmentations: list[str], dropped: dict[int, str] | None
) -> None:
    """Write `index.html` next to the tables and pictures, which must be in `room` already.

    Args:
        found: the survey.
        room: a folder with classes.png, sizes.png, samples.jpg, samples.gif, augment-NAME.jpg.
        augmentations: each NAME.
        dropped: the reason for each photo that is not in `clean.txt`; None without that list.
    """
    name = text(found.source.name)
    parts = [
        f"<h1>{name}</h1><div>{text(found.source.credits)}</div>",
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
    parts.append("<h2>Samples</h2>" + html.figure(room / "samples.jpg", "a grid of photos", True))
    source = html.data_uri((room / "samples.gif").read_bytes(), "gif")
    parts.append(f'<p><img src="{source}" alt="photos one after another"></p>')
    for augmentation in augmentations:
        title = f"Augmentation: {augmentation}"
        picture = html.figure(room / f"augment-{augmentation}.jpg", title, True)
        parts.append(f"<h2>{text(title)}</h2>{picture}")
    parts.append("<h2>Sizes</h2>" + html.figure(room / "sizes.png", "width, height, shorter side"))
    parts.append("<h2>Classes</h2>" + html.figure(room / "classes.png", "photos per class", True))
    (room / "index.html").write_text(html.document(found.source.name, parts), "utf-8")


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
    return html.cards(values)


def _split_table(found: Survey) -> str:
    rows = [
        (split, n.sum(), n.min(), n.max(), f"{n.max() / max(n.min(), 1):.1f}")
        for split, n in found.counts().items()
    ]
    head = ("split", "photos", "smallest class", "largest class", "imbalance ratio")
    return html.table(head, rows)


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
        f'<div><img src="{html.thumbnail(decode(found.read(i)))}" alt="">'
        f"<div><b>{text(found.class_of(i))}</b>, {found.photos[i].split}</div>"
        f"<div>{text(found.photos[i].name)}</div></div>"
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
    """A list of photos, each with a remark."""
    rows = [
        f"<li>{text(found.photos[i].split)}: {text(found.photos[i].name)}: {text(said)}</li>"
        for i, said in list(photos.items())[:NAMES_SHOWN]
    ]
    if len(photos) > NAMES_SHOWN:
        rows.append(f"<li>and {len(photos) - NAMES_SHOWN} more</li>")
    return f"<ul>{''.join(rows)}</ul>"
