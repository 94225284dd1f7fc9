"""The page of a report, `index.html`: how well a model does, in tables and figures."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import numpy as np

from flowers_model.bundle import METRICS, PERCENTAGES, Interval, Manifest, Metrics
from train.reports import html
from train.reports.html import text
from train.reports.tables import Tables

if TYPE_CHECKING:
    from train.evaluation.metrics import Evaluation

PAIRS = 12  # of the classes that are confused most often


def write_page(
    room: pathlib.Path,
    title: str,
    manifest: Manifest,
    evaluations: dict[str, Evaluation],
    held_out: str,
    tables: Tables,
    with_photos: bool,
) -> None:
    """Write `index.html` next to the pictures, which must be in `room` already.

    Args:
        held_out: the split that the tables and figures show.
        tables: as returned by `train.reports.tables.write_tables`.
        with_photos: whether to show photos of the dataset and `mistakes.jpg`.
    """
    evaluation, pairs = evaluations[held_out], tables.confusions
    metrics = evaluation.metrics
    shown = ("top1", "macro_f1", "nll", "ece", "coverage", "set_size")
    said = {METRICS[name]: metrics.shown(name) for name in shown}
    parts = [
        f"<h1>{text(title)}</h1><div>{text(manifest.provenance.data)}, {held_out}: "
        f"{metrics.count} photos of {len(manifest.class_names)} classes</div>",
        html.cards({name: value for name, value in said.items() if value}),
        "<h2>By split</h2>"
        + _split_table({split: one.metrics for split, one in evaluations.items()})
        + "<p>With 95 % bootstrap intervals.</p>",
        f"<h2>By size of class ({held_out})</h2>"
        + html.table(("third", "classes", "training photos", "photos", "accuracy"), tables.thirds),
        f"<h2>Calibration ({held_out})</h2>"
        + _calibration(manifest, metrics)
        + html.figure(room / "reliability.png", "reliability diagram"),
    ]
    if manifest.by_source:
        table = _split_table(manifest.by_source, "source")
        parts.insert(3, f"<h2>By source of the photos (valid)</h2>{table}")
    if (room / "refusal.png").exists():
        refusal = _refusal(manifest, metrics)
        parts.append(f"<h2>Out-of-distribution photos</h2>{refusal}")
        parts.append(html.figure(room / "refusal.png", "refusal scores", True))
    names = manifest.class_names
    if pairs:
        parts.append(f"<h2>Most often confused ({held_out})</h2>")
    if pairs and with_photos:
        shown = "".join(_pair(evaluation, names, pair) for pair in pairs[:PAIRS])
        parts.append(f'<div class="pairs">{shown}</div>')
    elif pairs:
        rows = [(names[is_], names[taken_for], n) for is_, taken_for, n in pairs[:PAIRS]]
        parts.append(html.table(("is", "taken for", "photos"), rows))
    if with_photos:
        figure = html.figure(room / "mistakes.jpg", "wrong answers", True)
        parts.append(f"<h2>Mistakes with the highest probability ({held_out})</h2>{figure}")
    figure = html.figure(room / "confusion.png", "confusion matrix", True)
    parts.append(f"<h2>Confusion matrix ({held_out})</h2>{figure}")
    if (room / "history.png").exists():
        parts.append("<h2>Training</h2>" + html.figure(room / "history.png", "history", True))
    head = ("class", "precision", "recall", "F1", "photos", "training photos", "third")
    worst_first = sorted(tables.per_class, key=lambda row: float(row[3]))
    parts += [
        "<h2>Parameters</h2>" + _parameters(manifest),
        f"<h2>By class ({held_out}), the hardest first</h2>" + html.table(head, worst_first),
    ]
    (room / "index.html").write_text(html.document(title, parts), "utf-8")


def parameter_rows(manifest: Manifest) -> list[tuple[str, str, str]]:
    """Parameters and optimizer state in float32: `(what, how many, MB)`."""
    made = manifest.provenance
    rows = [("total", made.parameters, 4 * made.parameters)]
    if made.trainable_parameters is not None:
        learning = made.trainable_parameters
        rows.append(("trainable", learning, 4 * learning))
        rows.append(("frozen", made.parameters - learning, 4 * (made.parameters - learning)))
    if made.optimizer_bytes is not None:
        rows.append(("optimizer", made.optimizer_bytes // 4, made.optimizer_bytes))
    return [(name, f"{count:,}", f"{size / 1e6:.2f}") for name, count, size in rows]


def _split_table(figures: dict[str, Metrics], what: str = "split") -> str:
    rows = []
    for split, metrics in figures.items():
        cells = [split, metrics.count]
        for name in METRICS:
            interval: Interval | None = getattr(metrics, f"{name}_interval", None)
            cell = metrics.shown(name)
            if interval is not None:
                scale, digits = (100, 1) if name in PERCENTAGES else (1, 3)
                low, high = (f"{scale * end:.{digits}f}" for end in (interval.low, interval.high))
                cell += f" ({low}-{high})"
            cells.append(cell)
        rows.append(cells)
    return html.table((what, "photos", *METRICS.values()), rows)


def _calibration(manifest: Manifest, metrics: Metrics) -> str:
    calibration = manifest.calibration
    rows = [("calibrated", f"{metrics.ece:.4f}", f"{metrics.nll:.4f}")]
    if metrics.ece_uncalibrated is not None:
        before = f"{metrics.ece_uncalibrated:.4f}", f"{metrics.nll_uncalibrated:.4f}"
        rows.insert(0, ("as trained", *before))
    said = f"Temperature {calibration.temperature:.4f}. {calibration.method or ''}"
    return html.table(("", "ECE", "NLL"), rows) + f"<p>{text(said)}</p>"


def _refusal(manifest: Manifest, metrics: Metrics) -> str:
    parts = []
    if (refusal := manifest.calibration.refusal) is not None:
        rows = [
            (score, f"{area:.4f}", "chosen" if score == refusal.score else "")
            for score, area in refusal.auroc.items()
        ]
        parts.append(html.table(("score", "AUROC on valid", ""), rows))
    if metrics.others_auroc is not None:
        parts.append(
            f"<p>On out-of-distribution photos that were not used to choose the score: AUROC "
            f"{metrics.others_auroc:.4f}. The model refuses {metrics.others_refused:.0%} of them, "
            f"and {metrics.refused:.1%} of the flowers.</p>"
        )
    return "".join(parts)


def _pair(evaluation: Evaluation, class_names: list[str], pair: tuple[int, int, int]) -> str:
    """Two photos: one of a confused class, and one of the class that it was confused with."""
    is_, taken_for, count = pair
    labels, guesses = evaluation.labels, evaluation.guesses
    probabilities = evaluation.answers.probabilities[:, taken_for]
    wrong = np.flatnonzero((labels == is_) & (guesses == taken_for))
    right = np.flatnonzero(labels == taken_for)
    sides = ""
    for rows, said in ((wrong, f"is {class_names[is_]}"), (right, f"is {class_names[taken_for]}")):
        if len(rows):
            surest = int(rows[probabilities[rows].argmax()])
            image = html.thumbnail(evaluation.picture(surest))
            name = text(evaluation.names[surest])
            sides += f'<div><img src="{image}" alt=""><div>{text(said)}</div>{name}</div>'
    total = int((labels == is_).sum())
    title = f"{class_names[is_]} taken for {class_names[taken_for]}: {count} of {total}"
    return f'<div class="pair"><div>{text(title)}</div><div class="two">{sides}</div></div>'


def _parameters(manifest: Manifest) -> str:
    return html.table(("", "numbers", "MB"), parameter_rows(manifest))
