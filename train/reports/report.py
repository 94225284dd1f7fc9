"""Pictures, tables and the page of a model's figures: a bundle's `report/`.

metrics.json     the figures of each split
per_class.csv    of the held-out split: precision, recall, F1, photos, training photos, third
thirds.csv       accuracy of the classes with few, middling and many training photos
confusions.csv   which class was taken for which, how often
confusion.png    the same as a matrix, similar classes side by side
mistakes.jpg     the surest of the wrong answers
reliability.png  how often answers of each confidence are right
refusal.png      refusal scores of flowers and of other things
index.html       all of it on one page
history.csv, history.png  of the training
"""

from __future__ import annotations

import csv
import itertools
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import matplotlib.figure
import numpy as np
import scipy.cluster.hierarchy
import scipy.spatial.distance
import sklearn.calibration
import sklearn.metrics
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from flowers_model.bundle import Manifest, write_json
from flowers_model.classifier import softmax
from flowers_model.files import replacing
from train.evaluate import BINS, Evaluation
from train.reports.report_page import write_page
from train.reports.style import BLUE, GREY, ORANGE, finish, plain

if TYPE_CHECKING:
    from train.loop.stages import Row

MISTAKES = 30  # on the contact sheet
NUMBERS_UP_TO = 30  # classes with which the matrix has its shares in every cell


def write_report(
    room: pathlib.Path,
    title: str,
    manifest: Manifest,
    evaluations: dict[str, Evaluation],
    train_counts: np.ndarray,
    others: dict[str, np.ndarray],
    with_photos: bool = True,
) -> None:
    """Write all but the history, which is shown where it lies in `room` already.

    Args:
        room: a folder.
        title: what to call what was measured.
        manifest: of the model, or of the first of several.
        evaluations: by split; the tables and pictures are of test, else valid, else train, else
            of the first.
        train_counts: training photos of each class, int `(C,)`.
        others: refusal scores of photos of other things, by kind; none where there are no scores.
        with_photos: show mistakes and what is confused by photos of the data, too.
    """
    usual = (name for name in ("test", "valid", "train") if name in evaluations)
    held_out = next(usual, next(iter(evaluations)))
    evaluation = evaluations[held_out]
    names, labels, guesses = manifest.class_names, evaluation.labels, evaluation.guesses
    metrics = {name: one.metrics.model_dump(exclude_none=True) for name, one in evaluations.items()}
    write_json(room / "metrics.json", metrics)
    groups = size_groups(train_counts)
    thirds = third_rows(labels, guesses, groups, train_counts)
    rows = per_class(labels, guesses, names, train_counts, groups)
    _write_csv(room / "per_class.csv", PER_CLASS, rows)
    _write_csv(room / "thirds.csv", THIRDS, thirds)
    pairs = confusions(labels, guesses)
    _write_csv(
        room / "confusions.csv",
        ("is", "taken for", "photos", "of"),
        ((names[a], names[b], n, int((labels == a).sum())) for a, b, n in pairs),
    )
    order = similar_order(evaluation.answers.probabilities, labels)
    confusion_figure(labels, guesses, names, order, room / "confusion.png")
    if with_photos:
        mistakes_figure(evaluation, names, room / "mistakes.jpg")
    reliability_figure(evaluation, held_out, room / "reliability.png")
    if others:
        refusal_figure(evaluation.answers.refusal_scores, held_out, others, room / "refusal.png")
    write_page(room, title, manifest, evaluations, held_out, rows, thirds, pairs, with_photos)


PER_CLASS = ("class", "precision", "recall", "f1", "photos", "train_photos", "third")
THIRDS = ("third", "classes", "train_photos", "photos", "accuracy")


def per_class(
    labels: np.ndarray,
    guesses: np.ndarray,
    class_names: Sequence[str],
    train_counts: np.ndarray,
    groups: dict[str, np.ndarray],
) -> list[tuple]:
    """A row a class, of the columns `PER_CLASS`."""
    columns = sklearn.metrics.precision_recall_fscore_support(
        labels, guesses, labels=np.arange(len(class_names)), zero_division=0
    )
    third = {label: name for name, classes in groups.items() for label in classes.tolist()}
    return [
        (name, f"{p:.4f}", f"{r:.4f}", f"{f1:.4f}", n, train_counts[i], third.get(i, ""))
        for i, (name, p, r, f1, n) in enumerate(zip(class_names, *columns, strict=True))
    ]


def size_groups(train_counts: np.ndarray) -> dict[str, np.ndarray]:
    """The third of the classes with the fewest training photos, the middle one, and the largest.

    All in one group, `all`, where the classes are of one size.
    """
    order = np.argsort(train_counts, kind="stable")
    if train_counts.min() == train_counts.max():
        return {"all": order}
    return dict(zip(("small", "middle", "large"), np.array_split(order, 3), strict=True))


def third_rows(
    labels: np.ndarray,
    guesses: np.ndarray,
    groups: dict[str, np.ndarray],
    train_counts: np.ndarray,
) -> list[tuple]:
    """A row for each group of classes with photos, of the columns `THIRDS`."""
    rows = []
    for name, classes in groups.items():
        inside = np.isin(labels, classes)
        if inside.any():
            counts = train_counts[classes]
            right = (labels == guesses)[inside]
            span = f"{counts.min()}-{counts.max()}"
            rows.append((name, len(classes), span, len(right), f"{right.mean():.4f}"))
    return rows


