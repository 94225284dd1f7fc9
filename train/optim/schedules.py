"""Learning rates as functions of the step, so that a resumed run uses the same ones."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import ops

Schedule = keras.optimizers.schedules.LearningRateSchedule

RANGE = (1e-7, 10.0)  # rates of a range test
SMOOTHING = 0.9  # share of the past in a range test's smoothed loss
DIVERGED = 4.0  # a range test ends where its smoothed loss is so many times its lowest


@dataclasses.dataclass(frozen=True)
class Triangular(Schedule):
    """Up from `low` to `peak` and down again in straight lines, `period` steps a cycle.

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
    """From `low` up to `peak` in `warmup` steps; from there towards `low` again.

    What the rate has above `low` is multiplied by `factor` every `period` steps: little by little,
    or, where it is `staircase`, at once at the end of each period.
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
    """The learning rate of a stage by the name of its schedule.

    - `cosine`: up from 0 in a straight line, then down to 0 along a cosine;
    - `cyclical`: `Triangular`;
    - `exponential`: `Decay`; `step`: the same by steps;
    - all others: `peak` throughout.

    Args:
        peak, low: the highest and lowest rates.
        total: steps of the stage.
        warmup: share of them that the rate rises in, 0..1.
        period: steps of a cycle, or that `factor` is for.
        factor: what the rate is multiplied by in a period.
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
    """The rates of a range test, float64 `(count,)`: each is the last one times the same."""
    return np.geomspace(*RANGE, count)


def smooth(losses: list[float]) -> list[float]:
    """Means of the losses so far in which each step counts a tenth less than the next."""
    smoothed, mean = [], 0.0
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING**number))
    return smoothed


def diverged(losses: list[float]) -> bool:
    """Whether a range test can end: the loss is not finite, or has diverged."""
    return not np.isfinite(losses[-1]) or smooth(losses)[-1] > DIVERGED * min(smooth(losses))


def suggested_rate(rates: list[float], losses: list[float]) -> float:
    """A tenth of the rate at which the smoothed loss of a range test was lowest."""
    return rates[int(np.nanargmin(smooth(losses)))] / 10
