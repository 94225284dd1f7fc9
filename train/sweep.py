"""Train a grid of settings and compare the results.

    python -m train.sweep --vary backbone=A,B,C --vary learning-rate=1e-3,1e-4 --seeds 3

Settings can vary together: `--vary backbone+weights=A+FILE1,B+FILE2`. All flags of training that
change a setting are allowed, and apply to every run. Each combination is a run in `DIR/runs/`.
After an interruption, the same command resumes: finished runs are not repeated.

Writes `results.csv`, one row per run; `leaderboard.md`, one row per combination, the best on valid
first; and figures of accuracy by setting, size and latency.
"""

from __future__ import annotations

import logging
import os
import pathlib
import sys

from flowers_model import bundle
from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output
from flowers_model.installation import spoken
from train.devices.progress import progress
from train.loop.tracking import TRACK_HELP, tracker_spec
from train.plans.grid import carry_out, result, runs
from train.reports.leaderboard import write_results


def _varied(text: str) -> tuple[str, list[str]]:
    """A `--vary`: `NAME=A,B`, or `NAME=A;B` where values have commas of their own."""
    name, _, values = text.partition("=")
    split = [value for value in values.split(";" if ";" in values else ",") if value]
    if not name or not split:
        raise UserError(f"--vary {text!r} must be NAME=A,B")
    return name.removeprefix("--").replace("_", "-"), split


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("sweep"), description=__doc__)
    parser.add_argument("--preset", default="quickstart", metavar="NAME", help="as in training")
    parser.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="NAME=A,B",
        help="a setting and its values (NAME=A;B if the values contain commas), or settings that "
        "vary together (NAME1+NAME2=A1+A2,B1+B2); repeatable",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="runs per combination, a seed each"
    )
    parser.add_argument("--track", type=tracker_spec, help=TRACK_HELP, metavar="mlflow[:URI]")
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("runs/sweep"),
        metavar="DIR",
        help="folder of the sweep",
    )
    try:
        options, shared = parser.parse_known_args(arguments)
        folder, grid = options.output, dict(map(_varied, options.vary))
        check_output(folder / "leaderboard.md")
        planned = runs(folder, options.preset, shared, grid, options.seeds)
        left = [run for run in planned if not run.is_done]
        print(f"{len(planned)} runs, {len(planned) - len(left)} of them done, in {folder}")
        for run in progress(left, "sweep", len(left), "runs"):
            carry_out(run, options.preset, options.track)
            valid = bundle.read_manifest(run.folder / "bundle").metrics["valid"]
            print(f"{run.folder.name}: {valid.top1:.1%} on valid", flush=True)
        write_results([result(run) for run in planned], list(planned[0].varied), folder)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130
    print((folder / "leaderboard.md").read_text("utf-8"))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(format="%(message)s")
    sys.exit(main(sys.argv[1:]))
