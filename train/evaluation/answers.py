"""Predictions of many photos as rows of a table, CSV or JSON lines."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

import numpy as np

from flowers_model.errors import UserError
from flowers_model.files import legible
from flowers_model.photo import PhotoError, decode
from train.evaluation.ensemble import CHUNK, Ensemble, open_for
from train.sources.folder import photo_files

COLUMNS = ("photo", "label", "guess", "probability", "refused", "refusal_score", "label_set")


@dataclasses.dataclass(frozen=True)
class Item:
    """A photo to be named: what gives its bytes or path, and its label where it has one."""

    name: str
    read: Callable[[], bytes | str]
    label: str | None = None


def rows(ensemble: Ensemble, items: Iterable[Item], top: int) -> Iterator[dict]:
    """A dictionary a photo, in their order; `error` says why one could not be read."""
    for chunk in _chunks(items):
        errors: dict[int, str] = {}
        photos: dict[int, np.ndarray] = {}
        for i, item in enumerate(chunk):
            try:
                photos[i] = decode(item.read())
            except (PhotoError, OSError) as error:
                errors[i] = str(error)
        found = {}
        if photos:
            answers = ensemble.answer(list(photos.values()))
            found = dict(zip(photos, ensemble.models[0].predictions(answers, top), strict=True))
        for i, item in enumerate(chunk):
            row = {"photo": item.name} | ({} if item.label is None else {"label": item.label})
            yield row | ({"error": errors[i]} if i in errors else dataclasses.asdict(found[i]))


def write_csv(answers: Iterable[dict], file: TextIO) -> None:
    """The likeliest name of each photo, its label set parted by semicolons."""
    writer = csv.DictWriter(file, (*COLUMNS, "error"), restval="", extrasaction="ignore")
    writer.writeheader()
    for row in answers:
        if "error" not in row:
            sets, score = row["label_set"], row["refusal_score"]
            row = row | {
                "guess": row["labels"][0],
                "probability": f"{row['probabilities'][0]:.6f}",
                "refused": "yes" if row["refused"] else "no",
                "refusal_score": "" if score is None else f"{score:.4f}",
                "label_set": "" if sets is None else ";".join(sets),
            }
        writer.writerow(row)


def write_json_lines(answers: Iterable[dict], file: TextIO) -> None:
    """All that there is to say of each photo."""
    for row in answers:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def photo_items(paths: Sequence[str]) -> list[Item]:
    """Photo files, and all photos in folders.

    Raises:
        UserError: for a path that is not there, and a folder without photos.
    """
    items = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            inside = list(photo_files(path))
            if not inside:
                raise UserError(f"{path} has no photos: give photo files or folders of them")
            items += [_file(p) for p in inside]
        elif path.exists():
            items.append(_file(path))
        else:
            raise UserError(f"{path} is not there: give photo files or folders of them")
    return items


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _file(path: pathlib.Path) -> Item:
    return Item(legible(path), lambda: str(path))


def split_items(ensemble: Ensemble, data: str, split: str) -> list[Item]:
    """The photos of a source's split."""
    source, _ = open_for(ensemble.models[0].manifest, data, split, ensemble.records())
    photos = source.splits[split]
    return [
        Item(name, functools.partial(photos.read, i), source.class_names[photos.labels[i]])
        for i, name in enumerate(photos.names)
    ]
