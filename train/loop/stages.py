"""Training in two stages: the head on a frozen backbone, then fine-tuning.

After each epoch, the run's folder contains what is needed to resume:

    history.json                      one row per epoch, over all stages
    checkpoints/STAGE-EPOCH.weights.h5  weights and optimizer state of the last two epochs, and of
                                      the best ones by validation accuracy and validation loss

A run that is interrupted by SIGTERM within an epoch saves its state as well:

    interrupted.json                  stage, epoch, step and the metrics' sums so far
    checkpoints/STAGE-EPOCH-STEP.weights.h5

Everything else follows from these files and the seed: the order of photos, augmentation, dropout,
the best epoch, reductions of the learning rate and early stopping.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import math
import pathlib
import re
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import keras
import numpy as np

from flowers_model import network as networks
from train.data import balance, pipeline
from train.data.augment import mixing, policy
from train.data.decoding import together
from train.devices import distribution
from train.experiment import SETTINGS, Experiment
from train.loop.features import features
from train.loop.finishing import reason
from train.loop.history import Row, best, read_history
from train.loop.journal import Journal, StageRun, is_whole, read_interrupted
from train.loop.task import Stage, Task, TrainingError, finished, stages
from train.optim.optimizers import optimizer
from train.optim.schedules import Schedule, learning_rate

if TYPE_CHECKING:
    import tensorflow as tf

log = logging.getLogger("flowers")


def train(task: Task, folder: pathlib.Path, after_epoch: Callable[[list[Row]], None]) -> list[Row]:
    """Train the network in place; it ends with the weights of the last stage's best epoch.

    Resumes the run in `folder` if it was interrupted.

    Args:
        folder: the run's folder.
        after_epoch: called with the history after each epoch.

    Returns:
        The history, one row per epoch.

    Raises:
        TrainingError: if the loss is no longer finite.
        Preempted: after SIGTERM, once everything is saved.
    """
    network, experiment = task.network, task.experiment
    history = read_history(folder)
    for stage in stages(experiment):
        run = StageRun(task, stage, folder, history, after_epoch)
        if not finished(run.rows, stage, experiment):
            _go_back(run)
            _run_stage(run)
        part = trained_part(network, stage, experiment)
        chosen = run.checkpoint(best(run.rows, experiment.monitor)["epoch"])
        _load(part, chosen, "choose another epoch with --resume and another --monitor")
    return history


def _go_back(run: StageRun) -> None:
    """Drop the last epochs of a stage if their checkpoints are damaged, as by a full disk."""
    lost = []
    while run.rows and not is_whole(run.checkpoint(run.rows[-1]["epoch"])):
        lost.append(run.checkpoint(run.rows[-1]["epoch"]).name)
        run.history.remove(run.rows[-1])
    if lost:
        log.warning(
            "%s in %s cannot be read; resuming after epoch %d of %s",
            lost[0],
            run.folder / "checkpoints",
            len(run.rows),
            run.stage.name,
        )


def prepare(network: keras.Model, stage: Stage, experiment: Experiment, steps: int) -> keras.Model:
    """The part of the network that a stage trains, compiled; `steps` is the number per epoch."""
    part = trained_part(network, stage, experiment)
    compile_part(part, stage, experiment, _learning_rate(stage, experiment, steps))
    return part


def stage_batches(task: Task, stage: Stage) -> tuple[Callable[..., tf.data.Dataset], int, int]:
    """A function that makes a stage's batches, the photos per batch, and the steps per epoch.

    The function takes the fields `first_epoch`, `epochs` and `first_step` of `pipeline.Order`.
    """
    experiment, class_count = task.experiment, task.class_count
    head_views = experiment.head_views if stage.cached else 0
    augmented = stage.augments or head_views
    photos = task.whole() if augmented else task.fitted("train")
    if stage.augments and task.outliers is not None:
        photos = together(photos, task.outliers())
    counts = balance.class_counts(photos.labels, class_count)
    weights = balance.class_weights(experiment.class_weights, counts)
    views = _views(experiment, counts) if augmented else None
    if head_views:
        photos = pipeline.augmented_views(photos, views, head_views)
    batch = distribution.batch_size(experiment.batch_size, len(photos))
    order = pipeline.Order(batch, experiment.seed, experiment.oversample)
    if stage.cached:
        cached = features(task.network, photos.array, "train")
        make = functools.partial(
            pipeline.feature_batches, cached, photos.labels, class_count, weights=weights
        )
    else:
        make = functools.partial(
            pipeline.training_batches,
            photos,
            class_count,
            views=views,
            mix=mixing(experiment.augment, experiment.mix_share) if stage.finetunes else None,
            teach=task.teach if stage.finetunes else None,
            weights=weights,
        )

    def batches(**span: int) -> tf.data.Dataset:
        return make(order=dataclasses.replace(order, **span))

    return batches, batch, pipeline.steps(len(photos), batch)


def _run_stage(run: StageRun) -> None:
    network, experiment, stage = run.task.network, run.task.experiment, run.stage
    first_epoch = len(run.rows)
    cached = stage.cached
    batches, batch, steps = stage_batches(run.task, stage)
    valid = run.task.fitted("valid")
    valid_inputs = features(network, valid.array, "valid") if cached else valid.array

    part = prepare(network, stage, experiment, steps)
    interrupted = read_interrupted(run.folder, stage, first_epoch, batch)
    if interrupted and not is_whole(point := run.checkpoint(first_epoch, interrupted["step"])):
        log.warning("%s cannot be read; the epoch starts over", point)
        interrupted = None
    first_step = interrupted["step"] if interrupted else 0
    if first_epoch or first_step:
        part.optimizer.build(part.trainable_variables)
        saved = (first_epoch, first_step) if first_step else (first_epoch - 1, None)
        _load_with_optimizer(part, run.checkpoint(*saved))
    log.info(
        "%s: %d epochs of %d steps of %d %s; %s of %s parameters are trained",
        stage.name,
        stage.epochs - first_epoch,
        steps,
        batch,
        "photos' features" if cached else "photos",
        f"{_count(part.trainable_variables):,}",
        f"{network.count_params():,}",
    )
    if distribution.is_on():
        log.info(
            "each device gets 1/%d of a batch; the learning rate, %g, is that of the full batch",
            distribution.parts(),
            stage.learning_rate,
        )
    predict = distribution.predictor(part, max(batch, min(256, len(valid))) if cached else batch)
    # Not the validation_data of fit, which requires batches that are divisible by the devices.
    evaluate = functools.partial(
        distribution.evaluate, predict, part.loss, valid_inputs, valid.labels
    )
    journal = Journal(run, steps, batch, interrupted, evaluate)
    spans = [(first_epoch, first_epoch + 1, first_step)] if first_step else []
    spans.append((first_epoch + len(spans), stage.epochs, 0))
    for first, last, step in spans:
        if finished(run.rows, stage, experiment):
            break
        with _explained_out_of_memory(batch, experiment.image_size):
            part.fit(
                batches(first_epoch=first, epochs=last, first_step=step),
                epochs=last,
                initial_epoch=first,
                steps_per_epoch=steps - step,
                callbacks=[journal],
                shuffle=False,  # batches are ordered already
                verbose=0,
            )


def _load_with_optimizer(part: keras.Model, path: pathlib.Path) -> None:
    """Load the weights and the optimizer state of a checkpoint.

    Raises:
        TrainingError: if the file cannot be read, or if either only its optimizer or only that of
            `part` scales the loss.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        _load(part, path, "start a new run in another --output")
    # Without its moments, the optimizer would continue as in the first step.
    if any("Skipping variable loading for optimizer" in str(one.message) for one in said):
        scaled = keras.config.dtype_policy().name == "mixed_float16"
        began = "float32" if scaled else "mixed_float16"
        raise TrainingError(
            f"{path} belongs to a run that started in another precision, on another device: set "
            f'"precision": "{began}" in {path.parent.parent / SETTINGS}, and resume'
        )


