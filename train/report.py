"""Pictures and tables of a run, for the bundle's `report/`."""

from __future__ import annotations

import csv
import pathlib

import matplotlib.figure
import numpy as np
import sklearn.metrics

from flowers_model.files import replacing
from train.stages import Row

BLUE, ORANGE, GREY = "#3b6fb6", "#d9702b", "#8a8a8a"


def history_figure(history: list[Row], path: pathlib.Path) -> None:
    """Loss, accuracy and learning rate over all stages, whose borders are marked."""
    figure = matplotlib.figure.Figure(figsize=(9, 7.5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1.2])
    epochs = np.arange(1, len(history) + 1)
    for ax, name in zip(axes, ("loss", "accuracy"), strict=False):
        for column, colour, label in ((name, BLUE, "train"), (f"val_{name}", ORANGE, "valid")):
            values = [row[column] for row in history]
            ax.plot(epochs, values, color=colour, label=label, marker="o", markersize=3)
        ax.set_ylabel(name)
        ax.legend(frameon=False)
    axes[2].plot(epochs, [row["learning_rate"] for row in history], color=GREY)
    axes[2].set_yscale("log")
    axes[2].set_ylabel("learning rate")
    axes[2].set_xlabel("epoch")
    names = [row["stage"] for row in history]
    for start in (i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]):
        for ax in axes:
            if start:
                ax.axvline(start + 0.5, color=GREY, linestyle=":", linewidth=1)
        axes[0].annotate(
            names[start], (start + 0.6, 1.02), xycoords=("data", "axes fraction"), color=GREY
        )
    _finish(figure, path)


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
    _finish(figure, path)


def confusion_figure(
    labels: np.ndarray, guesses: np.ndarray, class_names: list[str], path: pathlib.Path
) -> None:
    """How often each class is taken for which, as a share of the class's photos."""
    count = len(class_names)
    matrix = sklearn.metrics.confusion_matrix(
        labels, guesses, labels=np.arange(count), normalize="true"
    )
    side = min(max(4.5, 1.5 + 0.16 * count if count > 30 else 2 + 0.42 * count), 20)
    figure = matplotlib.figure.Figure(figsize=(side, side), layout="constrained")
    ax = figure.subplots()
    ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    size = 5 if count > 30 else 9
    ax.set_xticks(np.arange(count), class_names, rotation=90, fontsize=size)
    ax.set_yticks(np.arange(count), class_names, fontsize=size)
    ax.set_xlabel("taken for")
    ax.set_ylabel("is")
    if count <= 30:
        for row, column in zip(*np.nonzero(matrix.round(2)), strict=True):
            share = matrix[row, column]
            colour = "white" if share > 0.5 else "black"
            ax.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=7, color=colour)
    _finish(figure, path)


def write_per_class(
    labels: np.ndarray, guesses: np.ndarray, class_names: list[str], path: pathlib.Path
) -> None:
    """Precision, recall, F1 and support of each class, as CSV."""
    columns = sklearn.metrics.precision_recall_fscore_support(
        labels, guesses, labels=np.arange(len(class_names)), zero_division=0
    )
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "precision", "recall", "f1", "photos"])
        for name, precision, recall, f1, photos in zip(class_names, *columns, strict=True):
            writer.writerow([name, f"{precision:.4f}", f"{recall:.4f}", f"{f1:.4f}", photos])


def _finish(figure: matplotlib.figure.Figure, path: pathlib.Path) -> None:
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
