"""Fit temperature, refusal threshold and label sets on held-out photos, in plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from flowers_model.uncertainty import probability_before, softmax

SOURCE_PHOTOS = 20  # a source with fewer photos is used only for the temperature


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """The temperature in 0.05..20 that minimizes the loss of `softmax(logits / T)`.

    Guo et al., 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.

    >>> temperature = fit_temperature(logits, labels)

    Args:
        logits: `(N, C)`, for photos that the network was not trained on.
        labels: int `(N,)`.
        weights: weight of each photo, `(N,)`; None for equal weights.
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits, np.exp(log_temperature))
        picked = probabilities[np.arange(len(labels)), labels]
        return -np.average(np.log(np.maximum(picked, 1e-300)), weights=weights)

    return float(np.exp(_golden_section(loss, np.log(0.05), np.log(20.0))))


def conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """The score that a further photo does not exceed with at least this probability.

    If there are too few photos, it is 1, with which every name is in the set.

    >>> conformal_quantile(np.arange(9) / 10, 0.9)
    0.8
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else 1.0


def large_sources(sources: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The rows of each source that is large enough; all rows together if none is.

    >>> [len(rows) for rows in large_sources([np.arange(40), np.arange(40, 43)])]
    [40]

    Args:
        sources: the rows of each source, int.
    """
    large = [rows for rows in sources if len(rows) >= SOURCE_PHOTOS]
    return large or [np.sort(np.concatenate(sources))]


def refusal_bounds(
    scores: np.ndarray, sources: Sequence[np.ndarray], keeps: float
) -> tuple[float, float]:
    """Center and threshold of a refusal score that keeps this fraction of each source.

    >>> center, threshold = refusal_bounds(scores, [np.arange(len(scores))], 0.95)

    Args:
        scores: unscaled, of held-out photos, `(N,)`.
        sources: the rows of each source, int.
        keeps: 0..1.
    """
    center = float(np.median(scores))
    threshold = max(np.quantile(scores[rows], keeps) for rows in sources)
    # If most flowers have exactly the same score, only higher scores are refused.
    return center, float(max(threshold, center + 1e-9 + 1e-6 * abs(center)))


def label_set_limit(
    probabilities: np.ndarray, labels: np.ndarray, sources: Sequence[np.ndarray], coverage: float
) -> float:
    """The limit with which label sets contain the right name this often, for every source.

    >>> limit = label_set_limit(probabilities, labels, [np.arange(len(labels))], 0.9)

    Args:
        probabilities: of held-out photos, `(N, C)`.
        labels: int `(N,)`.
        sources: the rows of each source, int.
        coverage: 0..1.
    """
    needed = probability_before(probabilities)[np.arange(len(labels)), labels]
    return max(conformal_quantile(needed[rows], coverage) for rows in sources)


def auroc(flowers: np.ndarray, strangers: np.ndarray) -> float:
    """The probability that an out-of-distribution photo has a higher score than a flower, 0..1.

    >>> auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    0.875
    """
    flowers = np.sort(flowers)
    below = np.searchsorted(flowers, strangers, "left")
    ties = np.searchsorted(flowers, strangers, "right") - below
    return float((below + ties / 2).mean() / len(flowers))


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    """The minimum of a unimodal function between `low` and `high`, to 1e-6."""
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
