"""The network: raw RGB in, one logit per class out.

    photos (N, S, S, 3), values 0..255
      -> normalization   what the backbone's weights expect, inside the graph, exactly once
      -> backbone        any Keras Applications network by its Keras name, an EfficientNet-Lite,
                     `ConvNet`, or one of keras-hub's (`hub:PRESET`)
      -> pool            global average: the embedding (N, D)
      -> head            dropout and dense layers
      -> logits (N, C)

Only stock layers of Keras, and of keras-hub in its backbones, are used, so
`keras.saving.load_model` opens a saved network without any code of this project.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from flowers_model import efficientnet_lite, keras_hub_backbones
from flowers_model.errors import UserError, reason

if TYPE_CHECKING:
    import keras

CONVNET = "ConvNet"
NORM_MOMENTUM = 0.9


class NetworkError(UserError):
    """A network cannot be built as asked, or cannot be read."""


def backbone_names() -> list[str]:
    """The backbones of `build`: every Keras Applications network, EfficientNet-Lite, `ConvNet`.

    >>> "EfficientNetLite0" in backbone_names()
    True
    """
    return sorted([CONVNET, *_applications()])


def _applications() -> dict[str, Callable[..., keras.Model]]:
    """Keras Applications' functions by name, and those that it lacks."""
    import keras

    known = vars(keras.applications) | vars(efficientnet_lite)
    return {
        name: one for name, one in known.items() if name[0].isupper() and inspect.isfunction(one)
    }


def channels_last() -> None:
    """Have Keras take photos as `(N, S, S, 3)`, whatever the user's keras.json says.

    >>> channels_last()
    """
    import keras

    keras.config.set_image_data_format("channels_last")


def has_accelerator() -> bool:
    """Whether Keras's backend computes on anything but a CPU.

    >>> has_accelerator()
    False
    """
    import keras

    return any(not name.startswith("cpu") for name in keras.distribution.list_devices())


