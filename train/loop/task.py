"""What is trained, on what, and in which stages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras

from train.data.decoding import Photos
from train.experiment import Experiment
from train.loop.history import Row, best

if TYPE_CHECKING:
    from train.loop.distillation import Teaching


class TrainingError(Exception):
    """A training that cannot go on; the message says what to try."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stretch of training with its own learning rate."""

    name: str
    epochs: int
    learning_rate: float
    optimizer: str
    schedule: str


def stages(experiment: Experiment) -> list[Stage]:
    """The stages of an experiment, those without epochs left out."""
    e = experiment
    rate = e.learning_rate if e.learning_rate_finetune is None else e.learning_rate_finetune
    names = e.optimizer_finetune or e.optimizer, e.schedule_finetune or e.schedule
    both = [
        Stage("head", e.epochs_head, e.learning_rate, e.optimizer, e.schedule),
        Stage("finetune", e.epochs_finetune, rate, *names),
    ]
    return [stage for stage in both if stage.epochs]


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained, and on what."""

    network: keras.Model
    experiment: Experiment
    class_count: int
    fitted: Callable[[str], Photos]  # decodes train or valid at the network's input size
    whole: Callable[[], Photos]  # decodes train whole, for random crops
    teach: Teaching | None = None  # makes labels in fine-tuning, if any
    outliers: Callable[[], Photos] | None = None  # decodes those of fine-tuning, if any


def finished(rows: list[Row], stage: Stage, experiment: Experiment) -> bool:
    """Whether a stage has run all its epochs, or has not got better for too long."""
    if len(rows) >= stage.epochs:
        return True
    if not rows or experiment.patience is None:
        return False
    return rows[-1]["epoch"] - best(rows, experiment.monitor)["epoch"] >= experiment.patience
