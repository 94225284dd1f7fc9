"""Survey a dataset before training: class sizes, photo sizes, damaged photos, duplicates.

    python -m train.explore --data SOURCE --output DIR

Writes tables, figures, and `index.html` with all of them. The photos are not changed.
"""

from __future__ import annotations

import collections
import os
import pathlib
import sys

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.installation import spoken
from train.reports.exploration import explore
from train.sources import forms


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("explore"), description=__doc__)
    parser.add_argument("--data", required=True, metavar="SOURCE", help=f"photo source: {forms()}")
    parser.add_argument(
        "--output", required=True, metavar="DIR", type=pathlib.Path, help="new folder of the report"
    )
    parser.add_argument(
        "--clean",
        action="store_true",
        help="write clean.txt, a list without duplicates and unreadable photos, for --data-list of "
        "training",
    )
    parser.add_argument(
        "--augment",
        action="append",
        default=[],
        metavar="STEPS",
        help="show examples of an augmentation, named as in training; repeatable",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed of splits and samples"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="skip records without a label or a photo"
    )
    try:
        options = parser.parse_args(arguments)
        found = explore(
            options.data,
            options.output,
            clean=options.clean,
            augment=options.augment,
            seed=options.seed,
            skip_bad=options.skip_bad,
        )
    except OSError as error:  # not from reading photos, which raises nothing here
        raise UserError(f"{options.output} cannot be written: {error.strerror}") from error
    status = collections.Counter(photo.status for photo in found.photos)
    crossing = sum(found.crosses_splits(pair) for pair in found.pairs)
    double = sum(found.has_two_labels(pair) for pair in found.pairs)
    print(
        f"{len(found.photos)} photos, {status['unreadable']} unreadable, {status['tiny']} tiny; "
        f"{len(found.pairs)} pairs of duplicates, {crossing} across splits, "
        f"{double} with two labels"
    )
    print(f"look at {options.output / 'index.html'}")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
