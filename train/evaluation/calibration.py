"""Calibration: temperature, refusal threshold and label sets, fitted on held-out photos.

One temperature is fitted on all validation photos and published. The refusal threshold and the
limit of the label sets are fitted on cross-fitted scores: each photo's score uses a temperature
that was fitted on the other folds, so that no photo judges itself.

Where the validation photos come from several sources, each source has the same weight in the
temperature, and the two promises (the share of flowers that is kept, and the share of label sets
that hold the right name) are met for every source, not only on average.

A network that continued from another one and held back fewer validation photos has little to be
calibrated on. It can add the predecessor's answers to those validation photos that only the
predecessor had not been trained on (`earlier`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
import sklearn.metrics
import sklearn.model_selection

from flowers_model.bundle import Calibration, LabelSets, Refusal
from flowers_model.classifier import softmax
from flowers_model.uncertainty import probability_before, raw_score
from train.evaluation.metrics import others_auroc

FOLDS = 5
COVERAGE = 0.9  # photos whose label is to be in their label set
KEPT = 0.95  # flowers that are not to be refused
SCORES = ("probability", "energy", "distance")

SOURCE_PHOTOS = 20  # a source with fewer has a part in the temperature alone


class Outputs(NamedTuple):
    """What the network gives for N photos."""

    logits: np.ndarray  # (N, C)
    embeddings: np.ndarray  # (N, D)


class HeldOut(NamedTuple):
    """What a network says of N photos that it was not trained on."""

    outputs: Outputs
    labels: np.ndarray  # int (N,)
    means: np.ndarray  # of its classes' embeddings, (C, D)


def calibrate(
    valid: Outputs,
    labels: np.ndarray,
    train: Outputs,
    train_labels: np.ndarray,
    others: dict[str, Outputs],
    seed: int,
    earlier: HeldOut | None = None,
    origins: Sequence[str] = (),
) -> tuple[Calibration, np.ndarray | None]:
    """Fit all that makes answers honest.

    Args:
        valid, labels: photos that the network was not trained on; labels int `(N,)`.
        train, train_labels: those that it was trained on; they only say what embeddings of known
            flowers are like.
        others: photos of other things by kind, to choose the refusal score by.
        seed: of the folds.
        earlier: what a network that this one went on from says of further photos, of the first
            source.
        origins: the source of each photo of `valid`, where there are several.

    Returns:
        What goes into the manifest, and the class means `(C, D)` where its refusal needs them.
    """
    means = class_means(train.embeddings, train_labels)
    parts = [HeldOut(valid, labels, means)] + ([earlier] if earlier else [])
    logits = np.concatenate([part.outputs.logits for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    sources = _sources(origins, len(valid.logits), len(labels))
    weights = np.empty(len(labels))
    for rows in sources.values():
        weights[rows] = 1 / (len(rows) * len(sources))
    temperature = fit_temperature(logits, labels, weights)
    fold_temperatures, folds = _cross_fit(logits, labels, weights, seed)
    large = [rows for rows in sources.values() if len(rows) >= SOURCE_PHOTOS]
    large = large or [np.arange(len(labels))]

    flowers, strangers = {}, {}
    for kind in SCORES:
        if kind == "distance":  # no temperature has a part in it
            flowers[kind] = np.concatenate(
                [raw_score(kind, *part.outputs, temperature, part.means) for part in parts]
            )
        else:
            flowers[kind] = np.empty(len(labels))
            for rows, own in zip(folds, fold_temperatures, strict=True):
                flowers[kind][rows] = raw_score(kind, logits[rows], None, own, None)
        strangers[kind] = [
            raw_score(kind, *outputs, temperature, means) for outputs in others.values()
        ]
    auroc = {
        kind: float(np.mean([others_auroc(flowers[kind][rows], strangers[kind]) for rows in large]))
        for kind in SCORES
    }
    best = max(SCORES, key=auroc.get)
    center = np.median(flowers[best])
    threshold = max(np.quantile(flowers[best][rows], KEPT) for rows in large)
    refusal = Refusal(
        score=best,
        center=center,
        # Where most flowers have one and the same score, only what is stranger is refused.
        threshold=max(threshold, center + 1e-9 + 1e-6 * abs(center)),
        keeps=KEPT,
        auroc=auroc,
    )

    needed = np.empty(len(labels))
    for rows, own in zip(folds, fold_temperatures, strict=True):
        before = probability_before(softmax(logits[rows], own))
        needed[rows] = before[np.arange(len(rows)), labels[rows]]
    limit = max(conformal_quantile(needed[rows], COVERAGE) for rows in large)
    calibration = Calibration(
        temperature=temperature,
        fitted_on="valid",
        method=_method(len(labels), sources, len(earlier.labels) if earlier else 0, len(folds)),
        refusal=refusal,
        label_sets=LabelSets(coverage=COVERAGE, limit=limit),
    )
    return calibration, means if best == "distance" else None


def _sources(origins: Sequence[str], count: int, total: int) -> dict[str, np.ndarray]:
    """The rows of each source; those from `count` to `total - 1` are of the first one."""
    names = np.array(origins if len(origins) else [""] * count)
    names = np.concatenate([names, np.repeat(names[:1], total - count)])
    return {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}


def _method(count: int, sources: dict[str, np.ndarray], earlier: int, folds: int) -> str:
    """What was fitted on what, for the manifest and the card."""
    said = f"Calibrated on {count} validation photos that the network was not trained on"
    if len(sources) > 1:
        each = ", ".join(f"{len(rows)} of {name}" for name, rows in sources.items())
        said += f" ({each}; each source counts the same)"
    if earlier:
        said += (
            f"; for {earlier} of them, which it was trained on, the answers are those of its "
            "predecessor, which was not"
        )
    return (
        f"{said}. The temperature is fitted on all of them; the refusal threshold and the limit "
        f"of the label sets on scores cross-fitted over {folds} folds. The refusal score was "
        "chosen on these and out-of-distribution photos. Unless the last epoch was taken, the "
        "photos also chose the epoch."
    )


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """The temperature in 0.05..20 with which `softmax(logits / T)` has the least loss.

    Guo et al., 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.

    Args:
        logits: `(N, C)`, of photos that the network was not trained on.
        labels: int `(N,)`.
        weights: what each photo counts, `(N,)`; all the same where there are none.
    """

    def loss(log_temperature: float) -> float:
        probabilities = softmax(logits, np.exp(log_temperature))
        picked = probabilities[np.arange(len(labels)), labels]
        return -np.average(np.log(np.maximum(picked, 1e-300)), weights=weights)

    bounds = (np.log(0.05), np.log(20.0))
    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x))


def class_means(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean embedding of each class that has photos, float32 `(classes, D)`.

    Args:
        embeddings: `(N, D)`.
        labels: int `(N,)`.
    """
    return np.stack([embeddings[labels == label].mean(axis=0) for label in np.unique(labels)])


def conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """The score that a further photo stays at or below with at least this probability.

    1, with which every name is in the set, where there are too few photos to tell.
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else 1.0


def _cross_fit(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, seed: int
) -> tuple[list[float], list[np.ndarray]]:
    """Folds of the photos, and for each the temperature of the photos outside of it."""
    count = min(FOLDS, len(labels))
    folds = sklearn.model_selection.KFold(count, shuffle=True, random_state=seed).split(labels)
    pairs = [
        (fit_temperature(logits[rest], labels[rest], weights[rest]), fold) for rest, fold in folds
    ]
    return [temperature for temperature, _ in pairs], [fold for _, fold in pairs]
