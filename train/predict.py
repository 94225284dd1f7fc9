"""Name the flowers in many photos: `python -m train.predict --model BUNDLE|REPO PHOTOS…`.

Writes a table, CSV or JSON lines in UTF-8, a line a photo; bytes of a file name that are no UTF-8
stand there escaped, as `\\udce9`. `--kaggle` writes `submission.csv` for the test records of
Kaggle's "Petals to the Metal".
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

import numpy as np

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output, legible, replacing
from flowers_model.photo import PhotoError, decode
from train.data.pipeline import progress
from train.evaluation.ensemble import CHUNK, TTA, Ensemble, open_for
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


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser("python -m train.predict", description=__doc__)
    parser.add_argument("photos", nargs="*", metavar="PHOTOS", help="files, or folders of them")
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="BUNDLE|USER/MODEL[@REVISION]",
        help="what names them; the probabilities of several are averaged",
    )
    parser.add_argument("--data", metavar="SPEC", help="in place of photos: as for train/run.py")
    parser.add_argument("--split", default="test", metavar="NAME", help="of --data (test)")
    parser.add_argument("--tta", choices=TTA, default="none", help="average over views of a photo")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="names a photo (5)")
    parser.add_argument(
        "--output", type=pathlib.Path, metavar="FILE", help=".csv or .jsonl (CSV on the screen)"
    )
    parser.add_argument(
        "--kaggle",
        action="store_true",
        help="write submission.csv for the test records of --data tfrecord:PATH",
    )
    options = parser.parse_args(arguments)
    if bool(options.photos) == bool(options.data):
        raise UserError("give either photos or --data SPEC")
    if options.top < 1:
        raise UserError(f"--top must be at least 1, not {options.top}")
    output = options.output
    if output is not None and not options.kaggle and output.suffix not in (".csv", ".jsonl"):
        raise UserError(f"--output {str(output)!r} must end in .csv or .jsonl")
    if options.kaggle:
        output = output or pathlib.Path("submission.csv")
    if output is not None:
        check_output(output)
    ensemble = Ensemble.open(options.model, options.tta)
    if options.kaggle:
        from train.evaluation.kaggle import write_submission

        _, _, path = (options.data or "").partition("tfrecord:")
        if not path:
            raise UserError("--kaggle needs --data tfrecord:PATH")
        output = output or pathlib.Path("submission.csv")
        count = write_submission(ensemble, path, output)
        print(f"{output}: {count} photos")
        return 0
    if options.photos:
        items = photo_items(options.photos)
    else:
        items = _split_items(ensemble, options.data, options.split)
    answers = rows(ensemble, items, options.top)
    if output is None:
        write_csv(answers, sys.stdout)
        return 0
    write = write_csv if output.suffix == ".csv" else write_json_lines
    with (
        replacing(output) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as f,
    ):
        write(progress(answers, "naming", len(items), "photos"), f)
    print(f"{output}: {len(items)} photos")
    return 0


def _file(path: pathlib.Path) -> Item:
    return Item(legible(path), lambda: str(path))


def _split_items(ensemble: Ensemble, data: str, split: str) -> list[Item]:
    """The photos of a source's split."""
    source, _ = open_for(ensemble.models[0].manifest, data, split, ensemble.records())
    photos = source.splits[split]
    return [
        Item(name, functools.partial(photos.read, i), source.class_names[photos.labels[i]])
        for i, name in enumerate(photos.names)
    ]


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
