"""Precision: fast in training, full float32 wherever results are measured.

By default, accelerators do not compute float32 in full precision: NVIDIA GPUs compute convolutions
and matrix products in TF32 (10 bits of mantissa), TPUs in bfloat16 (7 bits), which changes
probabilities by thousandths. That is good enough for gradients, but not for published results.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


def policy(name: str) -> str:
    """The dtype policy of a network in training.

    `auto` is mixed bfloat16 on TPUs and on NVIDIA GPUs that support it (compute capability 8.0 and
    up), mixed float16 with a scaled loss on older GPUs with tensor cores (7.0 and up), and float32
    elsewhere.
    """
    if name != "auto":
        return name
    if any(device.startswith("tpu") for device in keras.distribution.list_devices()):
        return "mixed_bfloat16"
    capability = compute_capability()
    if capability is None or capability < (7, 0):
        return "float32"
    return "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"


def compute_capability() -> tuple[int, int] | None:
    """The lowest compute capability of the NVIDIA GPUs in use; None if there is none."""
    if keras.backend.backend() == "jax":
        import jax

        # For AMD GPUs this is a name, such as gfx942.
        found = [str(getattr(device, "compute_capability", "")) for device in jax.devices()]
        numbers = [text.split(".") for text in found]
        found = [tuple(map(int, two)) for two in numbers if len(two) == 2]
    else:
        import tensorflow as tf

        cards = tf.config.list_physical_devices("GPU")
        found = [tf.config.experimental.get_device_details(card) for card in cards]
        found = [one["compute_capability"] for one in found if "compute_capability" in one]
    return min(found, default=None)


@contextlib.contextmanager
def full_float32(network: keras.Model) -> Iterator[None]:
    """A context in which `network` computes in full float32 on every device.

    This includes its layers, and functions of it that are compiled inside.
    """
    layers = list(_all_layers(network))
    policies = [layer.dtype_policy for layer in layers]
    float32 = keras.DTypePolicy("float32")
    for layer in layers:
        layer.dtype_policy = float32
    try:
        with _exact_products():
            yield
    finally:
        for layer, before in zip(layers, policies, strict=True):
            layer.dtype_policy = before


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    if keras.backend.backend() == "jax":
        import jax

        with jax.default_matmul_precision("highest"):  # convolutions as well
            yield
        return
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _all_layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """The network and its layers, including those of nested networks."""
    yield network
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
        else:
            yield layer
