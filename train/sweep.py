"""Runs of a grid of settings, and what they came to.

    python -m train.sweep --preset P --vary backbone=A,B,C --vary learning-rate=1e-3,1e-4 --seeds 3

Settings that go together vary together: `--vary backbone+weights=A+FILE1,B+FILE2`. All other flags
are those of `train/run.py`. Each combination is a run of its own in `OUTPUT/runs/`; what is done is
not done again, and what was interrupted goes on. Written are `results.csv`, a row a run;
`leaderboard.md`, a row a combination, best on valid first; and pictures: accuracy by setting,
against size, against latency, and parallel coordinates.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import logging
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

import matplotlib.figure
import numpy as np

from flowers_model import bundle
from flowers_model.command import Parser, reporting_mistakes
from flowers_model.engine import open_engine
from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from train.data import pipeline
from train.experiment import (
    Experiment,
    add_settings,
    holds_run,
    load_preset,
    read_settings,
    write_settings,
)
from train.loop.tracking import TRACK_HELP, tracker_spec
from train.reports.style import BLUE, GREY, ORANGE, finish

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMED = 20  # single photos that a network's latency is the median of

Row = dict[str, str | int | float]


@dataclasses.dataclass(frozen=True)
class Run:
    """One combination of the grid, with one seed."""

    folder: pathlib.Path
    experiment: Experiment
    command: str
    varied: dict[str, str]  # the settings that the grid varies, as they were written

    @property
    def is_done(self) -> bool:
        return (self.folder / "bundle" / bundle.MANIFEST).is_file()


def runs(
    folder: pathlib.Path, preset: str, shared: list[str], grid: dict[str, list[str]], seeds: int
) -> list[Run]:
    """The runs of a grid, none of them started.

    Args:
        folder: of the whole sweep.
        shared: flags of `train/run.py` that all runs have.
        grid: the values of each setting that varies, as on the command line; of several that
            vary together, joined by +, as their names are.
        seeds: runs of each combination; their seeds count up from that of the preset.

    Raises:
        UserError: for a setting, or a value of it, that does not exist.
    """
    together = [[_together(names, value) for value in values] for names, values in grid.items()]
    parser = Parser()
    add_settings(parser)
    found = []
    for parts in itertools.product(*together):
        varied = {name: value for part in parts for name, value in part.items()}
        flags = [f"--{name}={value}" for name, value in varied.items()]
        settings = vars(parser.parse_args([*shared, *flags]))
        first = load_preset(preset).EXPERIMENT.changed(settings)
        for seed in range(first.seed, first.seed + seeds):
            names = [f"{name}={value}" for name, value in varied.items()]
            name = re.sub(r"[^\w.+=-]+", "_", "-".join([*names, f"seed={seed}"]))
            words = ["--preset", preset, *shared, *flags, "--seed", str(seed)]
            found.append(
                Run(
                    folder / "runs" / name,
                    dataclasses.replace(first, seed=seed),
                    shlex.join(["python", "train/run.py", *words]),
                    varied,
                )
            )
    return found


def _together(names: str, values: str) -> dict[str, str]:
    """Settings that vary together, and one value of each."""
    each = names.split("+")
    split = values.split("+", len(each) - 1)
    if len(split) != len(each):
        raise UserError(f"--vary {names}: {values!r} is not {len(each)} values joined by +")
    return dict(zip(each, split, strict=True))


def carry_out(run: Run, preset: str, track: str | None) -> None:
    """Train what is not trained yet; `track` says who follows, as for `train/run.py`.

    Raises:
        UserError: for a run that failed, with its last words, and for a folder in which a run with
            other settings was begun.
    """
    if holds_run(run.folder):
        _, experiment, _ = read_settings(run.folder)
        if experiment != run.experiment:
            raise UserError(f"{str(run.folder)!r} was begun with other settings; remove it")
    else:
        write_settings(run.folder, preset, run.experiment, run.command)
    command = [sys.executable, "train/run.py", "--resume", str(run.folder.resolve())]
    command += ["--track", track] if track else []
    with open(run.folder / "output.txt", "w", encoding="utf-8") as output:
        status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output).returncode
    if status and not run.is_done:  # else nothing but --track failed
        lines = (run.folder / "output.txt").read_text("utf-8", "replace").split("\n")
        words = next((line for line in reversed(lines) if line.strip()), "").split("\r")[-1]
        raise UserError(f"{run.folder.name} failed with status {status}: {words}")


def result(run: Run) -> Row:
    """What a run came to, as a row of `results.csv`.

    `train_top1` is the best epoch's, on augmented photos; MB are those of `model.weights.h5`;
    the accuracy of large, middle and small classes is the held-out split's, where they differ;
    photos a second are those of fine-tuning (of the head where there is none), and the latency that
    of ONNX Runtime with one photo.
    """
    folder = run.folder / "bundle"
    manifest = bundle.read_manifest(folder)
    with open(folder / "report/history.csv", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    last = [row for row in history if row["stage"] == history[-1]["stage"]]
    best = max(last, key=lambda row: float(row["val_accuracy"]))
    photos = manifest.provenance.splits["train"] * len(last)
    test = manifest.metrics.get("test")
    with open(folder / "report/thirds.csv", encoding="utf-8") as file:
        thirds = {row["third"]: float(row["accuracy"]) for row in csv.DictReader(file)}
    return {
        "model_id": run.folder.name,
        **run.varied,
        "seed": run.experiment.seed,
        "learning_rate": max(float(row["learning_rate"]) for row in last),
        "epochs": len(history),
        "train_top1": round(float(best["accuracy"]), 4),
        "valid_top1": round(manifest.metrics["valid"].top1, 4),
        "test_top1": round(test.top1, 4) if test else "",
        **{f"{name}_classes": value for name, value in thirds.items() if name != "all"},
        "parameters": manifest.provenance.parameters,
        "mb": round((folder / "model.weights.h5").stat().st_size / 2**20, 2),
        "seconds": manifest.provenance.seconds,
        "photos_per_second": round(photos / sum(float(row["seconds"]) for row in last), 1),
        "latency_ms": round(_latency(folder, manifest.input.size), 2),
        "command": run.command,
    }


def _latency(folder: pathlib.Path, size: int) -> float:
    engine = open_engine(folder)
    photo = np.zeros((1, size, size, 3), np.uint8)
    seconds = []
    for _ in range(TIMED + 3):  # the first ones warm up
        started = time.perf_counter()
        engine.run(photo)
        seconds.append(time.perf_counter() - started)
    return float(1000 * np.median(seconds[3:]))


def write_results(rows: list[Row], varied: list[str], folder: pathlib.Path) -> None:
    """Write the table, the leaderboard and the pictures."""
    with (
        replacing(folder / "results.csv") as path,
        open(path, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    varied = _telling(rows, varied)
    groups = _combinations(rows, varied)
    with replacing(folder / "leaderboard.md") as path:
        path.write_text(_leaderboard(groups, varied), "utf-8")
    _dots_figure(groups, folder / "accuracy.png")
    _parallel_figure(rows, varied, folder / "parallel.png")
    for column, title in (("mb", "size, MB"), ("latency_ms", "one photo on ONNX Runtime, ms")):
        _pareto_figure(groups, column, title, folder / f"accuracy_by_{column}.png")


def _telling(rows: list[Row], varied: list[str]) -> list[str]:
    """The settings that tell the combinations apart, without those that follow from others."""

    def count(columns: list[str]) -> int:
        return len({tuple(row[column] for column in columns) for row in rows})

    kept = varied
    for column in reversed(varied[1:]):
        rest = [name for name in kept if name != column]
        if count(rest) == count(varied):
            kept = rest
    return kept


def _combinations(rows: list[Row], varied: list[str]) -> list[tuple[str, list[Row]]]:
    """The rows of each combination by what it is called, best on valid first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = ", ".join(str(row[column]) for column in varied) or "as it is"
        groups.setdefault(name, []).append(row)
    return sorted(groups.items(), key=lambda group: -_mean(group[1], "valid_top1"))


