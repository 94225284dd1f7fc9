"""Convert photos to TFRecords, or TFRecords to folders.

    python -m train.convert --data oxford_flowers102 --output petals
    python -m train.convert --data tfrecord:petals --output photos --to folder

TFRecords are laid out as in Kaggle's "Petals to the Metal", here as petals/224x224/train/*.tfrec.
After an interruption, the same command resumes the conversion.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import os
import pathlib
import sys
from typing import TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output
from flowers_model.installation import spoken
from train.data.conversion import SHARD_SIZE, SIZE, to_folder, to_tfrecords
from train.data.decoding import readable
from train.sources import forms, open_source

T = TypeVar("T", int, float)


def _side(text: str) -> int | None:
    return None if text == "original" else _count(text)


def _count(text: str) -> int:
    return _number(text, int, least=1)


def _megabytes(text: str) -> float:
    return _number(text, float, least=0.001)


def _seed(text: str) -> int:
    return _number(text, int, least=0)


def _number(text: str, kind: type[T], least: float) -> T:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {least}")
    return value


def _parser() -> Parser:
    parser = Parser(spoken("convert"), description=__doc__)
    parser.add_argument("--data", metavar="SOURCE", required=True, help=f"photo source: {forms()}")
    parser.add_argument(
        "--output", metavar="DIR", type=pathlib.Path, required=True, help="folder of the result"
    )
    parser.add_argument(
        "--to", choices=("tfrecord", "folder"), default="tfrecord", help="format of the result"
    )
    parser.add_argument(
        "--size",
        metavar="N|original",
        type=_side,
        default=argparse.SUPPRESS,
        help="crop photos to centre squares of N pixels, or keep the original files (default: "
        f"{SIZE} for tfrecord, original for folder)",
    )
    files = parser.add_mutually_exclusive_group()
    files.add_argument(
        "--shard-size-mb",
        metavar="MB",
        type=_megabytes,
        default=SHARD_SIZE,
        help="approximate size of a TFRecord file in MB",
    )
    files.add_argument(
        "--shards", metavar="N", type=_count, help="number of files per split, instead of a size"
    )
    parser.add_argument(
        "--seed", metavar="N", type=_seed, default=0, help="random seed of splits and of the order"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="skip unreadable photos and bad records, and report them; decodes every photo",
    )
    return parser


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    try:
        options = _parser().parse_args(arguments)
        check_output(options.output / "classes.txt")
        source = open_source(options.data, options.seed, skip_bad=options.skip_bad)
        if options.skip_bad:
            # Before the first shard is written: the names of the shards give their counts.
            splits = {name: readable(split, name) for name, split in source.splits.items()}
            source = dataclasses.replace(source, splits=splits)
        resize = {"size": options.size} if "size" in options else {}
        if options.to == "folder":
            to_folder(source, options.output, **resize)
        else:
            to_tfrecords(
                source,
                options.output,
                shards=options.shards,
                shard_size=options.shard_size_mb,
                seed=options.seed,
                **resize,
            )
    except OSError as error:
        raise UserError(f"{options.output} cannot be written: {error}") from error
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130
    counts = ", ".join(f"{name} {len(split)}" for name, split in source.splits.items())
    print(f"{options.output}: {len(source.class_names)} classes; photos in {counts}")
    return 0


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    logging.getLogger("flowers").setLevel(logging.INFO)
    sys.exit(main(sys.argv[1:]))
