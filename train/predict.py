"""Classify photos, and write CSV or JSON Lines, one line per photo.

    python -m train.predict --model MODEL --output answers.csv PHOTO_OR_FOLDER ...
    python -m train.predict --model MODEL --kaggle --data tfrecord:PATH

The output is UTF-8; bytes of a file name that are not UTF-8 are escaped, as `\\udce9`.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import sys

from flowers_model.command import MODEL_HELP, Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from flowers_model.installation import spoken
from train.devices.progress import progress
from train.evaluation.answers import photo_items, rows, split_items, write_csv, write_json_lines
from train.evaluation.ensemble import TTA, TTA_HELP, Ensemble
from train.sources import forms


def _parser() -> Parser:
    parser = Parser(spoken("predict"), description=__doc__)
    parser.add_argument(
        "photos", nargs="*", metavar="PHOTO", help="photo files, or folders of them"
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="MODEL",
        help=f"{MODEL_HELP}; the probabilities of several models are averaged",
    )
    parser.add_argument(
        "--data", metavar="SOURCE", help=f"photo source instead of photos: {forms()}"
    )
    parser.add_argument("--split", default="test", metavar="NAME", help="the split of --data")
    parser.add_argument("--tta", choices=TTA, default="none", help=TTA_HELP)
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes listed per photo")
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        metavar="FILE",
        help="a .csv or .jsonl file (default: CSV to standard output)",
    )
    parser.add_argument(
        "--kaggle",
        action="store_true",
        help='write submission.csv for the test records of Kaggle\'s "Petals to the Metal", which '
        "--data tfrecord:PATH names",
    )
    return parser


def _output(options: argparse.Namespace) -> pathlib.Path | None:
    """Check the options; returns the file to write, or None for standard output."""
    if bool(options.photos) == bool(options.data):
        raise UserError("give either photos or --data SOURCE")
    if options.top < 1:
        raise UserError(f"--top must be at least 1, not {options.top}")
    output = options.output
    if options.kaggle:
        if not re.match("tfrecord:.", options.data or ""):
            raise UserError("--kaggle needs --data tfrecord:PATH")
        output = output or pathlib.Path("submission.csv")
    elif output is not None and output.suffix not in (".csv", ".jsonl"):
        raise UserError(f"--output {str(output)!r} must end in .csv or .jsonl")
    if output is not None:
        check_output(output)
    return output


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    output = _output(options)
    ensemble = Ensemble.open(options.model, options.tta)
    if options.kaggle:
        from train.evaluation.kaggle import write_submission

        count = write_submission(ensemble, options.data.removeprefix("tfrecord:"), output)
        print(f"{output}: {count} photos")
        return 0
    if options.photos:
        items = photo_items(options.photos)
    else:
        items = split_items(ensemble, options.data, options.split)
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


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