def _mean(rows: list[Row], column: str) -> float:
    return float(np.mean([row[column] for row in rows]))


def _leaderboard(groups: list[tuple[str, list[Row]]], varied: list[str]) -> str:
    thirds = [name for name in groups[0][1][0] if name.endswith("_classes")]
    columns = ("train_top1", "valid_top1", "test_top1", *thirds)
    titles = ["train", "valid", "test", *(name.replace("_", " ") for name in thirds)]
    titles += ["parameters", "MB", "seconds", "photos/s", "ms a photo"]
    lines = [
        "Means over seeds, with the standard deviation where there are several; best on valid "
        "first. Choose by valid: test is for reporting.",
        "",
        "| " + " | ".join([*varied, "seeds", *titles]) + " |",
        "|" + "---|" * (len(varied) + 1 + len(titles)),
    ]
    for _, rows in groups:
        cells = [str(rows[0][name]) for name in varied] + [str(len(rows))]
        for column in columns:
            values = [row[column] for row in rows if row[column] != ""]
            text = f"{np.mean(values):.1%}" if values else ""
            cells.append(text + (f" ± {np.std(values, ddof=1):.1%}" if len(values) > 1 else ""))
        cells.append(f"{rows[0]['parameters']:,}")
        for column in ("mb", "seconds", "photos_per_second", "latency_ms"):
            cells.append(f"{_mean(rows, column):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _dots_figure(groups: list[tuple[str, list[Row]]], path: pathlib.Path) -> None:
    """Accuracy on valid: of each combination the mean, and a small dot for each seed."""
    figure = matplotlib.figure.Figure(figsize=(8, 1.2 + 0.45 * len(groups)), layout="constrained")
    ax = figure.subplots()
    for place, (_, rows) in enumerate(reversed(groups)):
        values = [row["valid_top1"] for row in rows]
        ax.axhline(place, color=GREY, linewidth=0.5, alpha=0.5)
        ax.plot(np.mean(values), place, "o", color=BLUE, markersize=10)
        ax.plot(values, [place] * len(values), "o", color=ORANGE, markersize=4)
        ax.annotate(f"   {np.mean(values):.1%}", (max(values), place), va="bottom", fontsize=9)
    ax.set_yticks(range(len(groups)), [name for name, _ in reversed(groups)])
    ax.set_xlabel("top-1 on valid")
    ax.margins(x=0.15, y=0.2)
    finish(figure, path)


def _parallel_figure(rows: list[Row], varied: list[str], path: pathlib.Path) -> None:
    """A line a run, through its settings to its figures, coloured by accuracy on valid."""
    columns = [*varied, "train_top1", "valid_top1", "seconds", "mb"]
    figure = matplotlib.figure.Figure(figsize=(2 + 1.5 * len(columns), 4.5), layout="constrained")
    ax = figure.subplots()
    heights = np.zeros((len(rows), len(columns)))
    for number, column in enumerate(columns):
        values = [row[column] for row in rows]
        if column in varied:
            names = list(dict.fromkeys(values))
            heights[:, number] = [names.index(v) / max(len(names) - 1, 1) for v in values]
            marks = {name: i / max(len(names) - 1, 1) for i, name in enumerate(names)}
        else:
            low, high = min(values), max(values)
            heights[:, number] = [(v - low) / ((high - low) or 1) for v in values]
            marks = {f"{low:.4g}": 0.0, f"{high:.4g}": 1.0} if high > low else {f"{low:.4g}": 0.0}
        ax.axvline(number, color=GREY, linewidth=0.8)
        for text, height in marks.items():
            ax.annotate(f" {text}", (number, height), fontsize=8, va="center")
    shades = heights[:, columns.index("valid_top1")]
    for line, shade in zip(heights, shades, strict=True):
        ax.plot(line, color=matplotlib.colormaps["viridis"](0.9 * shade), alpha=0.8)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks([])
    ax.set_xlim(-0.1, len(columns) - 0.4)
    finish(figure, path)


def _pareto_figure(
    groups: list[tuple[str, list[Row]]], column: str, title: str, path: pathlib.Path
) -> None:
    """Accuracy on valid against a cost; the line joins those that nothing cheaper beats."""
    figure = matplotlib.figure.Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    points = sorted((_mean(rows, column), _mean(rows, "valid_top1"), n) for n, rows in groups)
    front, highest = [], -1.0
    for cost, accuracy, name in points:
        better = accuracy > highest
        if better:
            highest = accuracy
            front.append((cost, accuracy))
        ax.plot(cost, accuracy, "o", color=ORANGE if better else GREY)
        ax.annotate(name, (cost, accuracy), xytext=(4, 4), textcoords="offset points", fontsize=8)
    ax.step(*zip(*front, strict=True), where="post", color=ORANGE, linewidth=1)
    ax.set_xlabel(title)
    ax.set_ylabel("top-1 on valid")
    finish(figure, path)


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
    parser = Parser("python -m train.sweep", description=__doc__.split("\n\n")[0])
    parser.add_argument("--preset", default="quickstart", metavar="NAME", help="as of train/run.py")
    parser.add_argument(
        "--vary",
        action="append",
        required=True,
        metavar="NAME=A,B",
        help="a setting and its values (NAME=A;B where they have commas), or settings that vary "
        "together (NAME1+NAME2=A1+A2,B1+B2); may be given again",
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each (1)")
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
        for run in pipeline.progress(left, "sweep", len(left), "runs"):
            carry_out(run, options.preset, options.track)
            valid = bundle.read_manifest(run.folder / "bundle").metrics["valid"]
            print(f"{run.folder.name}: {valid.top1:.1%} on valid", flush=True)
        write_results([result(run) for run in planned], list(planned[0].varied), folder)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    print((folder / "leaderboard.md").read_text("utf-8"))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(format="%(message)s")
    sys.exit(main(sys.argv[1:]))
