"""The files that an interrupted run resumes from: history, checkpoints, `interrupted.json`."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import pathlib
import time
from collections.abc import Callable

import h5py
import keras
import numpy as np

from flowers_model import network as networks
from flowers_model.files import replacing
from train.devices import distribution, processes
from train.devices.progress import progress
from train.experiment import MONITORS
from train.loop.history import Row, best, plateau_rate
from train.loop.task import Stage, Task, TrainingError, finished

log = logging.getLogger("flowers")

INTERRUPTED = "interrupted.json"


@dataclasses.dataclass(frozen=True)
class StageRun:
    """A stage of a run; epochs are appended to its history."""

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


def is_whole(path: pathlib.Path) -> bool:
    """Whether all values in an HDF5 file can be read."""
    try:
        with h5py.File(path) as file:
            file.visititems(lambda _, item: item[()] if isinstance(item, h5py.Dataset) else None)
    except (OSError, RuntimeError, KeyError):
        return False
    return True


def read_interrupted(folder: pathlib.Path, stage: Stage, epoch: int, batch: int) -> dict | None:
    """Where the run was interrupted within this epoch; None if it was not, or if steps changed."""
    path = folder / INTERRUPTED
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text("utf-8"))
        point = {name: saved[name] for name in ("step", "seconds", "metrics")}
        place = {name: saved[name] for name in ("stage", "epoch", "batch")}
    except (ValueError, TypeError, KeyError):
        log.warning("%s is damaged; the epoch starts over", path)
        return None
    here = {"stage": stage.name, "epoch": epoch, "batch": batch}
    return point if place == here else None


class Journal(keras.callbacks.Callback):
    """Saves and logs every epoch, and saves the state at SIGTERM, so that the run can resume."""

    async_safe = True  # so that no step waits for the metrics of the previous one

    def __init__(
        self,
        run: StageRun,
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
        self.bar = progress(None, self.stage.name, total, "steps", done)

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
        # Dropout depends only on the seed and the step, so a resumed run draws the same numbers.
        for number, layer in enumerate(networks.layers_of(self.model)):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                drawn = ((epoch << 20) + self.first_step) % 2**32  # 32 bits wide
                generator.state.assign([self.experiment.seed + number, drawn])

    def on_train_batch_begin(self, batch, logs=None):
        # Not at the end of a batch, which Keras reports in another thread, during the next batch.
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
        # The checkpoint is written before its row, and old ones are deleted last, so the last
        # epoch of the history always has its checkpoint, even after a power failure.
        distribution.save_weights(self.model, self.run.checkpoint(epoch))
        self.run.history.append(row)
        if processes.is_first():
            self._keep("history.json", self.run.history)
            # The last but one is kept in case the last one cannot be read.
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
        """Save the state after `step` steps of the epoch."""
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