def confusions(labels: np.ndarray, guesses: np.ndarray) -> list[tuple[int, int, int]]:
    """`(is, taken for, photos)`, the most frequent first."""
    wrong = labels != guesses
    pairs, counts = np.unique(
        np.stack([labels[wrong], guesses[wrong]], axis=1), axis=0, return_counts=True
    )
    found = [(int(a), int(b), int(n)) for (a, b), n in zip(pairs, counts, strict=True)]
    return sorted(found, key=lambda pair: (-pair[2], pair[:2]))


def similar_order(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An order of the classes, int `(C,)`, with those side by side that are hard to tell apart.

    By the probability that photos of one give to the other, clustered.
    """
    count = probabilities.shape[1]
    if count < 3:
        return np.arange(count)
    given = np.zeros((count, count))
    np.add.at(given, labels, probabilities)
    given /= np.maximum(np.bincount(labels, minlength=count), 1)[:, None]
    distances = -np.log(np.maximum((given + given.T) / 2, 1e-6))
    np.fill_diagonal(distances, 0)
    condensed = scipy.spatial.distance.squareform(distances, checks=False)
    tree = scipy.cluster.hierarchy.linkage(condensed, "average", optimal_ordering=True)
    return scipy.cluster.hierarchy.leaves_list(tree)


def history_figure(history: list[Row], path: pathlib.Path) -> None:
    """Loss, accuracy and learning rate over all stages, whose borders are marked."""
    figure = matplotlib.figure.Figure(figsize=(9, 7.5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1.2])
    first, peaks = 1, []
    for stage, group in itertools.groupby(history, lambda row: row["stage"]):
        rows = list(group)
        epochs = np.arange(first, first + len(rows))
        # A line each, for from stage to stage other photos are counted, and other layers learn.
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
        # Rates fall to nothing, which no logarithmic axis shows.
        axes[2].set_ylim(min(peak for peak in peaks if peak > 0) / 100, 2 * max(peaks))
    axes[1].set_ylim(-0.02, 1.02)
    axes[2].set_xlabel("epoch")
    axes[2].set_xlim(0.5, first - 0.5)
    axes[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(figure, path)


def learning_rate_figure(rows: list[dict], suggestion: float, path: pathlib.Path) -> None:
    """The loss of a range test by its learning rate, with the suggested one."""
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
    """How often each class is taken for which, as a share of the class's photos."""
    count = len(class_names)
    matrix = sklearn.metrics.confusion_matrix(labels, guesses, labels=order, normalize="true")
    few = count <= NUMBERS_UP_TO
    side = 2.5 + 0.42 * count if few else min(3 + 0.165 * count, 40)
    figure = matplotlib.figure.Figure(figsize=(side, side), layout="constrained")
    ax = figure.subplots()
    # Single confusions are small shares; a plain scale would hide them.
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
        ax.set_title("per cent of a class's photos; similar classes side by side", fontsize=9)
    finish(figure, path)


def mistakes_figure(evaluation: Evaluation, class_names: Sequence[str], path: pathlib.Path) -> None:
    """The surest of the wrong answers, the surest first."""
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
    """How often the answers of each confidence are right, and how many have it."""
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
    ax.set_ylabel(f"share that is right ({split})")
    ax.set_ylim(-0.02, 1.02)
    ax.legend(frameon=False, loc="upper left")
    below.set_xlabel("probability of the likeliest name")
    below.set_ylabel("photos")
    finish(figure, path)


def refusal_figure(
    scores: np.ndarray, split: str, others: dict[str, np.ndarray], path: pathlib.Path
) -> None:
    """Refusal scores `(N,)` of a split's flowers, and of other things by kind."""
    height = 1.2 + 0.5 * (len(others) + 1)
    figure = matplotlib.figure.Figure(figsize=(9, height), layout="constrained")
    ax = figure.subplots()
    groups = {f"flowers ({split})": scores} | others
    low, high = min(map(np.min, groups.values())), max(map(np.max, groups.values()))
    random = np.random.default_rng(0)
    for place, values in enumerate(reversed(groups.values())):
        colour = BLUE if values is scores else ORANGE
        shown = random.choice(values, min(len(values), 600), replace=False)
        ax.scatter(
            *(shown, place + random.uniform(-0.3, 0.3, len(shown))),
            s=9, alpha=0.4, color=colour, linewidths=0,
        )  # fmt: skip
        said = f"{(values > 1).mean():.0%} refused"
        ax.annotate(said, (1.01, place), xycoords=("axes fraction", "data"), va="center")
    ax.axvline(1, color=GREY, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(groups)), [plain(name) for name in reversed(groups)])
    ax.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    ax.set_xlabel("refusal score: 0 the median flower, above 1 refused")
    finish(figure, path)


def _write_csv(path: pathlib.Path, header: Sequence[str], rows: Iterable[Iterable]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
