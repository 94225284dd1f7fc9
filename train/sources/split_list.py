"""Split lists: text files that list the photos of a source to use, and their splits.

Each line has a split and a photo's name, separated by a tab and quoted as in CSV if the name
contains tabs, quotes or line breaks. Lines that start with # are comments. `train.explore --clean`
writes such lists, and `--data-list` of `train/run.py` reads them.
"""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterable

from flowers_model.files import expanded, legible, replacing
from train.sources.base import Source, SourceError, picked

SPLITS = ("train", "valid", "test")


def write_split_list(
    path: str | os.PathLike, photos: Iterable[tuple[str, str]], comments: Iterable[str] = ()
) -> None:
    """Write a list of (split, name) pairs, after some comments."""
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        for comment in comments:
            file.write(f"# {' '.join(comment.split())}\n")
        file.writelines(split_line(split, name) for split, name in photos)


def split_line(split: str, name: str) -> str:
    """The line of a photo in a split list."""
    file = io.StringIO()
    csv.writer(file, delimiter="\t", lineterminator="\n").writerow((split, name))
    return file.getvalue()


def apply_split_list(source: Source, path: str | os.PathLike) -> Source:
    """The photos of `source` that the list names, in the list's splits.

    Raises:
        SourceError: if the list cannot be read, names a photo twice or one that the source does
            not have, or leaves a split without photos of some class.
    """
    path = expanded(path)
    places = {
        name: (split, i) for split in source.splits.values() for i, name in enumerate(split.names)
    }
    chosen: dict[str, list[str]] = {}
    seen = set()
    for line, row in _rows(path):
        if len(row) != 2 or row[0] not in SPLITS:
            raise SourceError(f"Line {line} of {path} is not a split, a tab and a photo's name.")
        split, name = row[0], legible(row[1])
        if name not in places:
            raise SourceError(
                f"Line {line} of {path} names {name!r}, which {source.name} does not have: "
                "give a list that was made from this --data."
            )
        if name in seen:
            raise SourceError(f"Line {line} of {path} names {name!r} a second time: keep one.")
        seen.add(name)
        chosen.setdefault(split, []).append(name)
    splits = {
        split: picked([places[name] for name in chosen[split]])
        for split in SPLITS
        if split in chosen
    }
    for split in {"train", "valid"} | splits.keys():
        labels = splits[split].labels if split in splits else ()
        if lacking := set(range(len(source.class_names))).difference(labels):
            raise SourceError(
                f"{path} leaves {split} without photos of {source.class_names[min(lacking)]!r}: "
                "every split needs every class."
            )
    return dataclasses.replace(source, splits=splits)


def _rows(path: pathlib.Path) -> list[tuple[int, list[str]]]:
    """The rows of the list with their line numbers."""
    try:
        # Editors on Windows may write a byte order mark.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, delimiter="\t")
            rows = [(reader.line_num, row) for row in reader]
        return [(i, row) for i, row in rows if "".join(row).strip() and row[0][:1] != "#"]
    except OSError as error:
        raise SourceError(f"The list {path} cannot be read: {error.strerror}.") from error
    except csv.Error as error:
        raise SourceError(f"{path} is not a list of photos ({error}).") from error
