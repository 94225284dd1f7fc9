"""The history of a run, one row per epoch: best epoch and plateaus."""

from __future__ import annotations

import csv
import json
import math
import pathlib

from flowers_model.errors import UserError
from flowers_model.files import replacing
from train.experiment import LAST

PLATEAU_FACTOR, PLATEAU_PATIENCE = (
    0.3,
    3,
)  # the rate falls to 30 % after 3 epochs without improvement

Row = dict[str, float | int | str]


def read_history(folder: pathlib.Path) -> list[Row]:
    """The rows of a run so far; empty before the first epoch is finished.

    Raises:
        UserError: if the file is damaged.
    """
    path = folder / "history.json"
    if not path.exists():
        return []
    try:
        history = json.loads(path.read_text("utf-8"))
        needed = {"stage", "epoch", "learning_rate", "seconds", "val_accuracy", "val_loss"}
        if all(row.keys() >= needed for row in history):
            return history
    except (ValueError, TypeError, AttributeError):
        pass
    raise UserError(
        f"{path} is damaged: restore it from a copy, or start a new run in another --output"
    )


def write_history_csv(history: list[Row], path: pathlib.Path) -> None:
    """Write the history as CSV, one row per epoch."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def best(rows: list[Row], monitor: str) -> Row:
    """The best epoch of a stage by the metric `monitor`, or the last epoch."""
    if monitor == LAST:
        return rows[-1]
    sign = 1 if monitor == "val_loss" else -1
    return min(rows, key=lambda row: (sign * row[monitor], row["val_loss"]))


def plateau_rate(rows: list[Row], rate: float, monitor: str) -> float:
    """The learning rate after these epochs, reduced at each plateau of the metric `monitor`."""
    sign = 1 if monitor == "val_loss" else -1
    lowest, waited = math.inf, 0
    for row in rows:
        waited = 0 if sign * row[monitor] < lowest else waited + 1
        lowest = min(lowest, sign * row[monitor])
        if waited >= PLATEAU_PATIENCE:
            rate, waited = rate * PLATEAU_FACTOR, 0
    return rate
