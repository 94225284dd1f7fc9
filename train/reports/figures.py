"""The figures of a report."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.figure
import numpy as np
import sklearn.calibration
import sklearn.metrics
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from flowers_model.classifier import softmax
from flowers_model.uncertainty import REFUSED_ABOVE, refused
from train.evaluation.metrics import BINS, Evaluation
from train.reports.style import BLUE, GREY, ORANGE, finish, plain

if TYPE_CHECKING:
    from train.loop.history import Row


MISTAKES = 30  # on the contact sheet
NUMBERS_UP_TO = 30  # classes up to which the confusion matrix has a number in every cell


def history_figure(history: list[Row], path: pathlib.Path) -> None:
    """Loss, accuracy and learning rate over all stages, with the stages marked."""
    figure = matplotlib.figure.Figure(figsize=(9, 7.5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1.2])
    first, peaks = 1, []
    for stage, group in itertools.groupby(history, lambda row: row["stage"]):
        rows = list(group)
        epochs = np.arange(first, first + len(rows))
        # A separate line per stage, because stages train other layers on other photos.
        for ax, name in zip(axes, ("loss", "accuracy"), strict=False):
            for column, colour in ((name, BLUE), (f"val_{name}", ORANGE)):
                values = [row[column] for row in rows]
                ax.plot(epochs, values, color=colour, marker="o", markersize=3)
        rates = [row["learning_rate"] for row in rows]
        axes[2].plot(epochs, rates, color=GREY, marker="o", markersize=2)
        peaks.append(max(rates))
        if first > 1:
            for ax in axes:
                ax.axvline(first - 0.5, color=GREY, linestyle=":", linewidth=1)
        axes[0].annotate(stage, (first - 0.5, 1.02), xycoords=("data", "axes fraction"), color=GREY)
        first += len(rows)
    for ax, name in zip(axes, ("loss", "accuracy", "learning rate"), strict=True):
        ax.set_ylabel(name)
    for ax in axes[:2]:
        ax.legend(ax.lines[:2], ("train", "valid"), frameon=False)
    if max(peaks) > 0:
        axes[2].set_yscale("log")
        # Not logarithmic, because rates decay to zero.
        axes[2].set_ylim(min(peak for peak in peaks if peak > 0) / 100, 2 * max(peaks))
    axes[1].set_ylim(-0.02, 1.02)
    axes[2].set_xlabel("epoch")
    axes[2].set_xlim(0.5, first - 0.5)
    axes[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(figure, path)


def learning_rate_figure(rows: list[dict], suggestion: float, path: pathlib.Path) -> None:
    """The loss of a range test by learning rate, with the suggested rate."""
    figure = matplotlib.figure.Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    rates = [row["learning_rate"] for row in rows]
    ax.plot(rates, [row["loss"] for row in rows], color=GREY, linewidth=1, label="each step")
    ax.plot(rates, [row["smoothed_loss"] for row in rows], color=BLUE, label="smoothed")
    ax.axvline(suggestion, color=ORANGE, linestyle=":", label=f"suggested: {suggestion:g}")
    ax.set_xscale("log")
    ax.set_xlabel("learning rate")
    ax.set_ylabel("loss")
    ax.legend(frameon=False)
    finish(figure, path)


def confusion_figure(
    labels: np.ndarray,
    guesses: np.ndarray,
    class_names: Sequence[str],
    order: np.ndarray,
    path: pathlib.Path,
) -> None:
    """The confusion matrix, as fractions of each class's photos."""
    count = len(class_names)
    matrix = sklearn.metrics.confusion_matrix(labels, guesses, labels=order, normalize="true")
    few = count <= NUMBERS_UP_TO
    side = 2.5 + 0.42 * count if few else min(3 + 0.165 * count, 40)
    figure = matplotlib.figure.Figure(figsize=(side, side), layout="constrained")
    ax = figure.subplots()
    # A linear scale would hide single confusions.
    ax.imshow(matrix, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    names = [plain(class_names[i]) for i in order]
    size = 9 if few else 7
    ax.set_xticks(np.arange(count), names, rotation=90, fontsize=size)
    ax.set_yticks(np.arange(count), names, fontsize=size)
    ax.set_xlabel("taken for")
    ax.set_ylabel("is")
    ax.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="#e4e7ec", linewidth=0.4)
    ax.tick_params(which="minor", length=0)
    for row, column in zip(*np.nonzero(matrix.round(2)), strict=True):
        share = matrix[row, column]
        if few or row != column:
            colour = "white" if share > 0.3 else "black"
            said = f"{share:.0%}" if few else f"{100 * share:.0f}"
            style = {"fontsize": 7 if few else 4.5, "color": colour}
            ax.text(column, row, said, ha="center", va="center", **style)
    if not few:
        ax.set_title("percent of a class's photos; similar classes side by side", fontsize=9)
    finish(figure, path)


