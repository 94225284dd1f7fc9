"""The tables of a report."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.cluster.hierarchy
import scipy.spatial.distance
import sklearn.calibration
import sklearn.metrics

from flowers_model.files import replacing

PER_CLASS = ("class", "precision", "recall", "f1", "photos", "train_photos", "third")
THIRDS = ("third", "classes", "train_photos", "photos", "accuracy")


class Tables(NamedTuple):
    """The tables of a report."""

    per_class: list[tuple]  # rows of the columns `PER_CLASS`
    thirds: list[tuple]  # rows of the columns `THIRDS`
    confusions: list[tuple[int, int, int]]  # `(is, taken for, photos)`, the most frequent first


def write_tables(
    room: pathlib.Path,
    labels: np.ndarray,
    guesses: np.ndarray,
    names: Sequence[str],
    counts: np.ndarray,
) -> Tables:
    """Write `per_class.csv`, `thirds.csv` and `confusions.csv`.

    Args:
        labels, guesses: of the photos, int `(N,)`.
        names: of the classes.
        counts: training photos of each class, int `(C,)`.
    """
    groups = size_groups(counts)
    tables = Tables(
        per_class(labels, guesses, names, counts, groups),
        third_rows(labels, guesses, groups, counts),
        confusions(labels, guesses),
    )
    write_csv(room / "per_class.csv", PER_CLASS, tables.per_class)
    write_csv(room / "thirds.csv", THIRDS, tables.thirds)
    write_csv(
        room / "confusions.csv",
        ("is", "taken for", "photos", "of"),
        ((names[a], names[b], n, int((labels == a).sum())) for a, b, n in tables.confusions),
    )
    return tables


def per_class(
    labels: np.ndarray,
    guesses: np.ndarray,
    class_names: Sequence[str],
    train_counts: np.ndarray,
    groups: dict[str, np.ndarray],
) -> list[tuple]:
    """A row per class, with the columns `PER_CLASS`."""
    columns = sklearn.metrics.precision_recall_fscore_support(
        labels, guesses, labels=np.arange(len(class_names)), zero_division=0
    )
    third = {label: name for name, classes in groups.items() for label in classes.tolist()}
    return [
        (name, f"{p:.4f}", f"{r:.4f}", f"{f1:.4f}", n, train_counts[i], third.get(i, ""))
        for i, (name, p, r, f1, n) in enumerate(zip(class_names, *columns, strict=True))
    ]


def size_groups(train_counts: np.ndarray) -> dict[str, np.ndarray]:
    """The classes in three groups by number of training photos: small, middle and large.

    If all classes have the same size, they form a single group, `all`.
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
    """A row per group of classes that has photos, with the columns `THIRDS`."""
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
    """Confusions as `(is, taken for, photos)`, the most frequent first."""
    wrong = labels != guesses
    pairs, counts = np.unique(
        np.stack([labels[wrong], guesses[wrong]], axis=1), axis=0, return_counts=True
    )
    found = [(int(a), int(b), int(n)) for (a, b), n in zip(pairs, counts, strict=True)]
    return sorted(found, key=lambda pair: (-pair[2], pair[:2]))


def similar_order(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """An order of the classes, int `(C,)`, in which similar ones are side by side.

    Classes are clustered by the probabilities that photos of one have of being the other.
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


def write_csv(path: pathlib.Path, header: Sequence[str], rows: Iterable[Iterable]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
