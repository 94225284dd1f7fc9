"""FlowerClassifier: three lines from a photo to names."""

import io
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import COLOURS, photo, write_tiny_bundle
from PIL import Image

from flowers_model import FlowerClassifier, bundle
from flowers_model.classifier import softmax
from flowers_model.errors import UserError
from flowers_model.explain import class_map, explain, explain_top, main
from flowers_model.photo import PhotoError, decode, fit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def classifier(folder):
    return FlowerClassifier.from_pretrained(folder)


def test_names_come_sorted_with_calibrated_probabilities(classifier):
    [prediction] = classifier.classify([photo((200, 30, 30))], top=3)
    assert sorted(prediction.labels) == sorted(classifier.label_names) == sorted(COLOURS)
    assert prediction.probabilities == sorted(prediction.probabilities, reverse=True)
    assert sum(prediction.probabilities) == pytest.approx(1.0)
    inputs = fit(decode(photo((200, 30, 30))), 32, 0.9)[None]
    [logits] = classifier.engine.run(inputs)
    expected = np.exp(logits[0] / 1.5) / np.exp(logits[0] / 1.5).sum()
    assert prediction.probabilities == pytest.approx(sorted(expected, reverse=True), abs=1e-6)


def test_bytes_paths_pictures_and_arrays_give_the_same(classifier, tmp_path):
    data = photo((200, 200, 30))
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    picture = Image.open(io.BytesIO(data))
    kinds = [data, path, str(path), picture, np.asarray(picture)]
    answers = [classifier.classify(kind) for kind in kinds]
    assert all(answer == answers[0] for answer in answers)
    together = classifier.classify(kinds)
    assert [answer.labels for answer in together] == [answers[0][0].labels] * len(kinds)


def test_photos_of_one_plant_give_the_average_of_their_log_probabilities(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    manifest = bundle.read_manifest(tmp_path)
    manifest.calibration.refusal = bundle.Refusal(
        score="probability", center=-1, threshold=-0.5, keeps=0.95, auroc={}
    )
    manifest.calibration.label_sets = bundle.LabelSets(coverage=0.9, limit=1)
    bundle.write_json(tmp_path / bundle.MANIFEST, manifest)
    classifier = FlowerClassifier.from_pretrained(tmp_path)
    photos = [photo(colour) for colour in COLOURS.values()]
    each = classifier.answer(np.stack([classifier.prepare(data) for data in photos]))
    whole = classifier.together(each)
    product = each.probabilities.prod(axis=0) ** (1 / 3)
    np.testing.assert_allclose(whole.probabilities, [product / product.sum()])
    assert whole.embeddings.shape == (1, each.embeddings.shape[1])
    assert whole.refusal_scores == pytest.approx([each.refusal_scores.mean()])
    assert whole.label_sets.tolist() == [[True] * 3]
    # The same photo again says nothing new, and a name ruled out by one photo stays finite.
    again = classifier.together(classifier.judge(each.logits[[0, 0]], each.embeddings[[0, 0]]))
    np.testing.assert_allclose(again.probabilities[0], each.probabilities[0])
    sure = classifier.judge(np.array([[9e3, 0, 0], [0, 1, 0]], np.float32), each.embeddings[:2])
    assert np.isfinite(classifier.together(sure).probabilities).all()


def test_top_limits_the_names(classifier):
    [prediction] = classifier.classify(photo((1, 2, 3)), top=1)
    assert len(prediction.labels) == len(prediction.probabilities) == 1
    with pytest.raises(UserError, match="top"):
        classifier.classify(photo((1, 2, 3)), top=0)


def test_no_photos_no_answers(classifier):
    assert classifier.classify([]) == []


def test_what_is_no_photo_is_refused(classifier):
    with pytest.raises(PhotoError):
        classifier.classify([b"no photo"])


def test_both_engines_agree(folder, classifier):
    photos = [photo(colour, i) for i, colour in enumerate(COLOURS.values())]
    plain = FlowerClassifier.from_pretrained(folder, engine="keras")
    for ours, theirs in zip(classifier.classify(photos), plain.classify(photos), strict=True):
        assert ours.labels == theirs.labels
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-5)


def test_an_engine_that_does_not_exist_is_named(folder):
    with pytest.raises(UserError, match="onnx, keras"):
        FlowerClassifier.from_pretrained(folder, engine="torch")


LEAN = """
import sys
from flowers_model import FlowerClassifier, bundle
print(FlowerClassifier.from_pretrained(sys.argv[1]).classify(sys.argv[2])[0].labels[0])
heavy = {"keras", "tensorflow", "jax", "torch", "gradio", "matplotlib", "sklearn", "train"}
assert not heavy & {name.split(".")[0] for name in sys.modules}, heavy & set(sys.modules)
"""


def test_classifying_loads_neither_keras_nor_its_backends(folder, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(photo((200, 30, 30)))
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(
        [sys.executable, "-c", LEAN, folder, tmp_path / "photo.jpg"],
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in COLOURS


def test_softmax_survives_huge_logits():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])


def test_the_class_map_is_the_networks_own(classifier):
    data = photo((90, 180, 60))
    inputs = classifier.prepare(data)[None]
    [maps] = classifier.engine.run(inputs, ("class_maps",))
    shown = class_map(classifier, data, "poppy")
    assert (shown.min(), shown.max()) == pytest.approx((0, 1))
    assert np.corrcoef(shown.ravel(), maps[0, :, :, 1].ravel())[0, 1] == pytest.approx(1)


def test_the_overlay_keeps_the_photo_visible(classifier):
    data = photo((30, 200, 30), size=(80, 60))
    picture = explain(classifier, data, "sunflower", size=64)
    assert picture.size == (64, 64)
    plain = fit(decode(data), 64, 0.9).astype(int)
    change = np.abs(np.asarray(picture).astype(int) - plain).max(axis=-1)
    assert change.max() > 30  # something is marked
    assert (np.asarray(picture)[..., 1] > 60).all()  # and the green shows through everywhere


def test_explaining_an_unknown_name_is_refused(classifier):
    with pytest.raises(UserError, match="oak"):
        explain(classifier, photo((1, 2, 3)), "oak")


def test_the_likeliest_names_come_with_their_maps(classifier):
    data = photo((90, 180, 60))
    [expected] = classifier.classify(data, top=2)
    found = explain_top(classifier, data, count=2, size=64)
    assert [name for name, _, _ in found] == expected.labels
    assert [share for _, share, _ in found] == pytest.approx(expected.probabilities)
    for name, _, picture in found:
        assert np.array_equal(picture, explain(classifier, data, name, size=64))


def test_the_command_writes_the_top_maps_and_those_of_all_classes(folder, tmp_path, capsys):
    (tmp_path / "photo.jpg").write_bytes(photo((90, 180, 60)))
    arguments = ["--model", str(folder), str(tmp_path / "photo.jpg"), "--output", str(tmp_path)]
    assert main(arguments) == 0
    with Image.open(tmp_path / "top.jpg") as opened:
        assert opened.size == (3 * 336, 358)  # there are but three classes
    with Image.open(tmp_path / "classes.gif") as opened:
        assert opened.n_frames == 3
    assert main([*arguments[:2], "/nowhere.jpg", *arguments[3:]]) == 2
    assert "/nowhere.jpg is not there" in capsys.readouterr().err
