"""Training in two stages: the head on a frozen backbone, then fine-tuning.

After each epoch the run's folder holds all that is needed to go on as if nothing had happened:

    history.json                      a row an epoch, across the stages
    checkpoints/STAGE-EPOCH.weights.h5  weights and optimizer of the last two epochs, and of those
                                      that are best by valid accuracy and by valid loss

A run that SIGTERM interrupts within an epoch leaves that point, too:

    interrupted.json                  which point: stage, epoch, step, the sums of its metrics
    checkpoints/STAGE-EPOCH-STEP.weights.h5

Everything else is a function of these and of the seed: the order of photos, their augmentation,
dropout, the best epoch, reductions of the rate and early stopping.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import json
import logging
import math
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import h5py
import keras
import numpy as np

from flowers_model import network as networks
from flowers_model.errors import UserError
from flowers_model.files import replacing
from train.data import balance, pipeline
from train.data.augment import mixing, photo_steps, policy
from train.devices import distribution, processes
from train.experiment import LAST, MONITORS, Experiment
from train.loop.features import features
from train.loop.finishing import reason
from train.optim.optimizers import optimizer
from train.optim.schedules import Schedule, diverged, learning_rate, range_rates

if TYPE_CHECKING:
    import tensorflow as tf

    from train.loop.distillation import Teaching

log = logging.getLogger("flowers")

INTERRUPTED = "interrupted.json"
PLATEAU_FACTOR, PLATEAU_PATIENCE = 0.3, 3  # the rate falls to 30 % after 3 epochs without a gain

Row = dict[str, float | int | str]


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
    fitted: Callable[[str], pipeline.Photos]  # decodes train or valid at the network's input size
    whole: Callable[[], pipeline.Photos]  # decodes train whole, for random crops
    teach: Teaching | None = None  # makes labels in fine-tuning, if any
    outliers: Callable[[], pipeline.Photos] | None = None  # decodes those of fine-tuning, if any


def train(task: Task, folder: pathlib.Path, after_epoch: Callable[[list[Row]], None]) -> list[Row]:
    """Train the network in place; it ends with the weights of the last stage's best epoch.

    A folder that holds an interrupted run is gone on with.

    Args:
        folder: the run's folder.
        after_epoch: is told the history whenever an epoch ends.

    Returns:
        The history, a row an epoch.

    Raises:
        TrainingError: when the loss is no number any more.
        Preempted: after SIGTERM, when all is saved to go on.
    """
    network, experiment = task.network, task.experiment
    history = read_history(folder)
    for stage in stages(experiment):
        run = _Run(task, stage, folder, history, after_epoch)
        if not finished(run.rows, stage, experiment):
            _go_back(run)
            _run_stage(run)
        part = _trained_part(network, stage, experiment)
        chosen = run.checkpoint(best(run.rows, experiment.monitor)["epoch"])
        _load(part, chosen, "take another epoch with --resume and another --monitor")
    return history


@dataclasses.dataclass(frozen=True)
class _Run:
    """A stage of a run, whose history grows."""

    task: Task
    stage: Stage
    folder: pathlib.Path
    history: list[Row]  # of all stages
    after_epoch: Callable[[list[Row]], None]

    @property
    def rows(self) -> list[Row]:
        return [row for row in self.history if row["stage"] == self.stage.name]

    def checkpoint(self, epoch: int, step: int | None = None) -> pathlib.Path:
        within = "" if step is None else f"-{step:06}"
        return self.folder / "checkpoints" / f"{self.stage.name}-{epoch:04}{within}.weights.h5"


def read_history(folder: pathlib.Path) -> list[Row]:
    """The rows of a run so far; none where it has not ended an epoch.

    Raises:
        UserError: where the file is damaged.
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
        f"{path} is damaged: put a copy of it back, or begin a new run in another --output"
    )


