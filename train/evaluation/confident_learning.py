"""Confident learning: find labels that are probably wrong.

Northcutt, Jiang and Chuang, 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
https://arxiv.org/abs/1911.00068. The probabilities are those of a linear discriminant on a
network's embeddings, fitted on the other folds, so a photo has no influence on its own.
"""

from __future__ import annotations

import numpy as np

from flowers_model.calibration import fit_temperature
from flowers_model.classifier import softmax
from flowers_model.few_shot import shrunk

FOLDS = 5
SHRINKAGE = 0.3  # of the shared covariance towards a sphere


def held_out_probabilities(
    embeddings: np.ndarray, labels: np.ndarray, class_count: int, seed: int = 0
) -> np.ndarray:
    """Class probabilities of each photo by a classifier fitted without it, float64 `(N, C)`.

    The row of a photo that is the only one of its class is NaN.

    Args:
        embeddings: `(N, D)`.
        labels: the given labels, int `(N,)`.
        seed: random seed of the folds.
    """
    rows = np.asarray(embeddings, np.float64)
    folds = np.empty(len(labels), int)  # every class is spread over all folds
    for label in range(class_count):
        own = np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))
        folds[own] = np.arange(len(own)) % FOLDS
    scores = np.full((len(rows), class_count), -np.inf)
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        present = np.unique(labels[train])
        means = np.stack([rows[train & (labels == label)].mean(axis=0) for label in present])
        apart = rows[train] - means[np.searchsorted(present, labels[train])]
        covariance = shrunk(apart.T @ apart / max(train.sum() - len(present), 1), SHRINKAGE)
        kernel = np.linalg.solve(covariance, means.T)
        bias = -(means.T * kernel).sum(axis=0) / 2
        scores[np.ix_(test, present)] = rows[test] @ kernel + bias
    told = np.isfinite(scores[np.arange(len(labels)), labels])
    finite = np.where(np.isfinite(scores), scores, -1e9)
    probabilities = softmax(finite, fit_temperature(finite[told], labels[told]))
    probabilities[~told] = np.nan
    return probabilities


def label_issues(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The photos whose labels are probably wrong, the most certain first, and their likely classes.

    These are the photos off the diagonal of the confident joint. A class is a candidate for a photo
    if its probability is at least the average probability of that class over the photos labelled
    so; the most probable candidate counts.

    Args:
        probabilities: held-out, `(N, C)`; rows of NaN are skipped.
        labels: the given labels, int `(N,)`.

    Returns:
        Indices of photos, int `(n,)`, and their likely classes, int `(n,)`.
    """
    told = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    probabilities, labels = probabilities[told], labels[told]
    own = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, own, minlength=probabilities.shape[1])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    guesses = confident.argmax(axis=1)
    wrong = np.flatnonzero((confident.max(axis=1) >= 0) & (guesses != labels))
    margin = own[wrong] - probabilities[wrong, guesses[wrong]]
    order = wrong[np.argsort(margin, kind="stable")]
    return told[order], guesses[order]
