"""Show which parts of a photo decided the answer, by class activation maps.

    python -m flowers_model.explain --model MODEL --output DIR PHOTO

Writes the maps of the four most probable classes as `top.jpg`, and those of all classes, one after
another, as `classes.gif`.
"""

import pathlib
import sys
from collections.abc import Sequence

# Before the slow imports: from here on, Ctrl-C ends in one line.
from flowers_model.command import MODEL_HELP, Parser, reporting_mistakes

# isort: split
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flowers_model.classifier import FlowerClassifier, Photo, softmax
from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from flowers_model.installation import spoken
from flowers_model.photo import decode, fit

TOP = 4  # classes whose maps are shown
CAPTION = 22  # pixels below a picture

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
    """The evidence for a class at each position of a photo.

    >>> class_map(classifier, "photo.jpg", "sunflower").shape
    (7, 7)

    Args:
        label: one of `classifier.label_names`; by default the most likely class.

    Returns:
        float32 `(h, w)` in 0..1, over the square that the network sees: 0 for the least evidence
        and 1 for the most. See `flowers_model.network.with_taps` for how it is computed.

    Raises:
        PhotoError: if the photo cannot be read.
        UserError: if the model does not know the label.
    """
    if label is not None and label not in classifier.label_names:
        raise UserError(f"the model does not know {label!r}: give one of its class names")
    logits, maps = _run(classifier, decode(photo))
    chosen = logits.argmax() if label is None else classifier.label_names.index(label)
    return scaled(maps[..., chosen])


def explain(
    classifier: FlowerClassifier, photo: Photo, label: str | None = None, size: int = 448
) -> Image.Image:
    """The square that the network saw, with the evidence for a class in warm light.

    >>> explain(classifier, "photo.jpg").save("map.jpg")

    Args:
        label: one of `classifier.label_names`; by default the most likely class.
        size: side of the picture, pixels.

    Raises:
        PhotoError: if the photo cannot be read.
        UserError: if the model does not know the label.
    """
    photo = decode(photo)
    return _overlay(_shown(classifier, photo, size), class_map(classifier, photo, label))


def explain_top(
    classifier: FlowerClassifier, photo: Photo, count: int = TOP, size: int = 448
) -> list[tuple[str, float, Image.Image]]:
    """Name, calibrated probability and map (as drawn by `explain`) of the most likely classes.

    >>> for name, probability, picture in explain_top(classifier, "photo.jpg"):
    ...     picture.save(f"{name}.jpg")
    """
    photo = decode(photo)
    logits, maps = _run(classifier, photo)
    shown = _shown(classifier, photo, size)
    probabilities = softmax(logits, classifier.manifest.calibration.temperature)
    order = np.argsort(-probabilities, kind="stable")[:count].tolist()
    pictures = (_overlay(shown, scaled(maps[..., i])) for i in order)
    return [
        (classifier.label_names[i], float(probabilities[i]), picture)
        for i, picture in zip(order, pictures, strict=True)
    ]


def write_gif(
    classifier: FlowerClassifier, photo: Photo, path: pathlib.Path, size: int = 256
) -> None:
    """Write the maps of all classes as an animated GIF with captions, most likely class first.

    All maps have the same scale, so an unlikely class shows little: light marks positions with more
    evidence for the class than for the average class.

    >>> write_gif(classifier, "photo.jpg", pathlib.Path("classes.gif"))
    """
    photo = decode(photo)
    logits, maps = _run(classifier, photo)
    more = maps - maps.mean(axis=-1, keepdims=True)
    heat = np.clip(more / max(more.max(), 1e-6), 0, 1)
    shown = _shown(classifier, photo, size)
    probabilities = softmax(logits, classifier.manifest.calibration.temperature)
    frames = [
        _captioned(
            _overlay(shown, heat[..., i]), f"{classifier.label_names[i]}  {probabilities[i]:.1%}"
        )
        for i in np.argsort(-probabilities, kind="stable").tolist()
    ]
    # All frames have the same palette, or the photo would flicker.
    palette = _beside(frames[:TOP]).quantize(256)
    frames = [frame.quantize(palette=palette) for frame in frames]
    with replacing(path) as temporary:
        frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=500, loop=0)


def _run(classifier: FlowerClassifier, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits `(C,)` and class maps `(h, w, C)` of a decoded photo."""
    inputs = classifier.prepare(photo)[None]
    logits, maps = classifier.engine.run(inputs, ("logits", "class_maps"))
    return logits[0], maps[0]


def scaled(values: np.ndarray) -> np.ndarray:
    """The network's map of one class, `(h, w)`, scaled to 0..1.

    >>> scaled(np.array([[2.0, 4.0]]))
    array([[0., 1.]])
    """
    return (values - values.min()) / max(np.ptp(values), 1e-6)


def _shown(classifier: FlowerClassifier, photo: np.ndarray, size: int) -> np.ndarray:
    return fit(photo, size, classifier.manifest.input.crop)


def _overlay(shown: np.ndarray, heat: np.ndarray) -> Image.Image:
    """A map `(h, w)` in 0..1 over a picture, uint8 `(S, S, 3)`."""
    heat = Image.fromarray(np.rint(255 * heat).astype(np.uint8))
    colour = _PALETTE[np.asarray(heat.resize(shown.shape[:2], Image.Resampling.BICUBIC))]
    mixed = shown * colour[..., 3:] + colour[..., :3]
    return Image.fromarray(np.rint(mixed).astype(np.uint8))


def _beside(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size, side by side."""
    page = Image.new("RGB", (len(pictures) * pictures[0].width, pictures[0].height))
    for number, picture in enumerate(pictures):
        page.paste(picture, (number * picture.width, 0))
    return page


def _captioned(picture: Image.Image, text: str) -> Image.Image:
    page = Image.new("RGB", (picture.width, picture.height + CAPTION), "white")
    page.paste(picture)
    font = ImageFont.load_default(13)
    ImageDraw.Draw(page).text((4, picture.height + 3), text, "black", font)
    return page


@reporting_mistakes
def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(spoken("explain"), description=__doc__)
    parser.add_argument("photo", metavar="PHOTO", help="the photo's file")
    parser.add_argument("--model", required=True, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--output", required=True, type=pathlib.Path, metavar="DIR", help="folder of the pictures"
    )
    options = parser.parse_args(arguments)
    check_output(options.output / "top.jpg")
    classifier = FlowerClassifier.from_pretrained(options.model)
    each = [
        _captioned(picture, f"{name}  {probability:.1%}")
        for name, probability, picture in explain_top(classifier, options.photo, size=336)
    ]
    with replacing(options.output / "top.jpg") as temporary:
        _beside(each).save(temporary, quality=90)
    write_gif(classifier, options.photo, options.output / "classes.gif")
    print(f"look at {options.output / 'top.jpg'} and {options.output / 'classes.gif'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
