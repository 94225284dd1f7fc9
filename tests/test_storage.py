"""Kernels in float16: what is rounded, what is not, and that every reader gets the same values."""

import keras
import numpy as np
import numpy_weights
import pytest

from flowers_model import bundle, network
from flowers_model.engine import KerasEngine, OnnxEngine
from flowers_model.export import OUTPUTS, export
from flowers_model.storage import round_kernels

FILES = ("model.weights.h5", "model.onnx")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("weights_by_numpy")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The files of one network as it is, and with its kernels rounded; and the rounded network."""
    keras.utils.set_random_seed(0)
    rooms = [tmp_path_factory.mktemp(name) for name in ("wide", "narrow")]
    random = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patched:
        numpy_weights.draw(patched.setattr)
        net = network.build("MobileNet", 5, 32, alpha=0.5)
        net.set_weights([w + random.normal(0, 0.02, w.shape) ** 2 for w in net.get_weights()])
        for room in rooms:
            bundle.save_network(net, room)
            export(room)  # which initializes a network, too
            round_kernels(net)
    return *rooms, net


def test_rounding_changes_kernels_by_a_thousandth_at_most_and_vectors_not_at_all(folders):
    wide, _, net = folders
    before, after = keras.saving.load_model(wide).get_weights(), net.get_weights()
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, rtol=2**-11 if new.ndim > 1 else 0, atol=1e-7)
    assert any((old != new).any() for old, new in zip(before, after, strict=True))


def test_rounded_kernels_take_half_the_room(folders):
    wide, narrow, _ = folders
    for name in FILES:
        assert (narrow / name).stat().st_size < 0.56 * (wide / name).stat().st_size


def test_plain_keras_reads_the_rounded_weights_bit_for_bit_in_float32(folders):
    _, narrow, net = folders
    read = keras.saving.load_model(narrow)
    assert {variable.dtype for variable in read.weights} == {"float32"}
    for ours, theirs in zip(net.get_weights(), read.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)


def test_onnx_runtime_computes_what_keras_does_with_the_rounded_weights(folders):
    _, narrow, _ = folders
    photos = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    engines = OnnxEngine(narrow), KerasEngine(narrow)
    for ours, theirs in zip(*(one.run(photos, OUTPUTS) for one in engines), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_what_was_not_rounded_is_kept_as_it_is(folders):
    wide, _, _ = folders
    read = keras.saving.load_model(wide)
    again = wide / "again"
    bundle.save_network(read, again)
    for ours, theirs in zip(
        read.get_weights(), keras.saving.load_model(again).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
