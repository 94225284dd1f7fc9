"""Where the network looked: class-activation maps over the photo."""

import numpy as np
from PIL import Image

from flowers_model.classifier import FlowerClassifier, Photo
from flowers_model.errors import UserError
from flowers_model.photo import decode, fit

# From transparent blue to warm yellow; the photo stays visible under all of it.
_STOPS = (0.0, 0.35, 0.7, 1.0)
_COLOURS = ((38, 52, 148), (90, 20, 160), (240, 90, 40), (255, 224, 70))
_OPACITIES = (0.0, 0.12, 0.45, 0.62)
_HEAT = np.linspace(0, 1, 256)
_OPACITY = np.interp(_HEAT, _STOPS, _OPACITIES)
_COLOUR = [np.interp(_HEAT, _STOPS, channel) for channel in zip(*_COLOURS, strict=True)]
# float32 (256, 4): red, green and blue times the opacity, and what is left of the photo.
_PALETTE = np.stack([*np.multiply(_COLOUR, _OPACITY), 1 - _OPACITY], axis=1).astype(np.float32)


def class_map(classifier: FlowerClassifier, photo: Photo, label: str | None = None) -> np.ndarray:
    """How much each place of the photo speaks for a class.

    Args:
        label: one of `classifier.label_names`; the likeliest class where None.

    Returns:
        float32 `(h, w)` in 0..1, over the square that the network sees. 0 is the place that
        speaks least for the class and 1 the one that speaks most. See
        `flowers_model.network.with_taps` for what it is made of.

    Raises:
        PhotoError: for what is no photo.
        UserError: for a name that the model does not know.
    """
    if label is not None and label not in classifier.label_names:
        raise UserError(f"the model knows no {label!r}")
    inputs = classifier.prepare(photo)[None]
    logits, maps = classifier.engine.run(inputs, ("logits", "class_maps"))
    chosen = logits[0].argmax() if label is None else classifier.label_names.index(label)
    values = maps[0, :, :, chosen]
    return (values - values.min()) / max(np.ptp(values), 1e-6)


def explain(
    classifier: FlowerClassifier, photo: Photo, label: str | None = None, size: int = 448
) -> Image.Image:
    """The square that the network saw, with the places that spoke for a class in warm light.

    Args:
        label: one of `classifier.label_names`; the likeliest class where None.
        size: side of the picture, pixels.

    Raises:
        PhotoError: for what is no photo.
        UserError: for a name that the model does not know.
    """
    photo = decode(photo)
    heat = np.rint(255 * class_map(classifier, photo, label)).astype(np.uint8)
    heat = Image.fromarray(heat).resize((size, size), Image.Resampling.BICUBIC)
    colour = _PALETTE[np.asarray(heat)]
    shown = fit(photo, size, classifier.manifest.input.crop)
    mixed = shown * colour[..., 3:] + colour[..., :3]
    return Image.fromarray(np.rint(mixed).astype(np.uint8))
