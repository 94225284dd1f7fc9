"""Name the flowers in many photos: `python -m train.predict --model BUNDLE|REPO PHOTOS…`.

Writes CSV or JSON lines in UTF-8, one line per photo; bytes of a file name that are not UTF-8 are
escaped, as `\\udce9`. `--kaggle` writes `submission.csv` for the test records of
Kaggle's "Petals to the Metal".
"""

from __future__ import annotations

import os
import pathlib
import sys

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from flowers_model.installation import spoken
from train.devices.progress import progress
from train.evaluation.answers import photo_items, rows, split_items, write_csv, write_json_lines
from train.evaluation.ensemble import TTA, Ensemble


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("predict"), description=__doc__)
    parser.add_argument("photos", nargs="*", metavar="PHOTOS", help="files, or folders of them")
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="BUNDLE|USER/MODEL[@REVISION]",
        help="the model; the probabilities of several are averaged",
    )
    parser.add_argument("--data", metavar="SPEC", help="in place of photos: as for train/run.py")
    parser.add_argument("--split", default="test", metavar="NAME", help="of --data (test)")
    parser.add_argument("--tta", choices=TTA, default="none", help="average over views of a photo")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="names per photo (5)")
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
