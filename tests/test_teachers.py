"""Distillation: labels that are half the teacher's predictions."""

import dataclasses
import json

import numpy as np
import pytest
from helpers import COLOURS, photo, write_tiny_bundle

from flowers_model import FlowerClassifier, bundle
from flowers_model.classifier import softmax
from flowers_model.errors import UserError
from train.data import pipeline
from train.data.augment import mixing, policy
from train.data.decoding import training_photos
from train.experiment import Experiment
from train.loop.distillation import teaching
from train.loop.training import train
from train.sources import Split

CLASSES = list(COLOURS)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    return str(write_tiny_bundle(tmp_path_factory.mktemp("teacher")))


@pytest.fixture(scope="module")
def others_teacher(tmp_path_factory) -> str:
    """The same network with its class names rotated by one."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("other"))
    path = folder / bundle.MANIFEST
    manifest = json.loads(path.read_text("utf-8"))
    manifest["class_names"] = CLASSES[1:] + CLASSES[:1]
    path.write_text(json.dumps(manifest), "utf-8")
    return str(folder)


def taught_batches(names: list[str], **settings):
    photos = [photo(colour, seed) for seed in (1, 2) for colour in COLOURS.values()]
    split = Split(tuple("abcdef"), np.arange(6, dtype=np.int32) % 3, photos.__getitem__)
    data = pipeline.training_batches(
        training_photos(split, "train", 32),
        3,
        pipeline.Order(2, 5, **settings),
        pipeline.Views(policy("inception", 32, 0.35), 32, 5),
        mix=mixing("cutmix"),
        teach=teaching(names, CLASSES, 32),
    )
    return [tuple(map(np.asarray, batch)) for batch in data]


@pytest.mark.slow
def test_labels_are_half_the_datas_and_half_what_the_teachers_see(teacher, others_teacher):
    plain = taught_batches([], first_epoch=0, epochs=1)
    taught = taught_batches([teacher, others_teacher], first_epoch=0, epochs=1)
    engine = FlowerClassifier.from_pretrained(teacher, engine="keras").engine
    for (x, own), (same_x, labels) in zip(plain, taught, strict=True):
        np.testing.assert_array_equal(x, same_x)
        [logits] = engine.run(x)
        first = softmax(logits, 1.0)
        second = first[:, [2, 0, 1]]  # the names of the other one have moved by one place
        assert np.abs(first - second).max() > 0.01
        np.testing.assert_allclose(labels, own / 2 + (first + second) / 4, atol=1e-4)


@pytest.mark.slow
def test_taught_batches_come_again_after_a_resume(teacher):
    three = taught_batches([teacher], first_epoch=0, epochs=3)
    resumed = taught_batches([teacher], first_epoch=2, epochs=3)
    for (_, labels), (_, again) in zip(three[6:], resumed, strict=True):
        np.testing.assert_array_equal(labels, again)


@pytest.mark.slow
def test_a_network_learns_what_its_teacher_says(teacher, data, tmp_path):
    experiment = Experiment(
        data=data,
        image_size=32,
        backbone="ConvNet",
        weights=None,
        filters=(4, 8),
        augment="none",
        epochs_head=0,
        epochs_finetune=12,
        batch_size=6,
        learning_rate=1e-2,
    )
    (tmp_path / "alone").mkdir()
    alone = train(experiment, tmp_path / "alone")
    (tmp_path / "taught").mkdir()
    taught = train(dataclasses.replace(experiment, teacher=(teacher,)), tmp_path / "taught")
    photos = alone.fitted("train").array
    [logits] = FlowerClassifier.from_pretrained(teacher).engine.run(photos)
    theirs = softmax(logits, 1.0)

    def distance(network) -> float:
        said = softmax(network.predict(photos.astype(np.float32), verbose=0), 1.0)
        return float(np.abs(said - theirs).mean())

    assert distance(taught.network) < distance(alone.network)


def test_teachers_that_do_not_fit_are_refused_with_a_reason(teacher):
    with pytest.raises(UserError, match=r"has an input size of 32 pixels; .* not 24"):
        teaching([teacher], CLASSES, 24)
    with pytest.raises(UserError, match="does not know 'rose', a class of --data"):
        teaching([teacher], [*CLASSES, "rose"], 32)
    with pytest.raises(UserError, match="nowhere"):
        teaching(["/nowhere"], CLASSES, 32)
