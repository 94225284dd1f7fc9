"""Survey a source, and write tables, figures and a page about it."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterable

from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from train.data import duplicates
from train.data.duplicates import Pair
from train.data.survey import Survey, kept_photos, survey
from train.reports.survey_figures import (
    augment_figure,
    augmentation,
    class_figure,
    sample_figure,
    sample_gif,
    samples_of,
    size_figure,
)
from train.reports.survey_page import write_page
from train.sources import open_source
from train.sources.split_list import write_split_list

AUGMENTED = 6  # photos that --augment shows


def explore(
    spec: str,
    folder: pathlib.Path,
    *,
    clean: bool = False,
    augment: Iterable[str] = (),
    seed: int,
    skip_bad: bool = False,
) -> Survey:
    """Survey a source and write the results to a new folder, atomically.

    Args:
        spec: see `train.sources.open_source`.
        folder: must not exist yet, or must be empty.
        clean: also write `clean.txt`, for `--data-list` of `train/run.py`.
        augment: augmentations to show, each in the form of `--augment`.
        seed: random seed of missing splits, as in training, and of samples.
        skip_bad: leave out records without a label or photo, as in training.

    Raises:
        UserError: if the source cannot be used, the folder is not empty, or an augmentation is
            unknown.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"--output {str(folder)!r} exists already; give a new folder")
    check_output(folder / "index.html")
    policies = {name: augmentation(name) for name in augment}
    source = open_source(spec, seed, skip_bad=skip_bad)
    found = survey(source)
    with replacing(folder) as room:
        room.mkdir()
        _write_tables(found, room)
        class_figure(found, room / "classes.png")
        size_figure(found, room / "sizes.png")
        samples = samples_of(found, seed)
        sample_figure(found, samples, room / "samples.jpg")
        sample_gif(found, samples, room / "samples.gif")
        for name, draw in policies.items():
            chosen = samples[:AUGMENTED]
            augment_figure(found, chosen, name, draw, seed, room / f"augment-{name}.jpg")
        dropped = None
        if clean:
            kept, dropped = kept_photos(found)
            write_split_list(
                room / "clean.txt",
                [(found.photos[i].split, found.photos[i].name) for i in kept],
                [f"Of --data {spec} with --seed {seed}: {len(kept)} of {len(found.photos)} photos"]
                + [f"without {found.photos[i].name}: {why}" for i, why in dropped.items()],
            )
        write_page(found, room, list(policies), dropped)
    return found


def _write_tables(found: Survey, room: pathlib.Path) -> None:
    names = found.source.class_names
    counts = found.counts()
    _write_csv(
        room / "overview.csv",
        ["path", "split", "class", "width", "height", "mode", "bytes", "hash", "status"],
        (
            (
                *(p.name, p.split, names[p.label], p.width or "", p.height or "", p.mode),
                *(p.size, p.digest, p.status),
            )
            for p in found.photos
        ),
    )
    _write_csv(
        room / "classes.csv",
        ["class", *counts],
        ([name, *row] for name, *row in zip(names, *counts.values(), strict=True)),
    )
    _write_csv(
        room / "splits.csv",
        ["split", "photos", "smallest_class", "largest_class", "imbalance_ratio"],
        (
            [split, n.sum(), n.min(), n.max(), f"{n.max() / max(n.min(), 1):.2f}"]
            for split, n in counts.items()
        ),
    )
    of = {i: k for k, group in enumerate(duplicates.groups(found.pairs), 1) for i in group}
    _write_csv(
        room / "duplicates.csv",
        ["group", "kind", "distance", "correlation", "crosses_splits", "two_labels"]
        + [f"{column}_{n}" for n in (1, 2) for column in ("path", "split", "class")],
        (
            [of[pair.first], pair.kind, pair.distance, f"{pair.correlation:.3f}"]
            + ["yes" if mark else "no" for mark in _marks(found, pair)]
            + [
                value
                for i in (pair.first, pair.second)
                for value in (found.photos[i].name, found.photos[i].split, found.class_of(i))
            ]
            for pair in found.pairs
        ),
    )


def _marks(found: Survey, pair: Pair) -> tuple[bool, bool]:
    return found.crosses_splits(pair), found.has_two_labels(pair)


def _write_csv(path: pathlib.Path, header: list[str], rows: Iterable[Iterable]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
