"""Metrics of a model on a split, with bootstrap intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from flowers_model.bundle import Interval, Metrics
from flowers_model.calibration import auroc
from flowers_model.classifier import Answers, softmax
from flowers_model.uncertainty import refused


def ood_auroc(flowers: np.ndarray, strangers: list[np.ndarray]) -> float:
    """The AUROC of out-of-distribution photos against flowers `(N,)`, averaged over kinds."""
    return float(np.mean([auroc(flowers, kind) for kind in strangers]))


BINS = 15  # of confidence, for the calibration error
RESAMPLES = 1000  # bootstrap samples
INTERVALS = ("top1", "top5", "macro_f1", "nll", "ece", "coverage", "set_size")

SURE = 0.8  # probability above which a wrong answer misleads
UNBOUNDED = ("nll", "set_size")  # all others lie in 0..1


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's answers for a split.

    Attributes:
        names: names of the photos.
        labels: int `(N,)`, in the order of the model's classes.
        picture: `picture(i)` returns photo `i` as the network sees it, uint8 `(S, S, 3)`.
    """

    names: list[str]
    labels: np.ndarray
    answers: Answers
    picture: Callable[[int], np.ndarray]
    metrics: Metrics

    def only(self, label: int) -> Metrics:
        """The metrics on the photos of one class."""
        rows = np.flatnonzero(self.labels == label)
        return measure(self.answers.subset(rows), self.labels[rows])

    @property
    def guesses(self) -> np.ndarray:
        """The most likely class of each photo, int `(N,)`."""
        return self.answers.probabilities.argmax(axis=1)


def measure(
    answers: Answers, labels: np.ndarray, ood_scores: dict[str, np.ndarray] | None = None
) -> Metrics:
    """The metrics of a split.

    Args:
        answers: the answers for its N photos.
        labels: int `(N,)`, in 0..C-1.
        ood_scores: refusal scores of out-of-distribution photos, by kind.
    """
    columns = _columns(answers, labels)
    guesses = answers.probabilities.argmax(axis=1)
    figures = _figures(columns, labels, guesses, np.arange(len(labels)))
    random = np.random.default_rng(0)
    draws = [
        _figures(columns, labels, guesses, random.integers(0, len(labels), len(labels)))
        for _ in range(RESAMPLES)
    ]
    intervals = {}
    for name in INTERVALS:
        if name in figures:
            # Shifted so that their mean is the metric of the split: repeated photos raise the
            # calibration error of most bootstrap samples.
            moved = np.array([draw[name] for draw in draws])
            moved += figures[name] - moved.mean()
            most = None if name in UNBOUNDED else 1
            low, high = np.quantile(moved, (0.025, 0.975)).clip(0, most)
            intervals[f"{name}_interval"] = Interval(low=low, high=high)
    if answers.logits is not None:
        plain = softmax(answers.logits)
        figures["nll_uncalibrated"] = float(negative_log_likelihoods(plain, labels).mean())
        figures["ece_uncalibrated"] = calibration_error(*_confidence(plain, labels))
    sure = columns["confidence"] > SURE
    figures["sure_wrong"] = float((sure & (guesses != labels)).mean())
    figures["ece_by_chance"] = chance_error(columns["confidence"])
    if answers.refusal_scores is not None:
        kept = ~refused(answers.refusal_scores)
        figures["refused"] = float(1 - kept.mean())
        figures["kept_right"] = float((kept & (guesses == labels)).mean())
        if ood_scores:
            kinds = list(ood_scores.values())
            figures["others_refused"] = float(np.mean([refused(kind).mean() for kind in kinds]))
            figures["others_auroc"] = ood_auroc(answers.refusal_scores, kinds)
    return Metrics(loss=figures["nll"], count=len(labels), **figures, **intervals)


def chance_error(confidence: np.ndarray) -> float:
    """The mean calibration error of a perfectly calibrated model with these confidences.

    It is above zero, since the accuracy of a few photos differs from their confidence by chance
    (consistency resampling: Bröcker & Smith, 2007, https://doi.org/10.1175/WAF993.1).

    Args:
        confidence: probability of the most likely class, `(N,)`.
    """
    random = np.random.default_rng(0)
    draws = (random.random(len(confidence)) < confidence for _ in range(RESAMPLES))
    return float(np.mean([calibration_error(confidence, right) for right in draws]))


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: the mean difference between confidence and accuracy.

    In 15 bins of equal width, as in Guo et al., 2017, https://arxiv.org/abs/1706.04599.

    Args:
        confidence: probability of the most likely class, `(N,)`.
        right: whether that class is right, bool `(N,)`.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, right - confidence, BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def negative_log_likelihoods(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The negative log-likelihood of each photo in nats, `(N,)`."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300))


def macro_f1(labels: np.ndarray, guesses: np.ndarray, class_count: int) -> float:
    """The mean F1 over classes that occur among labels or guesses, as in scikit-learn.

    scikit-learn's function is too slow for the bootstrap.
    """
    hits = np.bincount(labels[labels == guesses], minlength=class_count)
    either = np.bincount(labels, minlength=class_count) + np.bincount(
        guesses, minlength=class_count
    )
    return float((2 * hits[either > 0] / either[either > 0]).mean())


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def _columns(answers: Answers, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Values per photo, `(N,)`, whose means are metrics of the split."""
    probabilities, rows = answers.probabilities, np.arange(len(labels))
    five = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    confidence, right = _confidence(probabilities, labels)
    columns = {
        "top1": right.astype(float),
        "top5": (five == labels[:, None]).any(axis=1).astype(float),
        "nll": negative_log_likelihoods(probabilities, labels),
        "confidence": confidence,
    }
    if answers.label_sets is not None:
        columns["coverage"] = answers.label_sets[rows, labels].astype(float)
        columns["set_size"] = answers.label_sets.sum(axis=1).astype(float)
    return columns


def _figures(
    columns: dict[str, np.ndarray], labels: np.ndarray, guesses: np.ndarray, rows: np.ndarray
) -> dict[str, float]:
    """The metrics of a sample of a split; `rows` may repeat photos."""
    columns = {name: column[rows] for name, column in columns.items()}
    confidence = columns.pop("confidence")
    class_count = max(labels.max(), guesses.max()) + 1
    return {name: float(column.mean()) for name, column in columns.items()} | {
        "macro_f1": macro_f1(labels[rows], guesses[rows], class_count),
        "ece": calibration_error(confidence, columns["top1"]),
    }
