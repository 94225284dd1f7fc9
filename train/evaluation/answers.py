"""Predictions for many photos as CSV or JSON Lines."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TextIO

import numpy as np

from flowers_model.classifier import Prediction
from flowers_model.errors import UserError
from flowers_model.files import legible
from train.data.decoding import CHUNK, decode_each
from train.evaluation.ensemble import Ensemble, open_for
from train.sources.folder import photo_files

COLUMNS = ("photo", "label", *Prediction.COLUMNS, "error")


@dataclasses.dataclass(frozen=True)
class Item:
    """A photo to classify."""

    name: str
    read: Callable[[], bytes | str]  # returns its bytes or its path
    label: str | None = None  # None if unknown


class Row(NamedTuple):
    """A photo with its prediction, or with the error if it cannot be read."""

    item: Item
    prediction: Prediction | None
    error: str = ""


def rows(ensemble: Ensemble, items: Iterable[Item], top: int) -> Iterator[Row]:
    """One row per photo, in the same order."""
    for chunk in _chunks(items):
        errors: dict[int, str] = {}
        photos: dict[int, np.ndarray] = {}
        for i, photo, error in decode_each(
            lambda i, chunk=chunk: chunk[i].read(), range(len(chunk))
        ):
            if error is None:
                photos[i] = photo
            else:
                errors[i] = str(error)
        found = {}
        if photos:
            answers = ensemble.answer(list(photos.values()))
            found = dict(zip(photos, ensemble.models[0].predictions(answers, top), strict=True))
        for i, item in enumerate(chunk):
            yield Row(item, found.get(i), errors.get(i, ""))


def write_csv(answers: Iterable[Row], file: TextIO) -> None:
    """Write the most likely class of each photo, and its label set separated by semicolons."""
    writer = csv.DictWriter(file, COLUMNS, restval="")
    writer.writeheader()
    for item, prediction, error in answers:
        cells = {"error": error} if prediction is None else prediction.as_row()
        writer.writerow({"photo": item.name, "label": item.label or ""} | cells)


def write_json_lines(answers: Iterable[Row], file: TextIO) -> None:
    """Write the full prediction of each photo, one JSON object per line."""
    for item, prediction, error in answers:
        row = {"photo": item.name} | ({} if item.label is None else {"label": item.label})
        row |= {"error": error} if prediction is None else dataclasses.asdict(prediction)
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def photo_items(paths: Sequence[str]) -> list[Item]:
    """Photo files, and all photos in folders.

    Raises:
        UserError: if a path does not exist, or a folder has no photos.
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
            raise UserError(f"{path} does not exist: give photo files or folders of them")
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
