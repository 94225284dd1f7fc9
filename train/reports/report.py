"""The report of a model, in a bundle's `report/`: metrics, tables, figures, and a page of them.

metrics.json     the metrics of each split
per_class.csv    precision, recall, F1, photos, training photos and third of each class (held out)
thirds.csv       accuracy of the classes with few, medium and many training photos
confusions.csv   which class was confused with which, and how often
confusion.png    the same as a matrix, with similar classes side by side
mistakes.jpg     the wrong answers with the highest probability
reliability.png  accuracy by confidence
refusal.png      refusal scores of flowers and of out-of-distribution photos
index.html       all of them on one page
history.csv, history.png  the training
"""

from __future__ import annotations

import pathlib

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
from train.reports.tables import similar_order, write_tables


def write_report(
    room: pathlib.Path,
    title: str,
    manifest: Manifest,
    evaluations: dict[str, Evaluation],
    train_counts: np.ndarray,
    ood_scores: dict[str, np.ndarray],
    with_photos: bool = True,
) -> None:
    """Write everything but the history, which the page shows if it is in `room` already.

    Args:
        room: the folder of the report.
        title: title of the report.
        manifest: that of the model, or of the first of several.
        evaluations: by split; tables and figures show the held-out one.
        train_counts: training photos of each class, int `(C,)`.
        ood_scores: refusal scores of out-of-distribution photos by kind; empty if there are none.
        with_photos: whether to show mistakes and confusions with photos of the dataset.
    """
    shown = held_out(evaluations)
    evaluation = evaluations[shown]
    names, labels, guesses = manifest.class_names, evaluation.labels, evaluation.guesses
    metrics = {name: one.metrics.model_dump(exclude_none=True) for name, one in evaluations.items()}
    write_json(room / "metrics.json", metrics)
    tables = write_tables(room, labels, guesses, names, train_counts)
    order = similar_order(evaluation.answers.probabilities, labels)
    confusion_figure(labels, guesses, names, order, room / "confusion.png")
    if with_photos:
        mistakes_figure(evaluation, names, room / "mistakes.jpg")
    reliability_figure(evaluation, shown, room / "reliability.png")
    if ood_scores:
        refusal_figure(evaluation.answers.refusal_scores, shown, ood_scores, room / "refusal.png")
    write_page(room, title, manifest, evaluations, shown, tables, with_photos)
