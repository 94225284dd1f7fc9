"""Figures on held-out photos, from the network that is served."""

from __future__ import annotations

import numpy as np
import scipy.optimize
import sklearn.metrics

from flowers_model.bundle import Metrics
from flowers_model.classifier import softmax


def measure(probabilities: np.ndarray, labels: np.ndarray) -> Metrics:
    """The figures of a split.

    Args:
        probabilities: calibrated, `(N, C)`.
        labels: int `(N,)`, in 0..C-1.
    """
    classes = np.arange(probabilities.shape[1])
    return Metrics(
        top1=sklearn.metrics.accuracy_score(labels, probabilities.argmax(axis=1)),
        top5=_top5(probabilities, labels),
        loss=sklearn.metrics.log_loss(labels, probabilities, labels=classes),
        count=len(labels),
    )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in 0.05..20 with which `softmax(logits / T)` has the least loss.

    Guo et al., 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.

    Args:
        logits: `(N, C)`, of photos that the network was not trained on.
        labels: int `(N,)`.
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits, np.exp(log_temperature))
        picked = probabilities[np.arange(len(labels)), labels]
        return -np.log(np.maximum(picked, 1e-300)).mean()

    bounds = (np.log(0.05), np.log(20.0))
    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x))


def _top5(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Share of the photos whose label is among the five likeliest (all, where there are five)."""
    five = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    return float((five == labels[:, None]).any(axis=1).mean())
