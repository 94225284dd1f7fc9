"""Image backbones of keras-hub, by the name or the folder of a preset: `--backbone hub:PRESET`.

    dinov2_base                      a preset of keras-hub, which it downloads
    hf://USER/MODEL, kaggle://...    one of the Hub or of Kaggle
    ./folder                         one that `save_to_preset` has written

They are layers of keras-hub, so it must be installed wherever Keras opens such a network; the ONNX
network serves without it.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from flowers_model.errors import UserError, reason
from flowers_model.installation import install_line

if TYPE_CHECKING:
    import keras

PREFIX = "hub:"


class PresetError(UserError):
    """A preset cannot be used as a backbone."""


def check_installed() -> None:
    """Check that keras-hub is installed.

    Raises:
        PresetError: if it is not, with the command that installs it.
    """
    if importlib.util.find_spec("keras_hub") is None:
        raise PresetError(f"this backbone needs keras-hub: {install_line('backbones')}")


def backbone(preset: str, size: int, *, pretrained: bool) -> keras.Model:
    """The backbone of a preset, for photos of this size.

    >>> backbone("dinov2_base", 224, pretrained=True).name
    'dinov2_backbone'

    Args:
        size: side of the square input, in pixels.
        pretrained: whether it has the preset's weights; else they are random.

    Raises:
        PresetError: if there is no such preset, or it has no feature map at this size.
    """
    check_installed()
    try:
        import keras_hub

        shape = (size, size, 3)
        built = keras_hub.models.Backbone.from_preset(
            preset, load_weights=pretrained, image_shape=shape
        )
        patch = _patch(built)
        if patch and size % patch:
            raise PresetError(
                f"{preset} takes patches of {patch} px: --image-size must be a multiple of that, "
                f"such as {max(round(size / patch), 1) * patch}"
            )
        built = _at_its_size(built, shape)
    except UserError:
        raise
    except Exception as error:
        # What keras-hub says about presets, sizes and downloads is about the user's own choices.
        raise PresetError(
            f"no backbone of {size} px from the preset {preset!r}: {reason(error)}"
        ) from error
    rank = len(getattr(built.output, "shape", ()))
    if rank != 4 and not (rank == 3 and patch):
        raise PresetError(f"the backbone of {preset!r} gives no feature map of a photo")
    return built


def preprocessing(preset: str):
    """What scales photos for the backbone of a preset, as `preprocess_input` of Keras Applications.

    Raises:
        PresetError: if the preset does not say how.
    """
    import keras_hub

    try:
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
    except Exception as error:
        raise PresetError(
            f"the preset {preset!r} does not say how photos are scaled (image_converter.json): "
            f"{reason(error)}"
        ) from error
    converter.image_size = None  # photos come at their size

    def preprocess_input(photos: np.ndarray, data_format: str) -> np.ndarray:
        import keras

        return keras.ops.convert_to_numpy(converter(photos.astype("float32"))).astype("float64")

    return preprocess_input


def feature_map(trunk: keras.Model, photos: keras.KerasTensor) -> keras.KerasTensor:
    """The last feature map `(N, h, w, D)` of a backbone.

    A transformer's is made of the tokens of its patches. Where it has a class token, that stands
    beside each patch, in channels of its own, so that the mean over the map is the mean of the
    patches beside the class token (Oquab et al., 2023, https://arxiv.org/abs/2304.07193).
    """
    import keras

    output = trunk({"images": photos} if isinstance(trunk.input, dict) else photos)
    if len(output.shape) == 4:
        return output
    side = photos.shape[1] // _patch(trunk)
    others = output.shape[1] - side**2  # the class token first, then registers
    if others:
        first = keras.layers.Cropping1D((0, output.shape[1] - 1), name="class_token")(output)
        first = keras.layers.Flatten(name="class_token_flat")(first)
        first = keras.layers.RepeatVector(side**2, name="class_token_repeated")(first)
        output = keras.layers.Cropping1D((others, 0), name="patches")(output)
        output = keras.layers.Concatenate(name="patches_and_class_token")([output, first])
    return keras.layers.Reshape((side, side, output.shape[-1]), name="feature_map")(output)


def _patch(trunk: keras.Model) -> int | None:
    """The side of a transformer's patches in pixels; None of other backbones."""
    patch = getattr(trunk, "patch_size", None)
    return patch[0] if isinstance(patch, tuple | list) else patch


def _at_its_size(built: keras.Model, shape: tuple[int, int, int]) -> keras.Model:
    """The same backbone with position embeddings of this size alone.

    keras-hub keeps those of DINOv2 at the size that they were trained at, and resizes trained ones
    to that and back at each saving, which changes them.
    """
    import keras

    config = built.get_config()
    if tuple(config.get("position_embedding_shape", shape))[:2] == shape[:2]:
        return built
    fixed = type(built).from_config(config | {"position_embedding_shape": shape})
    values = {one.path: one for one in built.weights}
    for weight in fixed.weights:
        path = weight.path.replace("/position_embeddings", "/interpolated_position_embeddings")
        # As an array of its own: training gives each weight's memory away, under JAX.
        weight.assign(keras.ops.convert_to_numpy(values[path]))
    return fixed
