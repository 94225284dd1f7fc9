"""Unbalanced classes: class weights in the loss, and oversampling."""

from __future__ import annotations

import numpy as np

SCHEMES = ("none", "balanced", "inverse-sqrt", "effective-number")
BETA = 0.999  # of the effective number, which hardly grows beyond a thousand photos


def class_counts(labels: np.ndarray, class_count: int) -> np.ndarray:
    """Photos per class, int64 `(C,)`, from int labels `(N,)`; outliers (-1) are not counted."""
    return np.bincount(labels[labels >= 0], minlength=class_count)


def class_weights(scheme: str, counts: np.ndarray) -> np.ndarray | None:
    """The weight of each class in the loss; None for `none`.

    - `balanced`: `1 / n` for a class of n photos, so that all classes count equally;
    - `inverse-sqrt`: `1 / sqrt(n)`, a compromise;
    - `effective-number`: one over `(1 - 0.999^n) / (1 - 0.999)`, which grows ever more slowly with
      n (Cui et al., 2019, https://arxiv.org/abs/1901.05555).

    Args:
        counts: training photos per class, int `(C,)`, each at least 1.

    Returns:
        float32 `(C,)`, 1 on average over the photos, so that the learning rate keeps its scale.
    """
    if scheme == "none":
        return None
    counts = np.asarray(counts, np.float64)
    sizes = {
        "balanced": counts,
        "inverse-sqrt": np.sqrt(counts),
        "effective-number": (1 - BETA**counts) / (1 - BETA),
    }[scheme]
    weights = 1 / sizes
    return (weights * counts.sum() / (weights @ counts)).astype(np.float32)


def even_draws(labels: np.ndarray, seed: int, first: int, last: int) -> np.ndarray:
    """The photos of draws `first` to `last - 1` of a run, if the classes take turns.

    Each class cycles through its photos, reshuffled for every cycle: photos of rare classes are
    repeated, and every photo of a common class is drawn sooner or later.

    Args:
        labels: int `(N,)`; classes without photos are skipped, and outliers (-1) are one tenth of
            the draws.

    Returns:
        int64 `(last - first,)`, in 0..N-1.
    """
    classes = np.unique(labels).tolist()
    if -1 in classes:  # outliers take one of ten turns
        classes += [-1] * (round((len(classes) - 1) / 9) - 1)
    turns = np.array(classes)
    draws = np.arange(first, last)
    taken = np.empty(len(draws), np.int64)
    for label in dict.fromkeys(classes):
        own, own_turns = np.flatnonzero(labels == label), np.flatnonzero(turns == label)
        places = np.flatnonzero(turns[draws % len(turns)] == label)
        rounds, turn = np.divmod(draws[places], len(turns))
        numbers = rounds * len(own_turns) + np.searchsorted(own_turns, turn)
        rounds, numbers = np.divmod(numbers, len(own))
        for number in np.unique(rounds):
            shuffled = np.random.default_rng([seed, label % 2**32, number]).permutation(own)
            here = rounds == number
            taken[places[here]] = shuffled[numbers[here]]
    return taken
