"""What networks compute in: fast while they train, in full float32 wherever a figure is made.

Accelerators have faster ways than float32, some of which nobody asks for: NVIDIA's cards compute
convolutions and matrix products of float32 in TF32 (10 bits of mantissa), TPUs in bfloat16 (7),
which moves probabilities by thousandths. That is fine for gradients, and not for what is published.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras


def policy(name: str) -> str:
    """The dtype policy of a network in training.

    `auto` is bfloat16 on TPU and on NVIDIA's cards that have it (compute capability 8.0 and up),
    float16 with a scaled loss on those before that have tensor cores (7.0 and up), else float32.
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
    """The lowest compute capability of the NVIDIA cards in use; None without such cards."""
    if keras.backend.backend() == "jax":
        import jax

        # AMD's cards have a name there, such as gfx942.
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
    """Inside, whatever `network` computes is float32 to the last bit, on every device.

    That holds for its parts, too, and for what is compiled of it here.
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

        with jax.default_matmul_precision("highest"):  # of convolutions, too
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
    """The network, its layers, and those of the networks among them."""
    yield network
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)
        else:
            yield layer
