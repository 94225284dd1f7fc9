"""Cached features of the frozen backbone: equal to the network's, on disk, of augmented views."""

import dataclasses

import numpy as np
import pytest

from flowers_model import network as networks
from flowers_model.errors import UserError
from train.data import pipeline
from train.data.augment import policy
from train.data.decoding import Photos
from train.experiment import Experiment
from train.loop import features as room


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWERS_DATA", str(tmp_path))
    return tmp_path / "features"


@pytest.fixture
def net():
    return networks.build("ConvNet", 3, 16, filters=(4, 8))


PHOTOS = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


def test_features_are_the_networks_embeddings(net):
    expected = networks.embedder(net).predict(PHOTOS, verbose=0)
    np.testing.assert_allclose(room.features(net, PHOTOS, "train"), expected, atol=1e-6)


@pytest.mark.slow
def test_onnx_gives_the_same_features(net, monkeypatch):
    monkeypatch.setattr(room, "EXPORT_FROM", 1)
    expected = networks.embedder(net).predict(PHOTOS, verbose=0)
    np.testing.assert_allclose(room.features(net, PHOTOS, "train"), expected, atol=1e-4)


def test_kept_features_are_used_for_the_same_pixels_and_weights_only(net, cache):
    first = room.features(net, PHOTOS, "train")
    [path] = cache.glob("*.npz")
    with np.load(path) as file:
        np.savez(path, digests=file["digests"], features=file["features"] + 1)
    np.testing.assert_array_equal(room.features(net, PHOTOS[::-1], "train"), first[::-1] + 1)
    other_photos = 255 - PHOTOS[:2]
    both = room.features(net, np.concatenate([PHOTOS[:2], other_photos]), "train")
    np.testing.assert_array_equal(both[:2], first[:2] + 1)
    expected = networks.embedder(net).predict(other_photos, verbose=0)
    np.testing.assert_allclose(both[2:], expected, atol=1e-6)
    weights = net.get_weights()
    weights[0] = weights[0] * 1.5
    net.set_weights(weights)
    expected = networks.embedder(net).predict(PHOTOS, verbose=0)
    np.testing.assert_allclose(room.features(net, PHOTOS, "train"), expected, atol=1e-6)


def test_another_head_shares_the_features(net, cache):
    room.features(net, PHOTOS, "train")
    wide = networks.build("ConvNet", 7, 16, filters=(4, 8), head_units=(5,))
    networks.backbone_of(wide).set_weights(networks.backbone_of(net).get_weights())
    room.features(wide, PHOTOS, "train")
    assert len(list(cache.glob("*.npz"))) == 1


def test_a_damaged_file_is_replaced(net, cache):
    first = room.features(net, PHOTOS, "train")
    [path] = cache.glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_allclose(room.features(net, PHOTOS, "train"), first, atol=1e-6)
    with np.load(path) as file:
        assert len(file["features"]) == len(PHOTOS)


def test_equal_photos_are_embedded_once(net):
    twice = np.concatenate([PHOTOS, PHOTOS])
    both = room.features(net, twice, "train")
    np.testing.assert_array_equal(both[:6], both[6:])


def test_augmented_views_differ_and_come_again_with_the_seed():
    photos = Photos(["a", "b"], np.array([2, 0], np.int32), PHOTOS.__getitem__, PHOTOS)
    augment = policy("inception", 16, 0.5)

    def made(seed):
        return pipeline.augmented_views(photos, pipeline.Views(augment, 16, seed), 3)

    views = made(1)
    assert views.array.shape == (6, 16, 16, 3)
    assert views.array.dtype == np.uint8
    assert views.labels.tolist() == [2, 2, 2, 0, 0, 0]
    assert len({view.tobytes() for view in views.array}) == 6
    again = made(1)
    np.testing.assert_array_equal(again.array, views.array)
    other = made(2)
    assert not np.array_equal(other.array, views.array)


def test_views_without_augmentation_are_refused():
    with pytest.raises(UserError, match="--head-views"):
        dataclasses.replace(Experiment(), head_views=2, augment="none")