def _go_back(run: _Run) -> None:
    """Forget the last epochs of a stage as far as their checkpoints are cut, as by a full disk."""
    lost = []
    while run.rows and not _is_whole(run.checkpoint(run.rows[-1]["epoch"])):
        lost.append(run.checkpoint(run.rows[-1]["epoch"]).name)
        run.history.remove(run.rows[-1])
    if lost:
        log.warning(
            "%s of %s cannot be read; going back to epoch %d of %s",
            lost[0],
            run.folder / "checkpoints",
            len(run.rows),
            run.stage.name,
        )


def _is_whole(path: pathlib.Path) -> bool:
    """Whether all values in an HDF5 file can be read."""
    try:
        with h5py.File(path) as file:
            file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
    except (OSError, RuntimeError, KeyError):
        return False
    return True


def write_history_csv(history: list[Row], path: pathlib.Path) -> None:
    """Write the history as a table, a row an epoch."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)


def best(rows: list[Row], monitor: str) -> Row:
    """The best epoch of a stage: the first one of those with the best figure, or the last."""
    if monitor == LAST:
        return rows[-1]
    sign = 1 if monitor == "val_loss" else -1
    return min(rows, key=lambda row: (sign * row[monitor], row["val_loss"]))


def finished(rows: list[Row], stage: Stage, experiment: Experiment) -> bool:
    """Whether a stage has run all its epochs, or has not got better for too long."""
    if len(rows) >= stage.epochs:
        return True
    if not rows or experiment.patience is None:
        return False
    return rows[-1]["epoch"] - best(rows, experiment.monitor)["epoch"] >= experiment.patience


def plateau_rate(rows: list[Row], rate: float, monitor: str) -> float:
    """The rate after these epochs, where it is reduced whenever the figure stands still."""
    sign = 1 if monitor == "val_loss" else -1
    lowest, waited = math.inf, 0
    for row in rows:
        waited = 0 if sign * row[monitor] < lowest else waited + 1
        lowest = min(lowest, sign * row[monitor])
        if waited >= PLATEAU_PATIENCE:
            rate, waited = rate * PLATEAU_FACTOR, 0
    return rate


def range_test(task: Task, steps: int) -> list[dict[str, float]]:
    """Train the first stage at ever higher rates; the network is spoilt by it.

    Args:
        steps: how many at most; the test ends where the loss has grown by far.

    Returns:
        The `step`, `learning_rate` and `loss` of each step.
    """
    # No stage has less than a step an epoch, so that there are photos for all steps.
    stage = dataclasses.replace(stages(task.experiment)[0], epochs=steps)
    batches, *_ = _batches(task, stage)
    data = batches(first_epoch=0, epochs=steps)
    part = _trained_part(task.network, stage, task.experiment)
    rates = range_rates(steps)
    _compile(part, stage, task.experiment, float(rates[0]))
    rows = []
    with pipeline.progress(None, "range test", steps, "steps") as bar:
        for step, (rate, batch) in enumerate(zip(rates, data.as_numpy_iterator(), strict=False)):
            part.optimizer.learning_rate = rate
            loss = float(part.train_on_batch(*batch, return_dict=True)["loss"])
            rows.append({"step": step, "learning_rate": float(rate), "loss": loss})
            bar.update(1)
            if diverged([row["loss"] for row in rows]):
                break
    return rows


def prepare(network: keras.Model, stage: Stage, experiment: Experiment, steps: int) -> keras.Model:
    """The part of the network that a stage trains, ready for its steps, of `steps` an epoch."""
    part = _trained_part(network, stage, experiment)
    _compile(part, stage, experiment, _learning_rate(stage, experiment, steps))
    return part


def _batches(task: Task, stage: Stage) -> tuple[Callable[..., tf.data.Dataset], int, int]:
    """What a stage trains on, photos a batch, and steps an epoch.

    The first is a function of `first_epoch`, `epochs` and `first_step`, as in
    `pipeline.training_batches`.
    """
    experiment, class_count = task.experiment, task.class_count
    cached = _is_cached(stage, experiment)
    whole = stage.name == "finetune" and bool(photo_steps(experiment.augment))
    views = experiment.head_views if cached else 0
    photos = task.whole() if whole or views else task.fitted("train")
    if whole and task.outliers is not None:
        photos = pipeline.together(photos, task.outliers())
    counts = balance.class_counts(photos.labels, class_count)
    size, policies = experiment.image_size, _policies(experiment, counts)
    if views:
        photos = pipeline.augmented_views(
            photos, size=size, count=views, seed=experiment.seed, **policies
        )
    batch = distribution.batch_size(experiment.batch_size, len(photos))
    steps = pipeline.steps(len(photos), batch)
    shared = {
        "batch_size": batch,
        "seed": experiment.seed,
        "weights": balance.class_weights(experiment.class_weights, counts),
        "oversample": experiment.oversample,
    }
    if cached:
        batches = functools.partial(
            pipeline.feature_batches,
            features(task.network, photos.array, "train"),
            photos.labels,
            class_count,
            **shared,
        )
    else:
        blends = {}
        if stage.name == "finetune":
            blends = {"mix": mixing(experiment.augment, experiment.mix_share), "teach": task.teach}
        batches = functools.partial(
            pipeline.training_batches,
            photos,
            class_count,
            size=size,
            **blends,
            **shared,
            **(policies if whole else {"augment": None}),
        )
    return batches, batch, steps


def _run_stage(run: _Run) -> None:
    network, experiment, stage = run.task.network, run.task.experiment, run.stage
    first_epoch = len(run.rows)
    cached = _is_cached(stage, experiment)
    batches, batch, steps = _batches(run.task, stage)
    valid = run.task.fitted("valid")
    valid_inputs = features(network, valid.array, "valid") if cached else valid.array

    part = prepare(network, stage, experiment, steps)
    interrupted = _interrupted(run.folder, stage, first_epoch, batch)
    if interrupted and not _is_whole(point := run.checkpoint(first_epoch, interrupted["step"])):
        log.warning("%s cannot be read; the epoch begins anew", point)
        interrupted = None
    first_step = interrupted["step"] if interrupted else 0
    if first_epoch or first_step:
        part.optimizer.build(part.trainable_variables)
        saved = (first_epoch, first_step) if first_step else (first_epoch - 1, None)
        _load(part, run.checkpoint(*saved), "begin anew in another --output")
    log.info(
        "%s: %d epochs of %d steps with %d %s each, %s of %s weights learn",
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
            "each device takes 1/%d of a batch; the learning rate, %g, is that of a whole batch",
            distribution.parts(),
            stage.learning_rate,
        )
    predict = distribution.predictor(part, max(batch, min(256, len(valid))) if cached else batch)
    # Not fit's validation_data, which wants batches that the devices divide.
    evaluate = functools.partial(
        distribution.evaluate, predict, part.loss, valid_inputs, valid.labels
    )
    journal = _Journal(run, steps, batch, interrupted, evaluate)
    spans = [(first_epoch, first_epoch + 1, first_step)] if first_step else []
    spans.append((first_epoch + len(spans), stage.epochs, 0))
    for first, last, step in spans:
        if finished(run.rows, stage, experiment):
            break
        with _memory_lacks(batch, experiment.image_size):
            part.fit(
                batches(first_epoch=first, epochs=last, first_step=step),
                epochs=last,
                initial_epoch=first,
                steps_per_epoch=steps - step,
                callbacks=[journal],
                shuffle=False,  # the batches come in their order
                verbose=0,
            )


def _load(part: keras.Model, path: pathlib.Path, advice: str) -> None:
    try:
        part.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        kept = ", ".join(sorted(one.name for one in path.parent.glob("*.weights.h5")))
        raise TrainingError(
            f"{path} cannot be read ({reason(error)}); of {kept}, {advice}"
        ) from error


@contextlib.contextmanager
def _memory_lacks(batch: int, size: int) -> Iterator[None]:
    """Inside, a device without memory left is a TrainingError that says what to try.

    Raises:
        TrainingError: so.
    """
    try:
        yield
    except Exception as error:
        # XLA's, on any backend, TensorFlow's and cuDNN's have no class in common.
        if not re.search("RESOURCE_EXHAUSTED|ResourceExhausted|out of memory", repr(error), re.I):
            raise
        raise TrainingError(
            f"the device has no memory left for steps of {batch} photos at {size} px "
            f"({reason(error)}); try --batch-size {max(batch // 2, 1)}, or let other programs "
            "leave the device first"
        ) from error


def _policies(experiment: Experiment, counts: np.ndarray) -> dict:
    """What is done to photos of rare classes and, where those alone are changed, to the others."""
    name, below = experiment.augment, experiment.augment_rare_below
    size, crop_scale = experiment.image_size, experiment.crop_scale
    strength, crop = experiment.augment_strength, experiment.crop
    policies = {"augment": policy(name, size, crop_scale, strength, crop)}
    if below is not None:
        policies["plain"] = policy("none", size, crop_scale, crop=crop)
        policies["rare"] = counts < below
    return policies


def _is_cached(stage: Stage, experiment: Experiment) -> bool:
    return stage.name == "head" and experiment.cache_features


def _trained_part(network: keras.Model, stage: Stage, experiment: Experiment) -> keras.Model:
    """The part of the network that a stage trains, with the right layers free."""
    if stage.name == "head":
        networks.set_trainable(network, 0, train_norms=False)
        return networks.head(network) if _is_cached(stage, experiment) else network
    networks.set_trainable(network, experiment.unfreeze, train_norms=experiment.train_norms)
    return network


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


def _compile(
    part: keras.Model,
    stage: Stage,
    experiment: Experiment,
    rate: float | Schedule,
) -> None:
    part.compile(
        optimizer=optimizer(stage.optimizer, rate, experiment.weight_decay),
        loss=_loss(experiment),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        # On the CPU, XLA slows the TensorFlow backend down several times.
        jit_compile=keras.backend.backend() == "jax" or distribution.has_accelerator(),
    )


def _loss(experiment: Experiment) -> keras.losses.Loss:
    settings = {"from_logits": True, "label_smoothing": experiment.label_smoothing}
    if experiment.loss == "focal":
        # Its alpha would only scale the loss, the same for all classes.
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=experiment.focal_gamma, **settings
        )
    return keras.losses.CategoricalCrossentropy(**settings)


def _count(variables: list) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def _interrupted(folder: pathlib.Path, stage: Stage, epoch: int, batch: int) -> dict | None:
    """Where in this epoch the run was interrupted, if it was, and its steps are still the same."""
    path = folder / INTERRUPTED
    if not path.exists():
        return None
    try:
        saved = dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError):
        log.warning("%s is damaged; the epoch begins anew", path)
        return None
    here = {"stage": stage.name, "epoch": epoch, "batch": batch}
    return saved if saved.items() >= here.items() else None


class _Journal(keras.callbacks.Callback):
    """Keeps the run's folder such that it can be gone on with, and shows how it goes."""

    async_safe = True  # so that no step waits for the figures of the one before

    def __init__(
        self,
        run: _Run,
        steps: int,
        batch: int,
        interrupted: dict | None,
        evaluate: Callable[[], dict[str, float]],
    ):
        super().__init__()
        self.run, self.steps, self.batch = run, steps, batch
        self.interrupted, self.evaluate = interrupted, evaluate
        self.stage, self.experiment = run.stage, run.task.experiment

    def on_train_begin(self, logs=None):
        total = self.stage.epochs * self.steps
        done = len(self.run.rows) * self.steps + (self.interrupted or {"step": 0})["step"]
        self.bar = pipeline.progress(None, self.stage.name, total, "steps", done)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.first_step, self.started = epoch, 0, time.monotonic()
        if self.interrupted is not None:
            self.first_step = self.interrupted["step"]
            self.started -= self.interrupted["seconds"]
            for variable, value in zip(
                self.model.metrics_variables, self.interrupted["metrics"], strict=True
            ):
                variable.assign(value)
            self.interrupted = None
        if self.stage.schedule == "plateau":
            self.model.optimizer.learning_rate = plateau_rate(
                self.run.rows, self.stage.learning_rate, self.experiment.monitor
            )
        # Dropout draws from the seed and the epoch alone, so a resumed run draws the same.
        for number, layer in enumerate(networks.layers_of(self.model)):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                drawn = ((epoch << 20) + self.first_step) % 2**32  # 32 bits wide
                generator.state.assign([self.experiment.seed + number, drawn])

    def on_train_batch_begin(self, batch, logs=None):
        # Not at a batch's end, which Keras tells of in another thread, when the next one has begun.
        processes.raise_interrupt()
        if processes.preempted():
            if batch:
                self._save_at(self.first_step + batch)
            raise processes.Preempted

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(1)

    def on_epoch_end(self, epoch, logs=None):
        row = {"stage": self.stage.name, "epoch": epoch}
        logs = logs | self.evaluate()
        row |= {name: float(value) for name, value in sorted(logs.items())}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["seconds"] = round(time.monotonic() - self.started, 3)
        if not math.isfinite(row["loss"]):
            raise TrainingError(
                f"the loss became {row['loss']} in epoch {epoch + 1} of {self.stage.name}; try a "
                "lower --learning-rate (a tenth), a longer --warmup, or --precision float32"
            )
        rows = [*self.run.rows, row]
        top = best(rows, self.experiment.monitor)
        # The checkpoint comes before the row that speaks of it, and old ones go last: whenever
        # the power fails, the history's last epoch has its file.
        distribution.save_weights(self.model, self.run.checkpoint(epoch))
        self.run.history.append(row)
        if processes.is_first():
            self._keep("history.json", self.run.history)
            # The one before is there for when the last one cannot be read.
            kept = {epoch - 1, epoch, *(best(rows, monitor)["epoch"] for monitor in MONITORS)}
            keep = {self.run.checkpoint(e) for e in kept}
            for path in self.run.checkpoint(epoch).parent.glob(f"{self.stage.name}-*.weights.h5"):
                if path not in keep:
                    path.unlink()
        self.bar.clear()
        log.info(
            "%s %d/%d  loss %.4f  accuracy %.4f  valid loss %.4f  accuracy %.4f  rate %.2g%s",
            self.stage.name,
            epoch + 1,
            self.stage.epochs,
            row["loss"],
            row["accuracy"],
            row["val_loss"],
            row["val_accuracy"],
            row["learning_rate"],
            "  best" if top is row else "",
        )
        self.run.after_epoch(self.run.history)
        if finished(rows, self.stage, self.experiment):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.bar.close()

    def _save_at(self, step: int) -> None:
        """Save this point of the epoch: it has done `step` steps."""
        distribution.save_weights(self.model, self.run.checkpoint(self.epoch, step))
        if processes.is_first():
            point = {
                "stage": self.stage.name,
                "epoch": self.epoch,
                "step": step,
                "batch": self.batch,
                "seconds": round(time.monotonic() - self.started, 3),
                "metrics": [np.asarray(v).tolist() for v in self.model.metrics_variables],
            }
            self._keep(INTERRUPTED, point)
        processes.wait()

    def _keep(self, name: str, value: list | dict) -> None:
        with replacing(self.run.folder / name) as temporary:
            temporary.write_text(json.dumps(value, indent=1), "utf-8")
