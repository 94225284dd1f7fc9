"""Measure models on photos: `python -m train.evaluate --model BUNDLE|REPO --data SPEC`.

Writes `metrics.json`, tables, figures and one page, `index.html`, that shows it all; the same that
every training run leaves in its bundle's `report/`. Several --model are averaged. Several --data
are a row each, and so is each folder of what the model has to refuse (--refuse).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flowers_model.bundle import Interval, Metrics
from flowers_model.classifier import Answers, softmax
from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from train.calibrate import others_auroc
from train.data.outliers import outlier_pictures
from train.evaluation.ensemble import TTA, Ensemble, open_for
from train.sources import Source

if TYPE_CHECKING:
    import argparse

BINS = 15  # of probability, for the calibration error
RESAMPLES = 1000  # bootstrap samples
INTERVALS = ("top1", "top5", "macro_f1", "nll", "ece", "coverage", "set_size")
SURE = 0.8  # probability above which a wrong answer misleads
UNBOUNDED = ("nll", "set_size")  # all others lie in 0..1


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A split as a model answers it.

    Attributes:
        names: of the photos.
        labels: int `(N,)`, in the order of the model's classes.
        picture: photo `i` as the network sees it, uint8 `(S, S, 3)`.
    """

    names: list[str]
    labels: np.ndarray
    answers: Answers
    picture: Callable[[int], np.ndarray]
    metrics: Metrics

    def only(self, label: int) -> Metrics:
        """The figures of one class's photos."""
        rows = np.flatnonzero(self.labels == label)
        return measure(self.answers.subset(rows), self.labels[rows])

    @property
    def guesses(self) -> np.ndarray:
        """The likeliest class of each photo, int `(N,)`."""
        return self.answers.probabilities.argmax(axis=1)


def measure(
    answers: Answers, labels: np.ndarray, others: dict[str, np.ndarray] | None = None
) -> Metrics:
    """The figures of a split.

    Args:
        answers: of its N photos.
        labels: int `(N,)`, in 0..C-1.
        others: refusal scores of photos of other things, by kind.
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
            # Moved so that their mean is the figure: that photos come twice raises the calibration
            # error of most samples above that of the split.
            moved = np.array([draw[name] for draw in draws])
            moved += figures[name] - moved.mean()
            most = None if name in UNBOUNDED else 1
            low, high = np.quantile(moved, (0.025, 0.975)).clip(0, most)
            intervals[f"{name}_interval"] = Interval(low=low, high=high)
    if answers.logits is not None:
        plain = softmax(answers.logits)
        figures["nll_uncalibrated"] = float(negative_log_likelihoods(plain, labels).mean())
        figures["ece_uncalibrated"] = calibration_error(*_confidence(plain, labels))
    confidence, right = _confidence(answers.probabilities, labels)
    figures["sure_wrong"] = float((~right & (confidence > SURE)).mean())
    if answers.refusal_scores is not None:
        kept = answers.refusal_scores <= 1
        figures["refused"] = float(1 - kept.mean())
        figures["kept_right"] = float((kept & (guesses == labels)).mean())
        if others:
            figures["others_refused"] = float(np.mean([(s > 1).mean() for s in others.values()]))
            figures["others_auroc"] = others_auroc(answers.refusal_scores, list(others.values()))
    return Metrics(loss=figures["nll"], count=len(labels), **figures, **intervals)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: how far, on average, confidence is from the share of right ones.

    In 15 bins of equal width, as in Guo et al., 2017, https://arxiv.org/abs/1706.04599.

    Args:
        confidence: probability of the likeliest name, `(N,)`.
        right: bool `(N,)`.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, right - confidence, BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def negative_log_likelihoods(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of each photo, nats, `(N,)`."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-300))


def macro_f1(labels: np.ndarray, guesses: np.ndarray, class_count: int) -> float:
    """The mean F1 of the classes that are there or are guessed, as scikit-learn has it.

    Its own function takes too long for the bootstrap.
    """
    hits = np.bincount(labels[labels == guesses], minlength=class_count)
    either = np.bincount(labels, minlength=class_count) + np.bincount(
        guesses, minlength=class_count
    )
    return float((2 * hits[either > 0] / either[either > 0]).mean())


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def _columns(answers: Answers, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Figures of each photo, `(N,)`, whose means are those of the split."""
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
    """The figures of some photos of a split, each as often as it stands in `rows`."""
    columns = {name: column[rows] for name, column in columns.items()}
    confidence = columns.pop("confidence")
    class_count = max(labels.max(), guesses.max()) + 1
    return {name: float(column.mean()) for name, column in columns.items()} | {
        "macro_f1": macro_f1(labels[rows], guesses[rows], class_count),
        "ece": calibration_error(confidence, columns["top1"]),
    }


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser("python -m train.evaluate", description=__doc__)
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="BUNDLE|USER/MODEL[@REVISION]",
        help="what to measure; the probabilities of several are averaged",
    )
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="SPEC",
        help="as for train/run.py; a folder may hold some of the classes; without train, valid and "
        "test in it, all of its photos are measured",
    )
    parser.add_argument(
        "--refuse",
        action="append",
        default=[],
        metavar="PATH",
        help="a folder of photos that the model has to refuse",
    )
    parser.add_argument("--by-class", action="store_true", help="a row for each class, too")
    parser.add_argument("--split", metavar="NAME", help="train, valid or test (all that there are)")
    parser.add_argument(
        "--tta",
        choices=TTA,
        default="none",
        help="average over views: each photo and its mirror image, or also other crops",
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default="report", metavar="DIR", help="(report)"
    )
    options = parser.parse_args(arguments)
    names, evaluations, refused = _evaluate(options)
    for title, evaluation in evaluations.items():
        print(f"{title}: {_said(evaluation.metrics)}")
        if options.by_class:
            for label in np.unique(evaluation.labels):
                print(f"  {names[label]}: {_said(evaluation.only(label))}")
    for title, scores in refused.items():
        print(f"{title}: {(scores > 1).mean():.1%} refused ({len(scores)} photos to refuse)")
    print(f"look at {options.output / 'index.html'}")
    return 0


