"""The fast CPU convolutions agree with Keras's: values, gradients, saved files."""

import keras
import numpy as np
import pytest

from flowers_model import network
from train.devices import xla_cpu

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="the convolutions are written for JAX"
)

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}


def value_and_gradients(functions, x, *kernels):
    """The output of each function, and the gradients of a random weighting of it."""
    import jax
    import jax.numpy as jnp

    def all_of(function, x, *kernels):
        y, backward = jax.vjp(function, x, *kernels)
        weighting = np.random.default_rng(7).normal(size=y.shape)
        return y, *backward(jnp.asarray(weighting, y.dtype))

    # One program instead of one for each operation.
    return jax.jit(lambda *arrays: [all_of(function, *arrays) for function in functions])(
        x, *kernels
    )


def assert_same(ours, stock, x, *kernels):
    import jax.numpy as jnp

    arrays = [jnp.asarray(a) for a in (x, *kernels)]
    for value, other in zip(*value_and_gradients((ours, stock), *arrays), strict=True):
        assert value.dtype == other.dtype
        assert value.shape == other.shape
        value, other = (np.asarray(a, np.float32) for a in (value, other))
        scale = max(np.abs(other).max(), 1e-3)
        np.testing.assert_allclose(
            value / scale, other / scale, atol=TOLERANCE[str(arrays[0].dtype)]
        )


def random(dtype, *shape):
    import jax.numpy as jnp

    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), dtype)


SETTINGS = [  # kernel size, strides, padding, dilation
    ((3, 3), (1, 1), "same", (1, 1)),
    ((3, 3), (2, 2), "same", (1, 1)),
    ((3, 3), (2, 2), "valid", (1, 1)),
    ((5, 5), (2, 1), "same", (1, 1)),
    ((2, 3), (3, 3), "valid", (1, 1)),  # strides larger than the kernel
    ((3, 3), (1, 1), "same", (2, 2)),
    ((2, 3), (1, 1), "valid", (3, 2)),
    ((1, 1), (1, 1), "valid", (1, 1)),
    ((1, 1), (2, 2), "same", (1, 1)),
]


@pytest.mark.parametrize(("function", "outputs"), [("depthwise_conv", 1), ("conv", 4)])
@pytest.mark.parametrize(("size", "strides", "padding", "dilation"), SETTINGS)
def test_values_and_gradients_are_the_stock_ones(
    function, outputs, size, strides, padding, dilation
):
    ours, stock = getattr(xla_cpu, function), getattr(keras.ops, function)
    assert_same(
        lambda x, k: ours(x, k, strides, padding, dilation),
        lambda x, k: stock(
            x, k, strides, padding, data_format="channels_last", dilation_rate=dilation
        ),
        random("float32", 3, 13, 16, 6),
        random("float32", *size, 6, outputs),
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_multiplies_channels_and_keeps_sums_wide(dtype, multiplier):
    assert_same(
        lambda x, k: xla_cpu.depthwise_conv(x, k, (2, 2), "same"),
        lambda x, k: keras.ops.depthwise_conv(x, k, (2, 2), "same", data_format="channels_last"),
        random(dtype, 2, 15, 15, 5),
        random(dtype, 3, 3, 5, multiplier),
    )


@pytest.mark.parametrize("size", [1, 3])
def test_conv_in_bfloat16(size):
    assert_same(
        lambda x, k: xla_cpu.conv(x, k, (1, 1), "same"),
        lambda x, k: keras.ops.conv(x, k, (1, 1), "same", data_format="channels_last"),
        random("bfloat16", 2, 15, 15, 5),
        random("bfloat16", size, size, 5, 4),
    )


@pytest.mark.parametrize("function", ["depthwise_conv", "conv"])
def test_gradients_are_those_of_all_photos_when_they_come_in_blocks(monkeypatch, function):
    monkeypatch.setattr(xla_cpu, "CACHE", 1)
    monkeypatch.setattr(xla_cpu.os, "cpu_count", lambda: 2)
    ours, stock = getattr(xla_cpu, function), getattr(keras.ops, function)
    assert_same(
        lambda x, k: ours(x, k, (1, 1), "same"),
        lambda x, k: stock(x, k, (1, 1), "same", data_format="channels_last"),
        random("float32", 7, 9, 9, 4),  # three blocks of two photos, and one photo more
        random("float32", 3, 3, 4, 1),
    )


def tiny_network():
    keras.utils.set_random_seed(4)
    x = inputs = keras.Input((17, 17, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, padding="same", name="stem")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="depthwise")(x)
    x = keras.layers.SeparableConv2D(8, 3, depth_multiplier=2, name="separable")(x)
    x = keras.layers.Conv2D(4, 1, use_bias=False, name="pointwise")(x)
    x = keras.layers.Conv2D(4, 3, groups=2, name="grouped")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


@pytest.mark.slow
def test_a_network_trains_to_the_same_weights_and_saves_the_same_file(tmp_path):
    photos = np.random.default_rng(0).normal(size=(6, 17, 17, 3)).astype("float32")
    targets = np.random.default_rng(1).normal(size=(6, 4)).astype("float32")
    results = {}
    for fast in (False, True):
        net = tiny_network()
        if fast:
            assert xla_cpu.speed_up(net) == 4  # all but the grouped one
        net.compile("sgd", "mse")
        net.fit(photos, targets, batch_size=3, epochs=2, shuffle=False, verbose=0)
        net.save(tmp_path / f"{fast}.keras")
        loaded = keras.saving.load_model(tmp_path / f"{fast}.keras")
        assert loaded.to_json() == net.to_json()
        assert [layer.name for layer in loaded.layers] == [layer.name for layer in net.layers]
        results[fast] = net.predict(photos, verbose=0), loaded.predict(photos, verbose=0)
        weights = loaded.get_weights()
        results.setdefault("weights", []).append(weights)
    for one, other in zip(*results["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    for predicted in (*results[True], results[False][1]):
        np.testing.assert_allclose(predicted, results[False][0], atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("weights_by_numpy")
def test_a_backbone_with_frozen_norms_predicts_the_same():
    net = network.build("MobileNet", 5, 32, alpha=0.25)
    photos = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    before = net.predict(photos, verbose=0)
    assert xla_cpu.speed_up(net) > 25
    net.make_predict_function(force=True)
    after = net.predict(photos, verbose=0)
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
    assert not np.array_equal(after, np.zeros_like(after))


@pytest.mark.slow
def test_several_devices_keep_the_stock_layers(monkeypatch):
    import jax

    monkeypatch.setattr(jax, "device_count", lambda: 8)
    assert xla_cpu.speed_up(tiny_network()) == 0