def build(
    backbone: str,
    class_count: int,
    image_size: int,
    *,
    weights: str | os.PathLike | None = None,
    alpha: float | None = None,
    filters: tuple[int, ...] = (32, 64, 128, 128),
    head_units: tuple[int, ...] = (),
    dropout: float = 0.2,
) -> keras.Model:
    """Build a classifier.

    >>> network = build("MobileNetV3Small", class_count=102, image_size=224, weights="imagenet")

    Args:
        backbone: a Keras Applications name such as `"EfficientNetV2B0"`, `"EfficientNetLite0"` to
            `"EfficientNetLite4"`, `"ConvNet"`, a plain stack of convolutions for training from
            scratch, or `"hub:PRESET"`, an image backbone of keras-hub, if that is installed.
        class_count: number of classes, at least 2.
        image_size: side of the square input, in pixels.
        weights: `"imagenet"` (downloaded; of keras-hub's backbones, those of the preset), a
            weights file of the backbone without its top, the folder of a bundle, whose backbone is
            used, or None for random weights.
        alpha: width multiplier, for the backbones that have one (MobileNet and its successors).
        filters: channels of each convolution of `ConvNet`; each one halves the resolution.
        head_units: widths of the head's hidden layers; none makes the head linear.
        dropout: rate of the dropout before each dense layer of the head, 0..1.

    Returns:
        A network from raw RGB, `(N, image_size, image_size, 3)` in 0..255, to logits
        `(N, class_count)`.

    Raises:
        NetworkError: if the backbone is unknown, or the weights or sizes do not fit it.
    """
    import keras

    channels_last()
    photos = keras.Input((image_size, image_size, 3), name="photos")
    bundle = weights not in (None, "imagenet") and os.path.isdir(weights)
    start = None if bundle else weights
    trunk, scale, offset, reverse = _backbone(backbone, image_size, start, alpha, filters)
    if bundle:
        _take_backbone(trunk, weights)
    x = photos
    if reverse:
        x = keras.ops.flip(x, axis=-1)
    if scale != [1.0] * 3 or offset != [0.0] * 3:
        x = keras.layers.Rescaling(scale, offset, name="normalization")(x)
    x = keras_hub_backbones.feature_map(trunk, x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    for number, units in enumerate(head_units, start=1):
        x = keras.layers.Dropout(dropout, name=f"head_dropout_{number}")(x)
        x = keras.layers.Dense(units, activation="relu", name=f"head_dense_{number}")(x)
        x = keras.layers.BatchNormalization(name=f"head_norm_{number}")(x)
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    # The softmax and the loss stay in float32 also where the network computes in bfloat16.
    logits = keras.layers.Dense(class_count, dtype="float32", name="logits")(x)
    return keras.Model(photos, logits, name=re.sub(r"[^a-z0-9]+", "_", backbone.lower()))


def load(bundle: str | os.PathLike) -> keras.Model:
    """Load the Keras network of a bundle; nothing in its folder is executed.

    >>> network = load("runs/RUN/bundle")

    Raises:
        NetworkError: if the files cannot be read as a network.
        PresetError: if its backbone is one of keras-hub, which is not installed.
    """
    import keras

    channels_last()
    try:
        return keras.saving.load_model(bundle, compile=False)
    except (OSError, ValueError, TypeError) as error:
        if "keras_hub" in str(error):
            keras_hub_backbones.check_installed()
        raise NetworkError(
            f"no network can be read from {str(bundle)!r}: {reason(error)}"
        ) from error


def backbone_of(network: keras.Model) -> keras.Model:
    """The backbone, which is a model inside `network`.

    >>> backbone_of(network).name
    'efficientnet_lite0'
    """
    import keras

    [backbone] = [layer for layer in network.layers if isinstance(layer, keras.Model)]
    return backbone


def layers_of(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """All layers, including those of nested models.

    >>> names = [layer.name for layer in layers_of(network)]
    """
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from layers_of(layer)
        else:
            yield layer


def parameter_count(network: keras.Model) -> int:
    """The number of parameters, without the moving statistics of BatchNormalization.

    >>> parameter_count(network)
    2991590
    """
    import keras

    norms = [x for x in layers_of(network) if isinstance(x, keras.layers.BatchNormalization)]
    statistics = {id(v) for norm in norms for v in (norm.moving_mean, norm.moving_variance)}
    return sum(math.prod(v.shape) for v in network.weights if id(v) not in statistics)


def head_layers(network: keras.Model) -> list[keras.layers.Layer]:
    """The layers after the pooling, from the embedding `(N, D)` to the logits `(N, C)`.

    >>> [layer.name for layer in head_layers(network)]
    ['dropout', 'logits']
    """
    names = [layer.name for layer in network.layers]
    return network.layers[names.index("pool") + 1 :]


def embedder(network: keras.Model) -> keras.Model:
    """The network before its head, from photos `(N, S, S, 3)` to embeddings `(N, D)`.

    >>> embeddings = embedder(network).predict(photos)
    """
    import keras

    return keras.Model(network.input, network.get_layer("pool").output, name="embedder")


def head(network: keras.Model) -> keras.Model:
    """The head alone, from `(N, D)` to `(N, C)`; it shares its layers with `network`.

    >>> logits = head(network).predict(embeddings)
    """
    import keras

    embedding = keras.Input(network.get_layer("pool").output.shape[1:], name="embedding")
    x = embedding
    for layer in head_layers(network):
        x = layer(x)
    return keras.Model(embedding, x, name="head")


def with_taps(network: keras.Model) -> keras.Model:
    """The same network with all outputs that serving needs.

    >>> logits, embedding, features, class_maps = with_taps(network).predict(photos)

    Returns:
        A network from photos `(N, S, S, 3)` to a list of `logits` `(N, C)`, `embedding` `(N, D)`,
        `features` `(N, h, w, D)`, the last feature map, and `class_maps` `(N, h, w, C)`.

        `class_maps` is how much each position of the feature map speaks for each class. With a
        linear head it is the class-activation map of Zhou et al.
        (https://arxiv.org/abs/1512.04150), whose mean over the positions is the logit. Otherwise
        it is the map of Grad-CAM (Selvaraju et al., https://arxiv.org/abs/1610.02391) before its
        ReLU, which for a linear head would be the same up to a constant.
    """
    import keras

    pool = network.get_layer("pool")
    _, height, width, depth = pool.input.shape
    classes = network.output.shape[-1]
    if sum(isinstance(layer, keras.layers.Dense) for layer in head_layers(network)) == 1:
        places = keras.ops.reshape(pool.input, (-1, depth))  # (N * h * w, D), as the head expects
        class_maps = head(network)(places)
    else:
        places = keras.ops.reshape(pool.input, (-1, height * width, depth))
        class_maps = keras.ops.matmul(places, head_jacobian(network, pool.output))
    class_maps = keras.ops.reshape(class_maps, (-1, height, width, classes))
    return keras.Model(network.input, [network.output, pool.output, pool.input, class_maps])


def head_jacobian(network: keras.Model, embedding: keras.KerasTensor) -> keras.KerasTensor:
    """The Jacobian of the logits with respect to the embedding `(N, D)`: `(N, D, C)`.

    Written out layer by layer, since a graph for serving cannot differentiate.

    >>> jacobian = head_jacobian(network, network.get_layer("pool").output)
    """
    import keras

    x, jacobian = embedding, None
    for layer in head_layers(network):
        x = layer(x)
        if isinstance(layer, keras.layers.Dense):
            kernel = keras.ops.expand_dims(layer.kernel, 0)  # (1, K, U)
            jacobian = kernel if jacobian is None else keras.ops.matmul(jacobian, kernel)
            if layer.activation is keras.activations.relu:
                passed = keras.ops.expand_dims(keras.ops.cast(x > 0, x.dtype), 1)  # (N, 1, U)
                jacobian = keras.ops.multiply(jacobian, passed)
        elif isinstance(layer, keras.layers.BatchNormalization):
            deviation = keras.ops.sqrt(layer.moving_variance + layer.epsilon)
            jacobian = keras.ops.multiply(jacobian, layer.gamma / deviation)
        elif not isinstance(layer, keras.layers.Dropout):
            raise NetworkError(f"a head with {type(layer).__name__} cannot be explained")
    return jacobian


def set_trainable(network: keras.Model, unfreeze: int | None, *, train_norms: bool) -> None:
    """Choose which layers are trained; the head always is.

    >>> set_trainable(network, unfreeze=20, train_norms=False)

    Args:
        unfreeze: how many of the backbone's last layers to train; 0 freezes the backbone, None
            trains all of it.
        train_norms: whether to train the backbone's BatchNormalization layers, too. Frozen ones
            stay in inference mode. Trained ones get a momentum of at most 0.9, so that their
            statistics follow within tens of steps: with the 0.99 or 0.999 of pretrained networks,
            they would lag behind the weights throughout a run of a few hundred steps.
    """
    import keras

    backbone = backbone_of(network)
    layers = backbone.layers
    frozen = 0 if unfreeze is None else max(len(layers) - unfreeze, 0)
    backbone.trainable = True
    for number, layer in enumerate(layers):
        norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = number >= frozen and (train_norms or not norm)
        if norm and layer.trainable:
            layer.momentum = min(layer.momentum, NORM_MOMENTUM)


def _backbone(
    name: str,
    size: int,
    weights: str | os.PathLike | None,
    alpha: float | None,
    filters: tuple[int, ...],
) -> tuple[keras.Model, list[float], list[float], bool]:
    """The backbone and the affine map of its input: scale, offset, whether channels are BGR."""
    if name == CONVNET:
        if weights is not None:
            raise NetworkError("ConvNet is trained from scratch; use --weights none")
        return _convnet(size, filters), [1 / 127.5] * 3, [-1.0] * 3, False
    if name.startswith(keras_hub_backbones.PREFIX):
        return _of_preset(name, size, weights, alpha)
    if name not in backbone_names():
        close = difflib.get_close_matches(name, backbone_names(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "see keras.applications"
        raise NetworkError(f"no backbone is called {name!r}; {hint}")
    function = _applications()[name]
    options = {}
    if alpha is not None:
        if "alpha" not in inspect.signature(function).parameters:
            raise NetworkError(f"{name} has no width multiplier; leave --alpha out")
        options["alpha"] = alpha
    if weights is not None:
        weights = os.fspath(weights)
        if weights != "imagenet" and not os.path.isfile(weights):
            raise NetworkError(
                f"no weights at {weights!r}; give a weights file, a bundle's folder, imagenet or "
                "none to --weights"
            )
    try:
        trunk = function(
            include_top=False,
            weights=weights,
            input_shape=(size, size, 3),
            **options,
        )
    except Exception as error:
        # What Keras says about sizes, files and downloads is about the user's own choices.
        raise NetworkError(
            f"{name} cannot be built at {size} px with weights {weights or 'none'}: {reason(error)}"
        ) from error
    return trunk, *_normalization(inspect.getmodule(function).preprocess_input)


def _of_preset(
    name: str, size: int, weights: str | os.PathLike | None, alpha: float | None
) -> tuple[keras.Model, list[float], list[float], bool]:
    """As `_backbone`, of `hub:PRESET`."""
    if weights not in (None, "imagenet"):
        raise NetworkError(
            f"{name} takes no weights file; give a bundle's folder, imagenet (the preset's own "
            "weights) or none to --weights"
        )
    if alpha is not None:
        raise NetworkError(f"{name} has no width multiplier; leave --alpha out")
    preset = name.removeprefix(keras_hub_backbones.PREFIX)
    trunk = keras_hub_backbones.backbone(preset, size, pretrained=weights is not None)
    return trunk, *_normalization(keras_hub_backbones.preprocessing(preset))


def _take_backbone(trunk: keras.Model, bundle: str | os.PathLike) -> None:
    """Load the weights of a bundle's backbone into `trunk`."""
    theirs = backbone_of(load(bundle)).get_weights()
    if [w.shape for w in theirs] != [w.shape for w in trunk.get_weights()]:
        raise NetworkError(f"the network in {str(bundle)!r} has another backbone than this one")
    trunk.set_weights(theirs)


def _normalization(preprocess_input) -> tuple[list[float], list[float], bool]:
    """Measure the affine map of a Keras Applications `preprocess_input`.

    It is the identity if the network normalises inside its own graph. Measuring it instead of
    keeping a table makes new backbones work without any change here.
    """
    black = preprocess_input(np.zeros((1, 1, 1, 3), "float64"), data_format="channels_last")
    offset = black.reshape(3)
    # Row i of the response is what a unit of input channel i adds to the output channels.
    units = 255.0 * np.eye(3).reshape(3, 1, 1, 3)
    response = preprocess_input(units, data_format="channels_last").reshape(3, 3) - offset
    reverse = not np.any(np.diag(response)[[0, 2]])
    scale = response.max(axis=0) / 255.0
    return [float(v) for v in scale], [float(v) for v in offset], bool(reverse)


def _convnet(size: int, filters: tuple[int, ...]) -> keras.Model:
    """3 x 3 convolutions with BatchNormalization and ReLU; each halves the resolution.

    The first halves it by its stride, which saves most of the work; the others are preceded by
    max-pooling.
    """
    import keras

    if size < 2 ** len(filters):
        raise NetworkError(
            f"ConvNet with {len(filters)} convolutions needs at least {2 ** len(filters)} px"
        )
    x = inputs = keras.Input((size, size, 3))
    for number, width in enumerate(filters, start=1):
        if number > 1:
            x = keras.layers.MaxPooling2D(name=f"pool_{number}")(x)
        x = keras.layers.Conv2D(
            width,
            3,
            strides=2 if number == 1 else 1,
            padding="same",
            use_bias=False,
            name=f"conv_{number}",
        )(x)
        x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"norm_{number}")(x)
        x = keras.layers.ReLU(name=f"relu_{number}")(x)
    return keras.Model(inputs, x, name="backbone")
