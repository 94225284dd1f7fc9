"""A training task, and the stages of an experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import keras

from train.data.augment import photo_steps
from train.data.decoding import Photos
from train.experiment import Experiment
from train.loop.history import Row, best

if TYPE_CHECKING:
    from train.loop.distillation import Teaching


class TrainingError(Exception):
    """Training cannot continue; the message says what to try."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A phase of training with its own learning rate.

    Attributes:
        finetunes: whether layers of the backbone are trained, with mixed and distilled labels.
        augments: whether photos are augmented in every epoch.
        cached: whether it trains on cached features of the frozen backbone.
    """

    name: str
    epochs: int
    learning_rate: float
    optimizer: str
    schedule: str
    finetunes: bool = False
    augments: bool = False
    cached: bool = False


def stages(experiment: Experiment) -> list[Stage]:
    """The stages of an experiment that have at least one epoch."""
    e = experiment
    rate = e.learning_rate if e.learning_rate_finetune is None else e.learning_rate_finetune
    both = [
        Stage(
            name="head",
            epochs=e.epochs_head,
            learning_rate=e.learning_rate,
            optimizer=e.optimizer,
            schedule=e.schedule,
            cached=e.cache_features,
        ),
        Stage(
            name="finetune",
            epochs=e.epochs_finetune,
            learning_rate=rate,
            optimizer=e.optimizer_finetune or e.optimizer,
            schedule=e.schedule_finetune or e.schedule,
            finetunes=True,
            augments=bool(photo_steps(e.augment)),
        ),
    ]
    return [stage for stage in both if stage.epochs]


@dataclasses.dataclass(frozen=True)
class Task:
    """A network and the photos to train it on."""

    network: keras.Model
    experiment: Experiment
    class_count: int
    fitted: Callable[[str], Photos]  # decodes a split at the network's input size
    whole: Callable[[], Photos]  # decodes train without cropping, for random crops
    teach: Teaching | None = None  # distillation in fine-tuning, if any
    outliers: Callable[[], Photos] | None = None  # decodes photos for outlier exposure, if any


def finished(rows: list[Row], stage: Stage, experiment: Experiment) -> bool:
    """Whether a stage has run all of its epochs, or stops early."""
    if len(rows) >= stage.epochs:
        return True
    if not rows or experiment.patience is None:
        return False
    return rows[-1]["epoch"] - best(rows, experiment.monitor)["epoch"] >= experiment.patience