def _said(of: Metrics) -> str:
    """The figures of some photos in a line."""
    parts = [f"top-1 {of.top1:.4f}", f"top-5 {of.top5:.4f}", f"macro F1 {of.macro_f1:.4f}"]
    parts += [f"NLL {of.nll:.4f}", f"ECE {of.ece:.4f}"]
    if of.refused is not None:
        parts += [f"refused {of.refused:.1%}", f"right and not refused {of.kept_right:.1%}"]
    parts.append(f"over 80 % sure and wrong {of.sure_wrong:.1%}")
    return f"{', '.join(parts)} ({of.count} photos)"


def _evaluate(
    options: argparse.Namespace,
) -> tuple[list[str], dict[str, Evaluation], dict[str, np.ndarray]]:
    """The class names, evaluations by title, and refusal scores of what to refuse, by folder."""
    from train.reports.report import write_report  # which imports this module

    output = options.output
    ours = (output / "metrics.json").is_file()
    if output.exists() and not ours and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"--output {str(output)!r} holds something else; give a new folder")
    check_output(output)
    ensemble = Ensemble.open(options.model, options.tta)
    manifest = ensemble.models[0].manifest
    opened = [open_for(manifest, spec, options.split, ensemble.records()) for spec in options.data]
    titles = _titles([source for source, _ in opened])
    strange = outlier_pictures(options.refuse, manifest)
    others = ensemble.others(strange)
    evaluations, counts = {}, np.zeros(len(manifest.class_names), int)
    for title, (source, places) in zip(titles, opened, strict=True):
        if "train" in source.splits:
            counts += np.bincount(places[source.splits["train"].labels], minlength=len(counts))
        for name in [options.split] if options.split else source.splits:
            split = source.splits[name]
            kept, answers = ensemble.answer_split(split, name)
            labels = places[split.labels[kept]]
            evaluations[f"{title} {name}".strip()] = Evaluation(
                [split.names[i] for i in kept],
                labels,
                answers,
                lambda i, split=split, kept=kept: ensemble.picture(split.read(kept[i])),
                measure(answers, labels, others),
            )
    with replacing(output.resolve()) as room:
        room.mkdir()
        if len(ensemble.models) == 1:
            for file in (ensemble.models[0].folder / "report").glob("history.*"):
                shutil.copyfile(file, room / file.name)
        write_report(room, ensemble.title, manifest, evaluations, counts, others)
    refused = {kind: others[kind] for kind in strange if kind in others}
    return ensemble.label_names, evaluations, refused


def _titles(sources: Sequence[Source]) -> list[str]:
    """What the rows of each source begin with: nothing where there is one."""
    names = [source.name for source in sources]
    again = [names[:i].count(name) for i, name in enumerate(names)]
    numbered = [f"{name}#{n + 1}" if n else name for name, n in zip(names, again, strict=True)]
    return numbered if len(sources) > 1 else [""]


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main(sys.argv[1:]))
