"""EfficientNet-Lite: EfficientNets for CPUs and phones, missing from Keras Applications.

They are EfficientNets (Tan and Le, 2019, https://arxiv.org/abs/1905.11946) without
squeeze-and-excitation, with ReLU6 instead of swish, and with the same first and last layers in all
five sizes, as Google published them:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

The functions are called like those of Keras Applications. They leave out the last convolution, from
320 to 1280 channels for ImageNet's 1000 classes: an eighth of EfficientNetLite0's weights.

>>> backbone = EfficientNetLite0(include_top=False, weights="imagenet", input_shape=(224, 224, 3))
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# Blocks, kernel, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM = 32  # channels
EPSILON = 1e-3  # of BatchNormalization


def EfficientNetLite0(**options) -> keras.Model:
    """3.0 million parameters, made for 224 px; `options` are those of `_build`."""
    return _build("efficientnet_lite0", 1.0, 1.0, **options)


def EfficientNetLite1(**options) -> keras.Model:
    """3.8 million parameters, made for 240 px; `options` are those of `_build`."""
    return _build("efficientnet_lite1", 1.0, 1.1, **options)


def EfficientNetLite2(**options) -> keras.Model:
    """4.4 million parameters, made for 260 px; `options` are those of `_build`."""
    return _build("efficientnet_lite2", 1.1, 1.2, **options)


def EfficientNetLite3(**options) -> keras.Model:
    """6.4 million parameters, made for 280 px; `options` are those of `_build`."""
    return _build("efficientnet_lite3", 1.2, 1.4, **options)


def EfficientNetLite4(**options) -> keras.Model:
    """11.1 million parameters, made for 300 px; `options` are those of `_build`."""
    return _build("efficientnet_lite4", 1.4, 1.8, **options)


def imagenet_repo(name: str) -> str:
    """The Hub repo of the ImageNet weights.

    >>> imagenet_repo("EfficientNetLite0")
    'timm/tf_efficientnet_lite0.in1k'

    Args:
        name: ends in the size, 0 to 4.
    """
    return f"timm/tf_efficientnet_lite{name[-1]}.in1k"


def preprocess_input(x, data_format=None):
    """Map raw values, 0..255, to the about -1..1 that the weights expect."""
    return (x - 127.0) / 128.0


def _build(
    name: str,
    width: float,
    depth: float,
    *,
    include_top: bool,
    weights: str | None,
    input_shape: tuple[int, int, int],
) -> keras.Model:
    """Build a backbone as the functions of Keras Applications do.

    Args:
        name: of the network.
        width, depth: multipliers of channels and blocks.
        include_top: must be False.
        weights: `"imagenet"` (downloaded), a Keras weights file, or None for random weights.
        input_shape: of the output of `preprocess_input`, `(H, W, 3)`.

    Returns:
        A network from `(N, H, W, 3)` to features `(N, H / 32, W / 32, D)`; D is 320 for
        EfficientNetLite0 and 1.
    """
    import keras

    if include_top:
        raise ValueError("EfficientNet-Lite has no top here")
    inputs = keras.Input(input_shape)
    x = _conv(inputs, STEM, 3, 2, "conv_stem", "bn1")
    for stage, (blocks, kernel, stride, expansion, channels) in enumerate(STAGES):
        if stage not in (0, len(STAGES) - 1):
            blocks = math.ceil(blocks * depth)
        for block in range(blocks):
            x = _block(
                x,
                _rounded(channels * width),
                kernel,
                stride if block == 0 else 1,
                expansion,
                f"blocks_{stage}_{block}",
            )
    network = keras.Model(inputs, x, name=name)
    if weights == "imagenet":
        _take_imagenet(network)
    elif weights is not None:
        network.load_weights(weights)
    return network


def _take_imagenet(network: keras.Model) -> None:
    """Load Google's weights from timm's repo on the Hub; the layers have timm's names."""
    import keras
    from safetensors.numpy import load_file

    from flowers_model import hub

    file = hub.fetch_file(imagenet_repo(network.name), "model.safetensors")
    theirs = {name.replace(".", "_"): values for name, values in load_file(file).items()}
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([theirs[f"{layer.name}_{part}"] for part in parts])
        elif layer.weights:
            # PyTorch's kernels are (out, in, h, w), where a depthwise one has one channel in.
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
            layer.set_weights([theirs[f"{layer.name}_weight"].transpose(axes)])


def _block(x, channels: int, kernel: int, stride: int, expansion: int, name: str):
    """An inverted bottleneck: 1 x 1 expansion, depthwise convolution, 1 x 1 projection."""
    import keras

    start, wide = x, x.shape[-1] * expansion
    norms = iter((f"{name}_bn1", f"{name}_bn2", f"{name}_bn3"))
    if expansion > 1:
        x = _conv(x, wide, 1, 1, f"{name}_conv_pw", next(norms))
    x = keras.layers.DepthwiseConv2D(
        kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv_dw"
    )(x)
    x = _norm(x, next(norms))
    last = f"{name}_conv_pwl" if expansion > 1 else f"{name}_conv_pw"
    x = _conv(x, channels, 1, 1, last, next(norms), activation=False)
    if stride == 1 and start.shape[-1] == channels:
        x = keras.layers.Add(name=f"{name}_add")([start, x])
    return x


def _conv(x, channels: int, kernel: int, stride: int, name: str, norm: str, activation=True):
    import keras

    x = keras.layers.Conv2D(
        channels, kernel, strides=stride, padding="same", use_bias=False, name=name
    )(x)
    return _norm(x, norm, activation)


def _norm(x, name: str, activation: bool = True):
    import keras

    x = keras.layers.BatchNormalization(epsilon=EPSILON, name=name)(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x


def _rounded(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth smaller."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
