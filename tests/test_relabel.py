"""Likely wrong labels are found by comparison with the other photos, and left out of a list."""

import csv
import json
import re

import numpy as np
import pytest
from helpers import COLOURS, write_photo_folder, write_tiny_bundle

from train import relabel
from train.evaluation.confident_learning import held_out_probabilities, label_issues
from train.sources import open_source
from train.sources.split_list import apply_split_list


def test_swapped_labels_are_found_and_right_ones_are_not():
    random = np.random.default_rng(0)
    centers = random.normal(0, 4, (5, 16))
    labels = np.repeat(np.arange(5), 40)
    embeddings = centers[labels] + random.normal(0, 1, (200, 16))
    swapped = random.choice(200, 10, replace=False)
    given = labels.copy()
    given[swapped] = (labels[swapped] + 1) % 5
    found, guesses = label_issues(held_out_probabilities(embeddings, given, 5), given)
    assert set(found) <= set(swapped)
    assert len(found) >= 8
    np.testing.assert_array_equal(guesses, labels[found])


def test_a_class_of_one_photo_is_not_judged():
    random = np.random.default_rng(0)
    embeddings = random.normal(0, 1, (11, 4)) + np.repeat([[0.0], [9.0]], (10, 1), axis=0)
    probabilities = held_out_probabilities(embeddings, np.repeat([0, 1], (10, 1)), 2)
    assert np.isnan(probabilities[10]).all()
    assert np.isfinite(probabilities[:10]).all()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The command's output for a folder in which one poppy is among the sunflowers."""
    room = tmp_path_factory.mktemp("relabel")
    data = write_photo_folder(room / "data", {"train": 8, "valid": 4})
    moved = data / "train/poppy/000.jpg"
    moved.rename(data / "train/sunflower/odd, <b>.jpg")
    model = write_tiny_bundle(room / "model")
    arguments = ["--model", str(model), "--data", f"folder:{data}", "--output", str(room / "out")]
    assert relabel.main(arguments) == 0
    return room


def test_the_table_names_the_photo_and_what_it_looks_like(found):
    with open(found / "out/issues.csv", newline="") as file:
        [issue] = csv.DictReader(file)
    assert issue["photo"] == "train/sunflower/odd, <b>.jpg"
    assert (issue["label"], issue["looks like"]) == ("sunflower", "poppy")


def test_the_page_has_a_list_without_the_ticked_that_training_takes(found):
    page = (found / "out/index.html").read_text("utf-8")
    lines = json.loads(re.search(r'id="lines">(.*?)</script>', page, re.DOTALL)[1])
    [ticked] = re.findall(r'data-line="(\d+)"', page)
    (found / "list.txt").write_text(
        "# one left out\n"
        + "".join(line for number, line in enumerate(lines) if number != int(ticked))
    )
    source = open_source(f"folder:{found / 'data'}", 0)
    kept = apply_split_list(source, found / "list.txt")
    assert len(lines) == 12 * len(COLOURS)
    assert sum(map(len, kept.splits.values())) == len(lines) - 1
    assert "train/sunflower/odd, <b>.jpg" not in kept.splits["train"].names
