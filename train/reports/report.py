"""The report of a model, a bundle's `report/`: metrics, tables, figures, and a page of them.

metrics.json     the metrics of each split
per_class.csv    of the held-out split: precision, recall, F1, photos, training photos, third
thirds.csv       accuracy of the classes with few, medium and many training photos
confusions.csv   which class was confused with which, and how often
confusion.png    the same as a matrix, with similar classes side by side
mistakes.jpg     the wrong answers with the highest probability
reliability.png  accuracy by confidence
refusal.png      refusal scores of flowers and of out-of-distribution photos
index.html       all of it on one page
history.csv, history.png  of the training
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import numpy as np

from flowers_model.bundle import Manifest, held_out, write_json
from train.evaluation.metrics import Evaluation
from train.reports.figures import (
    confusion_figure,
    mistakes_figure,
    refusal_figure,
    reliability_figure,
)
from train.reports.report_page import write_page
from train.reports.tables import (
    PER_CLASS,
    THIRDS,
    confusions,
    per_class,
    similar_order,
    size_groups,
    third_rows,
    write_csv,
)

if TYPE_CHECKING:
    pass


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
        evaluations: by split; tables and figures show the held-out one.
        train_counts: training photos of each class, int `(C,)`.
        others: refusal scores of out-of-distribution photos by kind; empty if there are none.
        with_photos: show mistakes and what is confused by photos of the data, too.
    """
    shown = held_out(evaluations)
    evaluation = evaluations[shown]
    names, labels, guesses = manifest.class_names, evaluation.labels, evaluation.guesses
    metrics = {name: one.metrics.model_dump(exclude_none=True) for name, one in evaluations.items()}
    write_json(room / "metrics.json", metrics)
    groups = size_groups(train_counts)
    thirds = third_rows(labels, guesses, groups, train_counts)
    rows = per_class(labels, guesses, names, train_counts, groups)
    write_csv(room / "per_class.csv", PER_CLASS, rows)
    write_csv(room / "thirds.csv", THIRDS, thirds)
    pairs = confusions(labels, guesses)
    write_csv(
        room / "confusions.csv",
        ("is", "taken for", "photos", "of"),
        ((names[a], names[b], n, int((labels == a).sum())) for a, b, n in pairs),
    )
    order = similar_order(evaluation.answers.probabilities, labels)
    confusion_figure(labels, guesses, names, order, room / "confusion.png")
    if with_photos:
        mistakes_figure(evaluation, names, room / "mistakes.jpg")
    reliability_figure(evaluation, shown, room / "reliability.png")
    if others:
        refusal_figure(evaluation.answers.refusal_scores, shown, others, room / "refusal.png")
    write_page(room, title, manifest, evaluations, shown, rows, thirds, pairs, with_photos)
