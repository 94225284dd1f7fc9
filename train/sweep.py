"""Train a grid of settings and compare the results.

    python -m train.sweep --preset P --vary backbone=A,B,C --vary learning-rate=1e-3,1e-4 --seeds 3

Settings that go together vary together: `--vary backbone+weights=A+FILE1,B+FILE2`. All other flags
are those of `train/run.py`. Each combination is a run of its own in `OUTPUT/runs/`; finished runs
are not repeated, and interrupted ones are resumed. The sweep writes `results.csv`, one row per run;
`leaderboard.md`, one row per combination, best on valid first; and figures: accuracy by setting, by
size and by latency, and parallel coordinates.
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
        raise UserError(f"--vary {text!r} does not read NAME=A,B")
    return name.removeprefix("--").replace("_", "-"), split


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("sweep"), description=__doc__.split("\n\n")[0])
    parser.add_argument("--preset", default="quickstart", metavar="NAME", help="as of train/run.py")
    parser.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="NAME=A,B",
        help="a setting and its values (NAME=A;B where they have commas), or settings that vary "
        "together (NAME1+NAME2=A1+A2,B1+B2); may be given again",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="runs per combination (1)"
    )
    parser.add_argument("--track", type=tracker_spec, help=TRACK_HELP, metavar="mlflow[:URI]")
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("runs/sweep"),
        metavar="DIR",
        help="(runs/sweep)",
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
