"""Checks before the first step, so that nothing that can be foreseen fails after training."""

from __future__ import annotations

import pathlib
import shutil

from flowers_model.errors import UserError
from train.devices import processes
from train.loop.task import Task
from train.sources import Source, SourceError
from train.sources.base import nameless

# As multiples of the weights: a checkpoint also has two moments; a bundle has the weights for Keras
# (twice while they are being packed) and for ONNX.
CHECKPOINT, BUNDLE = 3, 3
CHECKPOINTS = 3  # the last two, and the one that is being written


def check(folder: pathlib.Path, source: Source, task: Task) -> None:
    """Check class names, held-out photos and free disk space.

    Args:
        folder: the folder of the run.

    Raises:
        UserError: if a class cannot be named so, a held-out split cannot be read, or the disk is
            too full.
    """
    for name in source.class_names:
        if fault := nameless(name):
            raise SourceError(f"{source.name} has a class whose name {fault}: {name!a}")
    for name in source.splits:
        if name != "train":  # training itself reads that first
            task.fitted(name)
    if processes.is_first():
        _check_room(folder, 4 * task.network.count_params())


def _check_room(folder: pathlib.Path, weights: int) -> None:
    needed = (CHECKPOINTS * CHECKPOINT + BUNDLE) * weights
    there = sum(path.stat().st_size for path in (folder / "checkpoints").glob("*"))
    free = shutil.disk_usage(folder).free
    if free + there < needed:
        raise UserError(
            f"the disk of {folder} has {free / 1e6:.0f} MB left, but the run needs about "
            f"{(needed - there) / 1e6:.0f} MB: free some space, or give another --output"
        )


def room_needed(folder: pathlib.Path) -> int:
    """The disk space, in bytes, that a run needs to resume, estimated from its checkpoints."""
    largest = max((p.stat().st_size for p in (folder / "checkpoints").glob("*")), default=0)
    return max((1 + BUNDLE) * largest, 10**6)
