"""Refusal scores and label sets, in plain NumPy for serving.

Each refusal score is a class below, registered in `SCORES` under its name in bundles. Training fits
every score and chooses one by AUROC; serving uses that one. The static page computes the same
scores in `spaces/static/app/judge.js`.
"""

from __future__ import annotations

import math
from typing import Self

import numpy as np

REFUSED_ABOVE = 1.0  # for refusal scores on the scale of `bundle.Refusal.scaled`


def refused(scores: np.ndarray | float) -> np.ndarray | bool:
    """Whether photos with these refusal scores are refused.

    >>> refused(np.array([0.0, 1.0, 1.2]))
    array([False, False,  True])
    """
    return scores > REFUSED_ABOVE


class Score:
    """A refusal score: the higher, the less a photo looks like a known flower.

    >>> score = ClassMeanCosine.fit(train_embeddings, train_labels)
    >>> raw = score.score(logits, embeddings, temperature=1.0)

    Attributes:
        name: its name in bundles and reports.
        needs_reference: whether a bundle must contain `reference` to compute it.
        reference: the array that `fit` computed from the training photos; None for none.
    """

    name: str
    needs_reference = False

    def __init__(self, reference: np.ndarray | None = None):
        self.reference = reference

    @classmethod
    def fit(cls, embeddings: np.ndarray, labels: np.ndarray) -> Self:
        """Fit the score on training photos: embeddings `(N, D)`, labels int `(N,)`."""
        return cls()

    def score(
        self, logits: np.ndarray, embeddings: np.ndarray, temperature: float | np.ndarray
    ) -> np.ndarray:
        """The raw scores of N photos; higher is more unusual.

        Args:
            logits: `(N, C)`.
            embeddings: `(N, D)`.
            temperature: the calibrated temperature; a number, or one per photo `(N,)`.

        Returns:
            float64 `(N,)`.
        """
        raise NotImplementedError


class Probability(Score):
    """The negated highest calibrated probability.

    Hendrycks and Gimpel, 2017, https://arxiv.org/abs/1610.02136.

    >>> Probability().score(np.log([[0.5, 0.3, 0.2]]), None, 1.0)
    array([-0.5])
    """

    name = "probability"

    def score(self, logits, embeddings, temperature):
        return -softmax(logits, np.reshape(temperature, (-1, 1))).max(axis=1)


class Energy(Score):
    """The free energy of the logits at the calibrated temperature.

    Liu et al., 2020, https://arxiv.org/abs/2010.03759.

    >>> Energy().score(np.log([[0.5, 0.3, 0.2]]) + 2, None, 1.0)
    array([-2.])
    """

    name = "energy"

    def score(self, logits, embeddings, temperature):
        return -temperature * log_sum_exp(logits, temperature)


class ClassMeanCosine(Score):
    """The negated cosine of the embedding to the nearest class mean, `reference` `(C, D)`.

    >>> score = ClassMeanCosine(np.array([[3.0, 0.0], [0.0, 9.0]]))
    >>> score.score(None, np.array([[3.0, 4.0]]), 1.0)
    array([-0.8])
    """

    name = "distance"
    needs_reference = True

    @classmethod
    def fit(cls, embeddings, labels):
        return cls(class_means(embeddings, labels))

    def score(self, logits, embeddings, temperature):
        return -(directions(embeddings) @ directions(self.reference).T).max(axis=1)


SCORES: dict[str, type[Score]] = {one.name: one for one in (Probability, Energy, ClassMeanCosine)}


def class_means(embeddings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean embedding of each class that has photos, float32 `(classes, D)`.

    >>> class_means(np.array([[2.0, 0.0], [4.0, 0.0], [0.0, 9.0]]), np.array([0, 0, 1]))
    array([[3., 0.],
           [0., 9.]])

    Args:
        embeddings: `(N, D)`.
        labels: int `(N,)`.
    """
    return np.stack([embeddings[labels == label].mean(axis=0) for label in np.unique(labels)])


def directions(vectors: np.ndarray) -> np.ndarray:
    """Rows `(N, D)` divided by their lengths, in float64.

    >>> directions(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """
    rows = np.asarray(vectors, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def label_sets(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """The names preceded by at most `limit` of the probability, always with the most likely one.

    These are the adaptive prediction sets of Romano et al., 2020,
    https://arxiv.org/abs/2006.02544, without randomization and never empty.

    >>> label_sets(np.array([[0.1, 0.6, 0.3]]), 0.65)
    array([[False,  True,  True]])

    Args:
        probabilities: `(N, C)`.

    Returns:
        bool `(N, C)`.
    """
    return probability_before(probabilities) <= limit


def probability_before(probabilities: np.ndarray) -> np.ndarray:
    """For each name, `(N, C)`, the total probability of the more likely names.

    >>> probability_before(np.array([[0.25, 0.5, 0.25]]))
    array([[0.5 , 0.  , 0.75]])
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1)
    before = np.zeros_like(ranked)
    np.put_along_axis(before, order, np.cumsum(ranked, axis=1) - ranked, axis=1)
    before[np.arange(len(before)), order[:, 0]] = 0.0
    return before


def odds(coverage: float) -> tuple[int, int]:
    """A coverage in whole numbers: how many times right, out of how many.

    >>> odds(0.9), odds(0.95)
    ((9, 10), (19, 20))

    Args:
        coverage: 0..1. If no simple fraction fits, it is rounded down.
    """
    for out_of in (10, 20, 100):
        if math.isclose(coverage * out_of, round(coverage * out_of), abs_tol=1e-6):
            return round(coverage * out_of), out_of
    return int(coverage * 1000), 1000


def softmax(logits: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """`softmax(logits / temperature)` over the last axis, in float64.

    >>> softmax(np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
    """
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)


def log_sum_exp(logits: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """`log(sum(exp(logits / temperature)))` of each row, float64 `(N,)`.

    >>> log_sum_exp(np.log([[0.25, 0.75]]))
    array([0.])

    Args:
        logits: `(N, C)`.
        temperature: a number, or one per row `(N,)`.
    """
    scaled = np.asarray(logits, np.float64) / np.reshape(temperature, (-1, 1))
    highest = scaled.max(axis=1)
    return highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
