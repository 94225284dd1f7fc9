"""Checks before the first step of what would otherwise fail after training."""

from __future__ import annotations

import pathlib
import shutil

from flowers_model.errors import UserError
from train.devices import processes
from train.loop.task import Task
from train.sources import Source, SourceError
from train.sources.base import nameless

# In multiples of the weights: a checkpoint has two moments besides, and a bundle has the weights
# for Keras, twice while they are packed, and in ONNX.
CHECKPOINT, BUNDLE = 3, 3
CHECKPOINTS = 3  # the last two, and the one that is being written


def check(folder: pathlib.Path, source: Source, task: Task) -> None:
    """Check the class names, that held-out photos can be read, and the free disk space.

    Args:
        folder: the run's.

    Raises:
        UserError: for what a bundle could not hold.
    """
    for name in source.class_names:
        if fault := nameless(name):
            raise SourceError(f"{source.name} has a class whose name {fault}: {name!a}")
    for name in source.splits:
        if name != "train":  # which training reads itself
            task.fitted(name)
    if processes.is_first():
        _check_room(folder, 4 * task.network.count_params())


def _check_room(folder: pathlib.Path, weights: int) -> None:
    needed = (CHECKPOINTS * CHECKPOINT + BUNDLE) * weights
    there = sum(path.stat().st_size for path in (folder / "checkpoints").glob("*"))
    free = shutil.disk_usage(folder).free
    if free + there < needed:
        raise UserError(
            f"the disk of {folder} has {free / 1e6:.0f} MB left, and the run needs about "
            f"{(needed - there) / 1e6:.0f} MB: make room, or give another --output"
        )


def room_needed(folder: pathlib.Path) -> int:
    """Approximate disk space that a run needs to resume, bytes, by its checkpoints."""
    largest = max((p.stat().st_size for p in (folder / "checkpoints").glob("*")), default=0)
    return max((1 + BUNDLE) * largest, 10**6)
