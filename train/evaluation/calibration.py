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

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import sklearn.model_selection

from flowers_model.bundle import Calibration, LabelSets, Refusal
from flowers_model.calibration import (
    fit_temperature,
    label_set_limit,
    large_sources,
    refusal_bounds,
)
from flowers_model.classifier import softmax
from flowers_model.uncertainty import SCORES, Score
from train.evaluation.metrics import ood_auroc

FOLDS = 5
COVERAGE = 0.9  # share of photos whose label is to be in their label set
KEPT = 0.95  # share of flowers not to be refused


class Outputs(NamedTuple):
    """A network's outputs for N photos."""

    logits: np.ndarray  # (N, C)
    embeddings: np.ndarray  # (N, D)


class Measured(NamedTuple):
    """A network's outputs for photos that it was not trained on, and for those that it was."""

    outputs: Outputs  # of N held-out photos
    labels: np.ndarray  # int (N,)
    train: Outputs  # of the training photos, to fit refusal scores on
    train_labels: np.ndarray  # int


def calibrate(
    valid: Measured,
    ood: dict[str, Outputs],
    seed: int,
    earlier: Measured | None = None,
    origins: Sequence[str] = (),
) -> tuple[Calibration, np.ndarray | None]:
    """Fit the temperature, the refusal threshold and the label sets, and choose a refusal score.

    Args:
        valid: the network on its validation photos.
        ood: the network's outputs for out-of-distribution photos, by kind, to choose the refusal
            score by.
        seed: of the folds.
        earlier: the predecessor on further photos of the first source, which only the predecessor
            was not trained on.
        origins: the source of each photo of `valid`, if there are several sources.

    Returns:
        The calibration for the manifest, and what the chosen refusal score has learned, for
        `refusal.npy`; None if it needs nothing.
    """
    parts = [valid] + ([earlier] if earlier else [])
    logits = np.concatenate([part.outputs.logits for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    sources = _sources(origins, len(valid.labels), len(labels))
    weights = np.empty(len(labels))
    for rows in sources.values():
        weights[rows] = 1 / (len(rows) * len(sources))
    temperature = fit_temperature(logits, labels, weights)
    cross_fitted = _cross_fit(logits, labels, weights, seed)
    large = large_sources([*sources.values()])

    ends = np.cumsum([len(part.labels) for part in parts])[:-1]
    fitted: dict[str, Score] = {}
    flowers, auroc = {}, {}
    for name, kind in SCORES.items():
        fits = [kind.fit(part.train.embeddings, part.train_labels) for part in parts]
        fitted[name] = fits[0]
        scored = [
            one.score(*part.outputs, temperatures)
            for one, part, temperatures in zip(
                fits, parts, np.split(cross_fitted, ends), strict=True
            )
        ]
        flowers[name] = np.concatenate(scored)
        strangers = [fits[0].score(*outputs, temperature) for outputs in ood.values()]
        areas = [ood_auroc(flowers[name][rows], strangers) for rows in large]
        auroc[name] = float(np.mean(areas))
    best = max(auroc, key=auroc.get)
    center, threshold = refusal_bounds(flowers[best], large, KEPT)
    refusal = Refusal(score=best, center=center, threshold=threshold, keeps=KEPT, auroc=auroc)

    limit = label_set_limit(softmax(logits, cross_fitted[:, None]), labels, large, COVERAGE)
    calibration = Calibration(
        temperature=temperature,
        fitted_on="valid",
        method=_method(len(labels), sources, len(earlier.labels) if earlier else 0),
        refusal=refusal,
        label_sets=LabelSets(coverage=COVERAGE, limit=limit),
    )
    return calibration, fitted[best].reference


def _sources(origins: Sequence[str], count: int, total: int) -> dict[str, np.ndarray]:
    """The rows of each source; rows from `count` on are of the first source."""
    names = np.array(origins if len(origins) else [""] * count)
    names = np.concatenate([names, np.repeat(names[:1], total - count)])
    return {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}


def _method(count: int, sources: dict[str, np.ndarray], earlier: int) -> str:
    """What was fitted on which photos, for the manifest and the card."""
    folds = min(FOLDS, count)
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
        f"of the label sets on scores cross-fitted over {folds} folds. The refusal score "
        "was chosen on these and out-of-distribution photos. Unless the last epoch was taken, the "
        "photos also chose the epoch."
    )


def _cross_fit(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, seed: int
) -> np.ndarray:
    """For each photo, `(N,)`, the temperature fitted on the folds that it is not in."""
    temperatures = np.empty(len(labels))
    folds = sklearn.model_selection.KFold(min(FOLDS, len(labels)), shuffle=True, random_state=seed)
    for rest, fold in folds.split(labels):
        temperatures[fold] = fit_temperature(logits[rest], labels[rest], weights[rest])
    return temperatures