def mistakes_figure(evaluation: Evaluation, class_names: Sequence[str], path: pathlib.Path) -> None:
    """The wrong answers with the highest probability, highest first."""
    probabilities, guesses = evaluation.answers.probabilities, evaluation.guesses
    wrong = np.flatnonzero(guesses != evaluation.labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:MISTAKES]
    columns = 6
    rows = max(-(-len(worst) // columns), 1)
    figure = matplotlib.figure.Figure(figsize=(11, 2.25 * rows + 0.3), layout="constrained")
    for ax in figure.subplots(rows, columns, squeeze=False).flat:
        ax.axis("off")
    for ax, i in zip(figure.axes, worst.tolist(), strict=False):
        ax.imshow(evaluation.picture(i))
        guess, label = (plain(class_names[k])[:26] for k in (guesses[i], evaluation.labels[i]))
        ax.set_title(f"{probabilities[i].max():.0%} {guess}\nis {label}", fontsize=7.5)
    if not len(worst):
        figure.suptitle("no mistakes")
    finish(figure, path)


def reliability_figure(evaluation: Evaluation, split: str, path: pathlib.Path) -> None:
    """The reliability diagram: accuracy and number of answers by confidence."""
    figure = matplotlib.figure.Figure(figsize=(5.5, 6), layout="constrained")
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    metrics, answers = evaluation.metrics, evaluation.answers
    curves = [("calibrated", answers.probabilities, metrics.ece, BLUE)]
    if answers.logits is not None:
        plain = softmax(answers.logits)
        curves.insert(0, ("as trained", plain, metrics.ece_uncalibrated, ORANGE))
    bins = np.linspace(0, 1, BINS + 1)
    for name, probabilities, error, colour in curves:
        right = probabilities.argmax(axis=1) == evaluation.labels
        confidence = probabilities.max(axis=1)
        shares, means = sklearn.calibration.calibration_curve(right, confidence, n_bins=BINS)
        label = f"{name}: ECE {error:.3f}"
        ax.plot(means, shares, color=colour, marker="o", markersize=4, label=label)
        below.hist(confidence, bins, histtype="step", color=colour)
    ax.set_ylabel(f"accuracy ({split})")
    ax.set_ylim(-0.02, 1.02)
    ax.legend(frameon=False, loc="upper left")
    below.set_xlabel("probability of the most likely class")
    below.set_ylabel("photos")
    finish(figure, path)


def refusal_figure(
    scores: np.ndarray, split: str, ood_scores: dict[str, np.ndarray], path: pathlib.Path
) -> None:
    """Refusal scores `(N,)` of a split's flowers, and of out-of-distribution photos by kind."""
    height = 1.2 + 0.5 * (len(ood_scores) + 1)
    figure = matplotlib.figure.Figure(figsize=(9, height), layout="constrained")
    ax = figure.subplots()
    groups = {f"flowers ({split})": scores} | ood_scores
    low, high = min(map(np.min, groups.values())), max(map(np.max, groups.values()))
    random = np.random.default_rng(0)
    for place, values in enumerate(reversed(groups.values())):
        colour = BLUE if values is scores else ORANGE
        shown = random.choice(values, min(len(values), 600), replace=False)
        ax.scatter(
            *(shown, place + random.uniform(-0.3, 0.3, len(shown))),
            s=9, alpha=0.4, color=colour, linewidths=0,
        )  # fmt: skip
        said = f"{refused(values).mean():.0%} refused"
        ax.annotate(said, (1.01, place), xycoords=("axes fraction", "data"), va="center")
    ax.axvline(REFUSED_ABOVE, color=GREY, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(groups)), [plain(name) for name in reversed(groups)])
    ax.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    ax.set_xlabel("refusal score (0: median flower, above 1: refused)")
    finish(figure, path)
