"""The leaderboard of a sweep: table, Markdown and figures."""

from __future__ import annotations

import csv
import pathlib

import matplotlib.figure
import numpy as np

from flowers_model.files import replacing
from train.reports.style import BLUE, GREY, ORANGE, finish

Row = dict[str, str | int | float]


def write_results(rows: list[Row], varied: list[str], folder: pathlib.Path) -> None:
    """Write the table, the leaderboard and the figures."""
    with (
        replacing(folder / "results.csv") as path,
        open(path, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    varied = _telling(rows, varied)
    groups = _combinations(rows, varied)
    with replacing(folder / "leaderboard.md") as path:
        path.write_text(_leaderboard(groups, varied), "utf-8")
    _dots_figure(groups, folder / "accuracy.png")
    _parallel_figure(rows, varied, folder / "parallel.png")
    for column, title in (("mb", "size, MB"), ("latency_ms", "one photo on ONNX Runtime, ms")):
        _pareto_figure(groups, column, title, folder / f"accuracy_by_{column}.png")


def _telling(rows: list[Row], varied: list[str]) -> list[str]:
    """The settings that distinguish the combinations, without redundant ones."""

    def count(columns: list[str]) -> int:
        return len({tuple(row[column] for column in columns) for row in rows})

    kept = varied
    for column in reversed(varied[1:]):
        rest = [name for name in kept if name != column]
        if count(rest) == count(varied):
            kept = rest
    return kept


def _combinations(rows: list[Row], varied: list[str]) -> list[tuple[str, list[Row]]]:
    """The rows of each combination by its title, best on valid first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = ", ".join(str(row[column]) for column in varied) or "as it is"
        groups.setdefault(name, []).append(row)
    return sorted(groups.items(), key=lambda group: -_mean(group[1], "valid_top1"))


def _mean(rows: list[Row], column: str) -> float:
    return float(np.mean([row[column] for row in rows]))


def _leaderboard(groups: list[tuple[str, list[Row]]], varied: list[str]) -> str:
    thirds = [name for name in groups[0][1][0] if name.endswith("_classes")]
    columns = ("train_top1", "valid_top1", "test_top1", *thirds)
    titles = ["train", "valid", "test", *(name.replace("_", " ") for name in thirds)]
    titles += ["parameters", "MB", "seconds", "photos/s", "ms a photo"]
    lines = [
        "Means over seeds, with the standard deviation if there are several; best on valid "
        "first. Choose by valid: test is for reporting.",
        "",
        "| " + " | ".join([*varied, "seeds", *titles]) + " |",
        "|" + "---|" * (len(varied) + 1 + len(titles)),
    ]
    for _, rows in groups:
        cells = [str(rows[0][name]) for name in varied] + [str(len(rows))]
        for column in columns:
            values = [row[column] for row in rows if row[column] != ""]
            text = f"{np.mean(values):.1%}" if values else ""
            cells.append(text + (f" ± {np.std(values, ddof=1):.1%}" if len(values) > 1 else ""))
        cells.append(f"{rows[0]['parameters']:,}")
        for column in ("mb", "seconds", "photos_per_second", "latency_ms"):
            cells.append(f"{_mean(rows, column):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _dots_figure(groups: list[tuple[str, list[Row]]], path: pathlib.Path) -> None:
    """Accuracy on valid: the mean of each combination, and a small dot for each seed."""
    figure = matplotlib.figure.Figure(figsize=(8, 1.2 + 0.45 * len(groups)), layout="constrained")
    ax = figure.subplots()
    for place, (_, rows) in enumerate(reversed(groups)):
        values = [row["valid_top1"] for row in rows]
        ax.axhline(place, color=GREY, linewidth=0.5, alpha=0.5)
        ax.plot(np.mean(values), place, "o", color=BLUE, markersize=10)
        ax.plot(values, [place] * len(values), "o", color=ORANGE, markersize=4)
        ax.annotate(f"   {np.mean(values):.1%}", (max(values), place), va="bottom", fontsize=9)
    ax.set_yticks(range(len(groups)), [name for name, _ in reversed(groups)])
    ax.set_xlabel("top-1 on valid")
    ax.margins(x=0.15, y=0.2)
    finish(figure, path)


def _parallel_figure(rows: list[Row], varied: list[str], path: pathlib.Path) -> None:
    """One line per run, through its settings and results, coloured by accuracy on valid."""
    columns = [*varied, "train_top1", "valid_top1", "seconds", "mb"]
    figure = matplotlib.figure.Figure(figsize=(2 + 1.5 * len(columns), 4.5), layout="constrained")
    ax = figure.subplots()
    heights = np.zeros((len(rows), len(columns)))
    for number, column in enumerate(columns):
        values = [row[column] for row in rows]
        if column in varied:
            names = list(dict.fromkeys(values))
            heights[:, number] = [names.index(v) / max(len(names) - 1, 1) for v in values]
            marks = {name: i / max(len(names) - 1, 1) for i, name in enumerate(names)}
        else:
            low, high = min(values), max(values)
            heights[:, number] = [(v - low) / ((high - low) or 1) for v in values]
            marks = {f"{low:.4g}": 0.0, f"{high:.4g}": 1.0} if high > low else {f"{low:.4g}": 0.0}
        ax.axvline(number, color=GREY, linewidth=0.8)
        for text, height in marks.items():
            ax.annotate(f" {text}", (number, height), fontsize=8, va="center")
    shades = heights[:, columns.index("valid_top1")]
    for line, shade in zip(heights, shades, strict=True):
        ax.plot(line, color=matplotlib.colormaps["viridis"](0.9 * shade), alpha=0.8)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks([])
    ax.set_xlim(-0.1, len(columns) - 0.4)
    finish(figure, path)


def _pareto_figure(
    groups: list[tuple[str, list[Row]]], column: str, title: str, path: pathlib.Path
) -> None:
    """Accuracy on valid against a cost; the line is the Pareto front."""
    figure = matplotlib.figure.Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    points = sorted((_mean(rows, column), _mean(rows, "valid_top1"), n) for n, rows in groups)
    front, highest = [], -1.0
    for cost, accuracy, name in points:
        better = accuracy > highest
        if better:
            highest = accuracy
            front.append((cost, accuracy))
        ax.plot(cost, accuracy, "o", color=ORANGE if better else GREY)
        ax.annotate(name, (cost, accuracy), xytext=(4, 4), textcoords="offset points", fontsize=8)
    ax.step(*zip(*front, strict=True), where="post", color=ORANGE, linewidth=1)
    ax.set_xlabel(title)
    ax.set_ylabel("top-1 on valid")
    finish(figure, path)
