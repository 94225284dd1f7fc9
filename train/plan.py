"""Estimate what a preset's training step takes on TPU v5e chips, without any chip.

    python -m train.plan --preset oxford_flowers102 --topology v5e:2x4

The data-parallel step of the preset's last stage is compiled ahead of time by the TPU's own
compiler (libtpu, in requirements-tpu.txt); memory, FLOPs and collectives are read from the compiled
program. A compilation takes minutes; its result is cached in `$FLOWERS_DATA/plans`.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output
from flowers_model.installation import spoken
from train.experiment import load_preset, preset_names
from train.plans.search import plan
from train.plans.step import ENVIRONMENT, Step, chips_of
from train.plans.tables import ASSUMPTIONS, picture, tables


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("plan"), description=__doc__)
    names = preset_names()
    parser.add_argument(
        "--preset", default="quickstart", help=f"all, or one of: {', '.join(names)}", metavar="NAME"
    )
    parser.add_argument(
        "--topology", default="v5e:2x4", help="rows and columns of chips", metavar="v5e:RxC"
    )
    parser.add_argument("--classes", type=int, default=102, help="number of classes", metavar="N")
    parser.add_argument(
        "--batch-size",
        type=int,
        help="photos per step on all chips (default: the preset's, and the largest that fits)",
        metavar="N",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="compile with the least optimization: several times faster, but reports more memory",
    )
    parser.add_argument(
        "--picture", help="draw the memory of the last preset into this file", metavar="FILE.png"
    )
    os.environ |= ENVIRONMENT
    rows: list[tuple[str, Step]] = []
    failed = False
    options = parser.parse_args(arguments)
    if options.classes < 2:
        raise UserError(f"--classes must be 2 or more, not {options.classes}")
    chosen = names if options.preset == "all" else [options.preset]
    experiments = {name: load_preset(name).EXPERIMENT for name in chosen}
    chips_of(options.topology)
    if options.picture:
        check_output(options.picture)
    for name, experiment in experiments.items():
        if experiment.precision == "auto":
            experiment = dataclasses.replace(experiment, precision="mixed_bfloat16")
        settings = options.classes, options.topology, options.batch_size, options.quick
        try:
            report, compiled = plan(experiment, *settings)
        except UserError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            failed = True
            continue
        rows += [(f"{name}, {options.topology}", step) for step in report]
    if not rows:
        return 2
    print(tables(rows))
    print(ASSUMPTIONS)
    if options.picture:
        picture(compiled, rows[-1][0], pathlib.Path(options.picture))
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
