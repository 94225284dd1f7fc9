"""Learning rates as functions of the step, so that a resumed run uses the same ones."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import ops

Schedule = keras.optimizers.schedules.LearningRateSchedule

RANGE = (1e-7, 10.0)  # rates of a range test
SMOOTHING = 0.9  # weight of past steps in the smoothed loss of a range test
DIVERGED = 4.0  # a range test ends when the smoothed loss is this many times its minimum


@dataclasses.dataclass(frozen=True)
class Triangular(Schedule):
    """Linearly up from `low` to `peak` and down again, in cycles of `period` steps.

    The triangular policy of Smith, 2015, https://arxiv.org/abs/1506.01186.
    """

    low: float
    peak: float
    period: int

    def __call__(self, step):
        place = ops.cast(ops.mod(step, self.period), "float32") / self.period
        return self.low + (self.peak - self.low) * (1 - ops.abs(1 - 2 * place))

    def get_config(self):
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Decay(Schedule):
    """Linearly up from `low` to `peak` in `warmup` steps, then an exponential decay towards `low`.

    The difference from `low` is multiplied by `factor` every `period` steps: continuously, or with
    `staircase` at the end of each period.
    """

    low: float
    peak: float
    warmup: int
    period: int
    factor: float
    staircase: bool

    def __call__(self, step):
        after = ops.maximum(step - self.warmup, 0)
        if self.staircase:
            after = after // self.period * self.period
        share = ops.power(self.factor, ops.cast(after, "float32") / self.period)
        rise = ops.cast(step, "float32") / max(self.warmup, 1)
        return self.low + (self.peak - self.low) * ops.where(step < self.warmup, rise, share)

    def get_config(self):
        return dataclasses.asdict(self)


def learning_rate(
    name: str,
    peak: float,
    low: float,
    *,
    total: int,
    warmup: float,
    period: int,
    factor: float,
) -> float | Schedule:
    """The learning rate of a stage, by the name of its schedule.

    - `cosine`: linearly up from 0, then down to 0 along a cosine;
    - `cyclical`: `Triangular`;
    - `exponential`: `Decay`; `step`: `Decay` as a staircase;
    - all others: `peak` throughout.

    Args:
        peak, low: the highest and lowest rates.
        total: number of steps of the stage.
        warmup: fraction of the steps in which the rate rises, 0..1.
        period: number of steps per cycle, or per decay by `factor`.
        factor: decay factor per period.
    """
    rise = max(round(warmup * total), 1)
    if name == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0, max(total - rise, 1), warmup_target=peak, warmup_steps=rise
        )
    if name == "cyclical":
        return Triangular(low, peak, period)
    if name in ("exponential", "step"):
        rise = round(warmup * total)
        return Decay(low, peak, rise, period, factor, staircase=name == "step")
    return peak


def range_rates(count: int) -> np.ndarray:
    """The rates of a range test, float64 `(count,)`: a geometric sequence."""
    return np.geomspace(*RANGE, count)


def smooth(losses: list[float]) -> list[float]:
    """Exponential moving averages of the losses, without bias towards 0."""
    smoothed, mean = [], 0.0
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING**number))
    return smoothed


def diverged(losses: list[float]) -> bool:
    """Whether a range test can end: the loss is not finite, or has diverged."""
    return not np.isfinite(losses[-1]) or smooth(losses)[-1] > DIVERGED * min(smooth(losses))


def suggested_rate(rates: list[float], losses: list[float]) -> float:
    """A tenth of the rate at which the smoothed loss of a range test is lowest."""
    return rates[int(np.nanargmin(smooth(losses)))] / 10
