"""Metrics, checked against worked examples and scikit-learn."""

import csv
import io
import json
import pathlib
import re
import warnings

import matplotlib.figure
import numpy as np
import pytest
import sklearn.metrics
from helpers import COLOURS, photo, quicken_bundles, write_photo_folder, write_tiny_bundle

from flowers_model import bundle
from flowers_model.bundle import read_manifest
from flowers_model.classifier import Answers, FlowerClassifier, softmax
from flowers_model.statistics import read_statistics
from train import calibrate, evaluate
from train.evaluation.calibration import fit_temperature
from train.evaluation.metrics import calibration_error, chance_error, macro_f1, measure
from train.reports.style import plain
from train.reports.tables import (
    PER_CLASS,
    confusions,
    per_class,
    similar_order,
    size_groups,
    third_rows,
)


def answers(probabilities, **rest) -> Answers:
    probabilities = np.array(probabilities)
    return Answers(probabilities, np.zeros((len(probabilities), 2), np.float32), **rest)


def random_answers(count: int, classes: int, seed: int = 0, **rest) -> tuple[Answers, np.ndarray]:
    """Perfectly calibrated answers and their labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (count, classes)).astype(np.float32)
    labels = np.array([random.choice(classes, p=p) for p in softmax(logits)])
    return answers(softmax(logits), logits=logits, **rest), labels


def test_figures_of_a_worked_example():
    figures = measure(
        answers(
            [
                [0.5, 0.2, 0.1, 0.1, 0.05, 0.05],
                [0.3, 0.4, 0.1, 0.1, 0.05, 0.05],
                [0.3, 0.3, 0.2, 0.1, 0.09, 0.01],
                [0.1, 0.1, 0.1, 0.1, 0.1, 0.5],
            ],
            label_sets=np.array([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]] * 2, bool),
            refusal_scores=np.array([0.0, 0.5, 1.5, 0.2]),
        ),
        np.array([0, 0, 5, 5]),
        ood_scores={"noise": np.array([0.1, 2.0]), "text": np.array([3.0, 4.0])},
    )
    assert figures.top1 == 0.5
    assert figures.top5 == 0.75
    assert figures.loss == figures.nll == pytest.approx(-np.log([0.5, 0.3, 0.01, 0.5]).mean())
    assert figures.count == 4
    assert figures.coverage == 0.5
    assert figures.set_size == 1.5
    assert figures.refused == 0.25
    assert figures.others_refused == 0.75
    assert figures.others_auroc == pytest.approx((0.625 + 1) / 2)


def test_a_split_that_lacks_classes_is_measured_all_the_same():
    figures = measure(answers([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]), np.array([1, 1]))
    assert figures.top1 == 0.5
    assert figures.top5 == 1.0
    assert figures.coverage is None
    assert figures.others_auroc is None


def test_macro_f1_is_scikit_learns():
    random = np.random.default_rng(0)
    labels, guesses = random.integers(0, 7, (2, 60))
    labels[labels == 3] = 4  # a class that is predicted but has no photos
    expected = sklearn.metrics.f1_score(labels, guesses, average="macro")
    assert macro_f1(labels, guesses, 9) == pytest.approx(expected)


def test_the_calibration_error_is_the_gap_between_confidence_and_truth():
    right = np.arange(1000) % 10 < 6
    assert calibration_error(np.full(1000, 0.6), right) == pytest.approx(0)
    assert calibration_error(np.full(1000, 0.9), right) == pytest.approx(0.3)
    assert calibration_error(np.array([1.0, 0.01]), np.array([True, True])) == pytest.approx(0.495)


def test_few_photos_have_a_calibration_error_by_chance():
    assert chance_error(np.ones(10)) == 0
    assert chance_error(np.array([0.8])) == pytest.approx(2 * 0.8 * 0.2, abs=0.05)
    # The mean absolute deviation of a binomial share, by its normal approximation.
    expected = np.sqrt(2 / np.pi * 0.7 * 0.3 / 100)
    assert chance_error(np.full(100, 0.7)) == pytest.approx(expected, rel=0.1)


def test_intervals_hold_the_figure_and_narrow_with_more_photos():
    few, many = (measure(*random_answers(count, 5)) for count in (50, 5000))
    for figures in (few, many):
        for name in ("top1", "macro_f1", "nll"):
            interval = getattr(figures, f"{name}_interval")
            assert interval.low < getattr(figures, name) < interval.high
    width = [one.top1_interval.high - one.top1_interval.low for one in (few, many)]
    deviation = (many.top1 * (1 - many.top1) / 5000) ** 0.5
    assert width[1] == pytest.approx(2 * 1.96 * deviation, rel=0.2)
    assert width[0] > 5 * width[1]


def test_intervals_of_shares_end_at_all():
    labels = np.arange(200) % 2
    guesses = labels.copy()
    guesses[0] = 1  # one wrong answer of 200
    figures = measure(answers(0.02 + 0.96 * np.eye(2)[guesses]), labels)
    assert 0.97 < figures.top1_interval.low < figures.top1_interval.high <= 1
    assert figures.macro_f1_interval.high <= 1


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_of_overconfident_logits_is_found(temperature):
    found, labels = random_answers(20_000, 5)
    fitted = fit_temperature(found.logits * temperature, labels)
    assert fitted == pytest.approx(temperature, rel=0.05)


def test_tables_by_class_and_by_size_of_class(tmp_path):
    labels, guesses = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    counts = np.array([30, 5, 10])
    groups = size_groups(counts)
    rows = per_class(labels, guesses, ["a", "b", "c"], counts, groups)
    table = {row[0]: dict(zip(PER_CLASS, row, strict=True)) for row in rows}
    assert float(table["b"]["precision"]) == pytest.approx(1 / 3, abs=1e-3)
    assert [float(table[c]["recall"]) for c in "abc"] == [0.5, 1.0, 0.0]
    assert [table[c]["photos"] for c in "abc"] == [2, 1, 1]
    assert [table[c]["third"] for c in "abc"] == ["large", "small", "middle"]
    thirds = third_rows(labels, guesses, groups, counts)
    assert [(row[0], row[3], float(row[4])) for row in thirds] == [
        ("small", 1, 1.0),
        ("middle", 1, 0.0),
        ("large", 2, 0.5),
    ]
    assert list(size_groups(np.array([7, 7, 7, 7]))) == ["all"]


def test_confusions_are_counted_and_similar_classes_come_side_by_side():
    labels = np.repeat(np.arange(4), 10)
    guesses = labels.copy()
    guesses[:3] = 2
    guesses[10] = 3
    assert confusions(labels, guesses) == [(0, 2, 3), (1, 3, 1)]
    order = similar_order(np.eye(4)[guesses] * 0.9 + 0.025, labels).tolist()
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_photo_folder(folder, {"train": 4, "valid": 6, "test": 5})


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    """A bundle that was calibrated by the command."""
    room = tmp_path_factory.mktemp("models")
    plain = write_tiny_bundle(room / "plain")
    arguments = ["--model", str(plain), "--data", f"folder:{data}", "--output", str(room / "model")]
    with pytest.MonkeyPatch.context() as patched:
        quicken_bundles(patched)
        assert calibrate.main(arguments) == 0
    return room / "model"


def test_a_bundle_from_before_is_calibrated_and_measured(model):
    manifest = bundle.check(model)
    calibration = manifest.calibration
    assert set(calibration.refusal.auroc) == {"probability", "energy", "distance"}
    assert "folds" in calibration.method
    assert manifest.metrics["valid"].coverage >= 0.85
    assert set(manifest.metrics) == {"train", "valid", "test"}
    gallery = bundle.read_gallery(model)
    assert len(bundle.read_embeddings(model, gallery)) == len(gallery.photos) == 3
    card = (model / "README.md").read_text("utf-8")
    assert "macro F1" in card
    assert "refused" in card


def test_calibrating_adds_what_teaching_needs(model):
    statistics = read_statistics(model)
    assert statistics.counts.tolist() == [4, 4, 4]
    assert len(statistics.held_out) == 18
    assert len(statistics.strangers) == len(statistics.stranger_kinds) > 0
    classifier = FlowerClassifier.from_pretrained(model)
    lesson = classifier.teach({"violet": [photo((140, 30, 200), i) for i in range(3)]})
    assert lesson.classifier.label_names[-1] == "violet"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_bundles")
def test_an_earlier_network_answers_for_what_the_model_learned_from(model, data, tmp_path, capsys):
    """The model was trained on half of valid, the earlier network on none of it."""
    later = write_tiny_bundle(tmp_path / "later")
    saved = json.loads((later / bundle.MANIFEST).read_text("utf-8"))
    saved["provenance"] |= {"valid_share": 0.5, "data": data.name}
    (later / bundle.MANIFEST).write_text(json.dumps(saved), "utf-8")
    arguments = ["--model", str(later), "--data", f"folder:{data}"]
    arguments += ["--output", str(tmp_path / "output"), "--earlier"]
    assert calibrate.main([*arguments, str(later)]) == 2
    assert "holds out the same validation photos" in capsys.readouterr().err
    assert calibrate.main([*arguments, str(model)]) == 0
    manifest = bundle.check(tmp_path / "output")
    assert "18 validation photos" in manifest.calibration.method
    assert "for 9 of them, which it was trained on" in manifest.calibration.method
    assert manifest.metrics["valid"].count == 9


@pytest.mark.slow
@pytest.mark.usefixtures("quick_bundles")
def test_the_command_measures_what_the_run_measured(model, data, tmp_path, capsys):
    output = tmp_path / "report"
    arguments = ["--model", str(model), "--data", f"folder:{data}", "--output", str(output)]
    assert evaluate.main(arguments) == 0
    found = json.loads((output / "metrics.json").read_text("utf-8"))
    stated = read_manifest(model).metrics
    for split in ("train", "valid", "test"):
        expected = stated[split].model_dump(exclude_none=True)
        assert found[split].keys() == expected.keys()
        for name in ("top1", "macro_f1", "nll", "ece", "coverage", "set_size", "refused"):
            assert found[split][name] == pytest.approx(expected[name], abs=1e-5)
    assert {path.name for path in output.iterdir()} == {
        *("index.html", "metrics.json", "per_class.csv", "thirds.csv", "confusions.csv"),
        *("confusion.png", "mistakes.jpg", "reliability.png", "refusal.png"),
    }
    with open(output / "per_class.csv", newline="", encoding="utf-8") as file:
        assert [row["class"] for row in csv.DictReader(file)] == sorted(COLOURS)
    page = (output / "index.html").read_text("utf-8")
    assert page.count("data:image/") >= 4
    assert "<script" not in page
    assert 'src="http' not in page
    assert f"test: top-1 {found['test']['top1']:.4f}" in capsys.readouterr().out
    assert evaluate.main([*arguments, "--split", "test"]) == 0  # an older report is replaced
    assert list(json.loads((output / "metrics.json").read_text("utf-8"))) == ["test"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_bundles")
def test_two_models_and_mirrored_views_are_averaged(model, data, tmp_path):
    arguments = ["--data", f"folder:{data}", "--split", "test", "--output", str(tmp_path / "out")]
    assert evaluate.main(["--model", str(model), "--model", str(model), *arguments]) == 0
    twice = json.loads((tmp_path / "out/metrics.json").read_text("utf-8"))["test"]
    once = read_manifest(model).metrics["test"]
    for name in ("top1", "nll", "ece", "refused", "coverage"):
        assert twice[name] == pytest.approx(getattr(once, name), abs=1e-5)
    for tta in ("flips", "crops"):
        assert evaluate.main(["--model", str(model), "--tta", tta, *arguments]) == 0
        page = (tmp_path / "out/index.html").read_text("utf-8")
        assert f"{tta} averaged" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--split", "dev"], "has no 'dev', only"),
        (["--data", "folder:/nowhere"], "/nowhere"),
        (["--model", "/nowhere"], "neither a folder here nor"),
        (["--output", str(pathlib.Path(__file__).parent)], "is not an earlier report"),
        (["--tta", "rotations"], "invalid choice"),
    ],
)
def test_a_mistake_gets_one_line_and_status_2(
    model, data, tmp_path, monkeypatch, capsys, change, message
):
    monkeypatch.chdir(tmp_path)  # where the report may be written
    known = {"--model": str(model), "--data": f"folder:{data}"} | {change[0]: change[1]}
    assert evaluate.main([word for pair in known.items() for word in pair]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_data_with_a_class_that_the_model_does_not_know_is_refused(
    model, tmp_path, monkeypatch, capsys
):
    folder = write_photo_folder(tmp_path / "data", {"": 6})
    (folder / "poppy").rename(folder / "oak")
    monkeypatch.chdir(tmp_path)  # where the report may be written
    assert evaluate.main(["--model", str(model), "--data", f"folder:{folder}"]) == 2
    assert "does not know 1 of the 3 classes" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("quick_bundles")
def test_several_sets_are_a_row_each_and_nothing_of_them_is_left_out(model, tmp_path, capsys):
    write_photo_folder(tmp_path / "garden", {"": 3})  # no model trained on it: all photos
    write_photo_folder(tmp_path / "web", {"test": 2})  # only one split
    (tmp_path / "others").mkdir()
    for i in range(4):
        (tmp_path / f"others/{i}.jpg").write_bytes(photo((250, 250, 250), i))
    output = tmp_path / "report"
    arguments = ["--model", str(model), "--output", str(output)]
    arguments += ["--data", f"folder:{tmp_path / 'garden'}", "--data", f"folder:{tmp_path / 'web'}"]
    assert evaluate.main([*arguments, "--refuse", str(tmp_path / "others"), "--by-class"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^garden test: .* right and not refused .* \(9 photos\)$", said, re.M)
    assert re.search(r"^web test: .* \(6 photos\)$", said, re.M)
    assert re.search(r"^  poppy: .* \(3 photos\)$", said, re.M)
    assert re.search(r"^others: [\d.]+% of 4 refused$", said, re.M)
    found = json.loads((output / "metrics.json").read_text("utf-8"))
    assert {title: one["count"] for title, one in found.items()} == {
        "garden test": 9,
        "web test": 6,
    }
    for one in found.values():
        assert one["kept_right"] <= min(one["top1"], 1 - one["refused"] + 1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_bundles")
def test_a_source_that_calibrates_beside_another_is_measured_by_itself(model, data, tmp_path):
    write_photo_folder(tmp_path / "garden", {"": 12})
    arguments = ["--model", str(model), "--data", f"folder:{data}"]
    arguments += ["--data", f"folder:{tmp_path / 'garden'}", "--output", str(tmp_path / "output")]
    assert calibrate.main(arguments) == 0
    manifest = bundle.check(tmp_path / "output")
    assert manifest.by_source[data.name].count == 18
    assert manifest.by_source["garden"].count == 5
    assert "garden" in (tmp_path / "output/README.md").read_text("utf-8")


def test_figures_write_what_no_font_here_has_escaped():
    assert plain("rose é") == "rose é"
    assert plain("$5") == r"\$5"
    names = ("桜", "バラ", "\U0010fffd", "\udce9")
    assert plain(names[2]) == r"\U0010fffd"
    figure = matplotlib.figure.Figure()
    for name in names:
        figure.text(0.5, 0.5, plain(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "Glyph 26716 missing from font"
        figure.savefig(io.BytesIO())
