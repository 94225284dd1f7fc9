"""Figures: against worked examples."""

import csv

import numpy as np
import pytest

from flowers_model.classifier import softmax
from train.evaluate import fit_temperature, measure
from train.report import confusion_figure, write_per_class


def test_figures_of_a_worked_example():
    probabilities = np.array(
        [
            [0.5, 0.2, 0.1, 0.1, 0.05, 0.05],
            [0.3, 0.4, 0.1, 0.1, 0.05, 0.05],
            [0.3, 0.3, 0.2, 0.1, 0.09, 0.01],
            [0.1, 0.1, 0.1, 0.1, 0.1, 0.5],
        ]
    )
    figures = measure(probabilities, np.array([0, 0, 5, 5]))
    assert figures.top1 == 0.5
    assert figures.top5 == 0.75
    assert figures.loss == pytest.approx(-np.log([0.5, 0.3, 0.01, 0.5]).mean())
    assert figures.count == 4


def test_a_split_that_lacks_classes_is_measured_all_the_same():
    figures = measure(np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]), np.array([1, 1]))
    assert figures.top1 == 0.5
    assert figures.top5 == 1.0


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_overconfident_logits_is_found(temperature):
    random = np.random.default_rng(0)
    honest = random.normal(0, 2, (20_000, 5))
    labels = np.array([random.choice(5, p=p) for p in softmax(honest)])
    assert fit_temperature(honest * temperature, labels) == pytest.approx(temperature, rel=0.05)


def test_per_class_table_and_confusion_picture(tmp_path):
    labels, guesses = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    write_per_class(labels, guesses, ["a", "b", "c"], tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert float(rows["b"]["precision"]) == pytest.approx(1 / 3, abs=1e-3)
    assert [float(rows[c]["recall"]) for c in "abc"] == [0.5, 1.0, 0.0]
    assert [rows[c]["photos"] for c in "abc"] == ["2", "1", "1"]
    confusion_figure(labels, guesses, ["a", "b", "c"], tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