def _load(part: keras.Model, path: pathlib.Path, advice: str) -> None:
    try:
        part.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        kept = ", ".join(sorted(one.name for one in path.parent.glob("*.weights.h5")))
        raise TrainingError(
            f"{path} cannot be read ({reason(error)}); there are {kept}: {advice}"
        ) from error


@contextlib.contextmanager
def _explained_out_of_memory(batch: int, size: int) -> Iterator[None]:
    """Turn out-of-memory errors into one that says what to try.

    Raises:
        TrainingError: if a device is out of memory.
    """
    try:
        yield
    except Exception as error:
        # The errors of XLA, TensorFlow and cuDNN have no class in common.
        if not re.search("RESOURCE_EXHAUSTED|ResourceExhausted|out of memory", repr(error), re.I):
            raise
        raise TrainingError(
            f"the device is out of memory for steps of {batch} photos at {size} px "
            f"({reason(error)}); try --batch-size {max(batch // 2, 1)}, or end other programs that "
            "use the device"
        ) from error


def _views(experiment: Experiment, counts: np.ndarray) -> pipeline.Views:
    """The augmented views of photos; `counts` are the photos per class, int `(C,)`."""
    name, below = experiment.augment, experiment.augment_rare_below
    size, crop_scale, crop = experiment.image_size, experiment.crop_scale, experiment.crop
    views = pipeline.Views(
        policy(name, size, crop_scale, experiment.augment_strength, crop), size, experiment.seed
    )
    if below is None:
        return views
    plain = policy("none", size, crop_scale, crop=crop)
    return dataclasses.replace(views, plain=plain, rare=counts < below)


def trained_part(network: keras.Model, stage: Stage, experiment: Experiment) -> keras.Model:
    """The part of the network that a stage trains, with its layers trainable or frozen."""
    if stage.finetunes:
        networks.set_trainable(network, experiment.unfreeze, train_norms=experiment.train_norms)
        return network
    networks.set_trainable(network, 0, train_norms=False)
    return networks.head(network) if stage.cached else network


def _learning_rate(stage: Stage, experiment: Experiment, steps: int) -> float | Schedule:
    return learning_rate(
        stage.schedule,
        stage.learning_rate,
        experiment.rate_low,
        total=stage.epochs * steps,
        warmup=experiment.warmup,
        period=max(round(experiment.rate_period * steps), 1),
        factor=experiment.rate_decay,
    )


def compile_part(
    part: keras.Model,
    stage: Stage,
    experiment: Experiment,
    rate: float | Schedule,
) -> None:
    part.compile(
        optimizer=optimizer(stage.optimizer, rate, experiment.weight_decay),
        loss=_loss(experiment),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        # On CPUs, XLA makes the TensorFlow backend several times slower.
        jit_compile=keras.backend.backend() == "jax" or networks.has_accelerator(),
    )


def _loss(experiment: Experiment) -> keras.losses.Loss:
    settings = {"from_logits": True, "label_smoothing": experiment.label_smoothing}
    if experiment.loss == "focal":
        # Its alpha would only scale the loss.
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=experiment.focal_gamma, **settings
        )
    return keras.losses.CategoricalCrossentropy(**settings)


def _count(variables: list) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
