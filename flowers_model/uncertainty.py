"""What a network does not know: refusal scores, and sets of names. Plain NumPy, for serving."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from flowers_model.bundle import BundleError, Refusal

REFERENCE = "refusal.npy"


def read_reference(folder: str | os.PathLike) -> np.ndarray:
    """The mean embeddings of a bundle's classes, float32 `(C, D)`, that distances go by.

    Raises:
        BundleError: where they are missing or no plain array.
    """
    try:
        means = np.load(pathlib.Path(folder) / REFERENCE, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise BundleError(f"{REFERENCE} is missing or no plain array of numbers") from None
    if means.ndim != 2:
        raise BundleError(f"{REFERENCE} must have a row a class")
    return means


def directions(vectors: np.ndarray) -> np.ndarray:
    """Rows `(N, D)`, each divided by its length."""
    rows = np.asarray(vectors, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def raw_score(
    kind: str,
    logits: np.ndarray | None,
    embeddings: np.ndarray | None,
    temperature: float,
    means: np.ndarray | None,
) -> np.ndarray:
    """How little photos look like known flowers: higher is stranger.

    Args:
        kind: `"probability"`, the negated highest probability; `"energy"`, of Liu et al., 2020,
            https://arxiv.org/abs/2010.03759; `"distance"`, the negated cosine of the embedding and
            the class mean that it points towards most.
        logits: `(N, C)`; not for the distance.
        embeddings: `(N, D)`; for the distance alone.
        means: of the classes' embeddings, `(C, D)`; for the distance alone.

    Returns:
        float64 `(N,)`.
    """
    if kind == "distance":
        return -(directions(embeddings) @ directions(means).T).max(axis=1)
    scaled = np.asarray(logits, np.float64) / temperature
    highest = scaled.max(axis=1)
    total = np.exp(scaled - highest[:, None]).sum(axis=1)
    return -1 / total if kind == "probability" else -temperature * (highest + np.log(total))


def refusal_score(raw: np.ndarray, refusal: Refusal) -> np.ndarray:
    """Raw scores on a scale where 0 is the median flower, and above 1 is refused."""
    return (raw - refusal.center) / (refusal.threshold - refusal.center)


def label_sets(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """The names before which at most `limit` of the probability lies, the likeliest always.

    These are the sets of Romano et al., 2020, https://arxiv.org/abs/2006.02544, that are never
    empty and not drawn by lot.

    Args:
        probabilities: `(N, C)`.

    Returns:
        bool `(N, C)`.
    """
    return probability_before(probabilities) <= limit


def probability_before(probabilities: np.ndarray) -> np.ndarray:
    """For each name `(N, C)`, the sum of the probabilities of all likelier names of the photo."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1)
    before = np.zeros_like(ranked)
    np.put_along_axis(before, order, np.cumsum(ranked, axis=1) - ranked, axis=1)
    before[np.arange(len(before)), order[:, 0]] = 0.0
    return before
