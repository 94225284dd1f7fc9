"""A grid of training runs: which runs, how they are started, and their results."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import pathlib
import re
import shlex
import subprocess
import sys
import time

import numpy as np

from flowers_model import bundle
from flowers_model.command import Parser
from flowers_model.engine import open_engine
from flowers_model.errors import UserError
from flowers_model.installation import ROOT, spoken
from train.experiment import (
    Experiment,
    add_settings,
    holds_run,
    load_preset,
    read_settings,
    write_settings,
)
from train.reports.leaderboard import Row

TIMED = 20  # measurements of a network's latency, of which the median is taken


@dataclasses.dataclass(frozen=True)
class Run:
    """One combination of the grid with one seed."""

    folder: pathlib.Path
    experiment: Experiment
    command: str
    varied: dict[str, str]  # the settings that the grid varies, as given on the command line

    @property
    def is_done(self) -> bool:
        return (self.folder / "bundle" / bundle.MANIFEST).is_file()


def runs(
    folder: pathlib.Path, preset: str, shared: list[str], grid: dict[str, list[str]], seeds: int
) -> list[Run]:
    """The runs of a grid; nothing is started yet.

    Args:
        folder: the folder of the sweep.
        shared: flags of `train/run.py` for all runs.
        grid: the values of each varied setting, as on the command line; settings that vary
            together are joined by +, and so are their values.
        seeds: runs per combination; seeds count up from that of the preset.

    Raises:
        UserError: if a setting or a value does not exist.
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
                    f"{spoken('train')} {shlex.join(words)}",
                    varied,
                )
            )
    return found


def _together(names: str, values: str) -> dict[str, str]:
    """The values of settings that vary together, by name."""
    each = names.split("+")
    split = values.split("+", len(each) - 1)
    if len(split) != len(each):
        raise UserError(f"--vary {names}: {values!r} is not {len(each)} values joined by +")
    return dict(zip(each, split, strict=True))


def carry_out(run: Run, preset: str, track: str | None) -> None:
    """Start or resume a run; `track` is the tracker, as for `train/run.py`.

    Raises:
        UserError: if the run fails (the message ends with its last line of output), or if its
            folder holds a run with other settings.
    """
    if holds_run(run.folder):
        _, experiment, _ = read_settings(run.folder)
        if experiment != run.experiment:
            raise UserError(f"{str(run.folder)!r} holds a run with other settings; remove it")
    else:
        write_settings(run.folder, preset, run.experiment, run.command)
    command = [sys.executable, str(ROOT / "train/run.py"), "--resume", str(run.folder)]
    command += ["--track", track] if track else []
    with open(run.folder / "output.txt", "w", encoding="utf-8") as output:
        status = subprocess.run(command, stdout=output, stderr=output).returncode
    if status and not run.is_done:  # otherwise only --track failed
        lines = (run.folder / "output.txt").read_text("utf-8", "replace").split("\n")
        words = next((line for line in reversed(lines) if line.strip()), "").split("\r")[-1]
        raise UserError(f"{run.folder.name} failed with status {status}: {words}")


def result(run: Run) -> Row:
    """The results of a run, as a row of `results.csv`.

    `train_top1` is that of the best epoch, on augmented photos; `mb` is the size of
    `model.weights.h5`; the accuracy on large, middle and small classes is measured on the held-out
    split, if class sizes differ; `photos_per_second` is that of the last stage; `latency_ms` is
    that of ONNX Runtime for a single photo.
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
