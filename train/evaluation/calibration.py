"""Calibration: temperature, refusal threshold and label sets, fitted on held-out photos.

The published temperature is fitted on all validation photos. The refusal threshold and the limit of
the label sets are fitted on cross-fitted scores: each photo's score uses a temperature that was
fitted on the other folds, so that no photo judges itself.

If the validation photos come from several sources, each source has the same weight in the
temperature, and the two promises (the fraction of flowers that are not refused, and the fraction of
label sets that contain the right name) are kept for every source, not only on average.

A network that continues the training of an earlier one with fewer validation photos leaves few
photos to calibrate on. The outputs of the earlier network for those validation photos that only it
was not trained on can be added (`earlier`).
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
COVERAGE = 0.9  # fraction of photos whose label should be in their label set
KEPT = 0.95  # fraction of flowers that should not be refused


class Outputs(NamedTuple):
    """A network's outputs for N photos."""

    logits: np.ndarray  # (N, C)
    embeddings: np.ndarray  # (N, D)


class Measured(NamedTuple):
    """A network's outputs for held-out photos and for training photos."""

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
        ood: the network's outputs for out-of-distribution photos by kind, on which the refusal
            score is chosen.
        seed: random seed of the folds.
        earlier: the earlier network on photos of the first source that only it was not trained
            on.
        origins: the source of each photo of `valid`, if there are several sources.

    Returns:
        The calibration for the manifest, and the array that the chosen refusal score needs, for
        `refusal.npy`; None if it needs none.
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

    fitted, flowers, auroc = {}, {}, {}
    for name, kind in SCORES.items():
        fitted[name], flowers[name] = _fit_score(kind, parts, cross_fitted)
        strangers = [fitted[name].score(*outputs, temperature) for outputs in ood.values()]
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


def _fit_score(
    kind: type[Score], parts: Sequence[Measured], cross_fitted: np.ndarray
) -> tuple[Score, np.ndarray]:
    """The score fitted for the network, and the raw scores of the photos of all parts, `(N,)`."""
    fits = [kind.fit(part.train.embeddings, part.train_labels) for part in parts]
    temperatures = np.split(cross_fitted, np.cumsum([len(part.labels) for part in parts])[:-1])
    scores = [
        one.score(*part.outputs, each)
        for one, part, each in zip(fits, parts, temperatures, strict=True)
    ]
    return fits[0], np.concatenate(scores)


def _sources(origins: Sequence[str], count: int, total: int) -> dict[str, np.ndarray]:
    """The rows of each source; rows from `count` on belong to the first source."""
    names = np.array(origins if len(origins) else [""] * count)
    names = np.concatenate([names, np.repeat(names[:1], total - count)])
    return {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}


def _method(count: int, sources: dict[str, np.ndarray], earlier: int) -> str:
    """Sentences on how the calibration was fitted, for the manifest and the card."""
    folds = min(FOLDS, count)
    said = f"Calibrated on {count} validation photos that the network was not trained on"
    if len(sources) > 1:
        each = ", ".join(f"{len(rows)} of {name}" for name, rows in sources.items())
        said += f" ({each}; each source counts the same)"
    if earlier:
        said += (
            f"; for {earlier} of them, which it was trained on, the outputs are those of an "
            "earlier network, which was not"
        )
    return (
        f"{said}. The temperature is fitted on all of them; the refusal threshold and the limit "
        f"of the label sets on scores cross-fitted over {folds} folds. The refusal score "
        "was chosen on these and out-of-distribution photos. Unless the last epoch was kept, the "
        "epoch was chosen on these photos as well."
    )


def _cross_fit(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, seed: int
) -> np.ndarray:
    """The temperature for each photo, `(N,)`, fitted on the folds without it."""
    temperatures = np.empty(len(labels))
    folds = sklearn.model_selection.KFold(min(FOLDS, len(labels)), shuffle=True, random_state=seed)
    for rest, fold in folds.split(labels):
        temperatures[fold] = fit_temperature(logits[rest], labels[rest], weights[rest])
    return temperatures
