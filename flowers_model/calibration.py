"""Probabilities, refusal and label sets fitted on held-out answers. Plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from flowers_model.uncertainty import softmax


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """The temperature in 0.05..20 that minimizes the loss of `softmax(logits / T)`.

    Guo et al., 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.

    >>> temperature = fit_temperature(logits, labels)

    Args:
        logits: `(N, C)`, of photos that the network was not trained on.
        labels: int `(N,)`.
        weights: weight of each photo, `(N,)`; equal if there are none.
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits, np.exp(log_temperature))
        picked = probabilities[np.arange(len(labels)), labels]
        return -np.average(np.log(np.maximum(picked, 1e-300)), weights=weights)

    return float(np.exp(_golden_section(loss, np.log(0.05), np.log(20.0))))


def conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """The score that a further photo stays at or below with at least this probability.

    1, with which every name is in the set, if there are too few photos to tell.

    >>> conformal_quantile(np.arange(9) / 10, 0.9)
    0.8
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else 1.0


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one minimum between `low` and `high` has it, to 1e-6."""
    share = (math.sqrt(5) - 1) / 2
    left, right = high - share * (high - low), low + share * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > 1e-6:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - share * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + share * (high - low)
            at_right = loss(right)
    return (low + high) / 2
