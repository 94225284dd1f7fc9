"""Precise BatchNorm: the statistics are those of the photos that they are computed on."""

import numpy as np
import pytest

from flowers_model import network as networks
from train.loop.batch_norm import measure_norms


def build():
    return networks.build("ConvNet", 3, 16, filters=(4, 8))


def photos(count):
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)


@pytest.mark.slow
def test_serving_sees_what_a_training_step_sees():
    network, x = build(), photos(12)
    networks.set_trainable(network, None, train_norms=True)
    embedder = networks.embedder(network)
    expected = np.asarray(embedder(x.astype("float32"), training=True))
    measure_norms(network, x, batch_size=12, seed=0)
    np.testing.assert_allclose(embedder.predict(x, verbose=0), expected, rtol=1e-3, atol=1e-4)


def test_each_batch_counts_the_same():
    network, x = build(), photos(15)
    networks.set_trainable(network, None, train_norms=True)
    norm = networks.backbone_of(network).get_layer("norm_1")
    measure_norms(network, x, batch_size=4, seed=0)
    both = []
    for seed in (0, 1):
        measure_norms(network, x, batch_size=5, seed=seed)
        both.append(np.asarray(norm.moving_mean))
    np.testing.assert_allclose(*both, rtol=1e-4)  # all 15 photos, in whatever batches
    assert norm.momentum == networks.NORM_MOMENTUM


def test_frozen_norms_keep_their_statistics():
    network = build()
    networks.set_trainable(network, None, train_norms=False)
    before = network.get_weights()
    measure_norms(network, photos(8), batch_size=4, seed=0)
    for a, b in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
