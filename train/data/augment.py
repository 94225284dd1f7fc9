"""Augmentation: what training does to a photo before the network sees it.

A policy turns a photo into the network's input and is a function of the photo and a seed alone, so
a resumed run sees the same photos. A step is a function with `@step(NAME)`; its docstring is its
help. The need for pure functions decides which library each step uses:

- `tf.image.stateless_*`, seeded by nature: crops, brightness, contrast, saturation, hue.
- keras-cv: equalization, contrast stretching, solarization, colour and sharpness in `randaugment`
  and `augmix`. Its layers' `augment_images` is a function of the photos and of numbers that are
  drawn here. Called as layers they draw for themselves: two `RandAugment` of one seed differ.
  Keras's own layers count their calls, which a resumed run could not restore, and its
  `RandAugment` is several times slower.
- Here: all geometry of a step in one bilinear warp, the masks, MixUp and CutMix, and the choice of
  operations in `randaugment` and `augmix`.

`benchmarks/input_pipeline.py` measures photos a second of each beside the libraries' own layers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from flowers_model.errors import UserError
from flowers_model.photo import fit
from train.devices import processes

if TYPE_CHECKING:
    import tensorflow as tf

    Policy = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    Mixing = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

ZOOM_OUT_SHARE = 0.4  # of the photos; the others are cropped
ZOOM_OUT = (1.2, 3.0)  # side of the square, as a multiple of the photo's short side


class Registered(NamedTuple):
    """A step of `--augment`."""

    run: Callable
    kind: str
    about: str  # one line for `--help`: the first sentence of the docstring
    prepare: Callable[[], Any] | None


_REGISTRY: dict[str, Registered] = {}


def step(
    name: str, kind: str = "photo", prepare: Callable[[], Any] | None = None
) -> Callable[[Callable], Callable]:
    """Register a function as the step `name` of `--augment`; its docstring is the step's help.

    Args:
        kind: what the function does:

            - `photo`: `f(x, seed, strength)` changes a float32 photo `(S, S, 3)` in 0..255;
            - `crop`: the same, after a random crop; a policy has at most one such step;
            - `first`: `f(crop, size)` returns a policy that replaces the policy `crop`;
            - `batch`: `f(photos, labels, seed)` mixes the photos and labels of a batch.

        prepare: makes the argument `prepared` of the function, once for each policy.
    """

    def register(function: Callable) -> Callable:
        about = " ".join(function.__doc__.split("\n\n")[0].split()).removesuffix(".")
        _REGISTRY[name] = Registered(function, kind, about, prepare)
        return function

    return register


def steps(names: str) -> list[str]:
    """The steps of a comma-separated list; none for `none`.

    Raises:
        UserError: for a step that does not exist or is given twice, and for two that crop.
    """
    chosen = [] if names == "none" else names.split(",")
    for name in chosen:
        if name not in _REGISTRY:
            known = ", ".join(_REGISTRY)
            raise UserError(f"--augment has no step {name!r}; give none, or some of {known}")
        if chosen.count(name) > 1:
            raise UserError(f"--augment has {name} twice; give it once")
    if len(crops := [name for name in chosen if _REGISTRY[name].kind == "crop"]) > 1:
        raise UserError(f"--augment has {' and '.join(crops)}, which both crop; choose one")
    return chosen


def photo_steps(names: str) -> list[str]:
    """The steps that change single photos; one that crops comes first."""
    chosen = [name for name in steps(names) if _REGISTRY[name].kind != "batch"]
    return sorted(chosen, key=lambda name: _REGISTRY[name].kind != "crop")


def policy(
    names: str, size: int, crop_scale: float, strength: float = 1.0, crop: float = 1.0
) -> Policy:
    """A function that applies the steps of a comma-separated list to one photo, in their order.

    It takes a uint8 photo `(H, W, 3)` and an int32 seed `(2,)`, and returns float32 `(size, size,
    3)` in 0..255. Without a step that crops, the photo is first cropped and resized as in serving.

    Args:
        size: side of the network's input, pixels.
        crop_scale: smallest fraction of a photo's area that a random crop keeps, 0..1.
        strength: factor on the amount of geometric and colour changes; crops and masks are not
            affected. 0 switches all steps off.
        crop: fraction of the short side that serving crops to, 0..1.

    Raises:
        UserError: as `steps`.
    """
    import tensorflow as tf

    names = photo_steps(names) if strength else []

    def plain(photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        photo = tf.numpy_function(
            functools.partial(fit, size=size, crop=crop), [photo], tf.uint8, stateful=False
        )
        return tf.cast(tf.ensure_shape(photo, (size, size, 3)), tf.float32)

    def random_part(photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(photo),
            tf.zeros((0, 0, 4)),
            seed,
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(crop_scale, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        return tf.image.resize(tf.slice(photo, begin, extent), (size, size), antialias=True)

    chosen = [_REGISTRY[name] for name in names]
    first = random_part if chosen and chosen[0].kind == "crop" else plain
    later = []
    for run, kind, _, prepare in chosen:
        if kind == "first":
            first = run(first, size)
        else:
            later.append(functools.partial(run, prepared=prepare()) if prepare else run)

    def augment(photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = tf.unstack(tf.random.split(seed, len(later) + 1))
        x = first(photo, seeds[0])
        for change, own in zip(later, seeds[1:], strict=True):
            x = tf.clip_by_value(change(x, own, strength), 0.0, 255.0)
        return x

    return augment


def mixing(names: str, share: float = 1.0) -> Mixing | None:
    """A function that mixes the photos of a batch, and their labels; None if no step mixes.

    It takes float32 photos `(B, S, S, 3)`, one-hot float32 labels `(B, C)` and an int32 seed
    `(2,)`, and returns mixed photos and labels. Neighbours in the batch are mixed with each other.
    With several processes, each draws the random numbers of the whole batch, so the result is that
    of a single process, provided that each process has an even number of rows.

    Args:
        share: fraction of the batches that is mixed, 0..1; the others stay as they are.

    Raises:
        UserError: as `steps`.
    """
    import tensorflow as tf

    named = [_REGISTRY[name] for name in steps(names)]
    chosen = [one.run for one in named if one.kind == "batch"]
    if not chosen:
        return None

    def blended(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
        for change, own in zip(chosen, tf.unstack(tf.random.split(seed, len(chosen))), strict=True):
            photos, labels = change(photos, labels, own)
        return photos, labels

    def mix(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
        if share == 1:
            return blended(photos, labels, seed)
        chance = tf.random.stateless_uniform((), tf.random.fold_in(seed, 1))
        return tf.cond(
            chance < share, lambda: blended(photos, labels, seed), lambda: (photos, labels)
        )

    return mix


@step("inception", "crop")
def _inception(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """A random crop, mirrored half the time, with slight changes of colour.

    The crop keeps at least `crop_scale` of the photo's area; brightness, contrast and saturation
    change (Szegedy et al., 2014, https://arxiv.org/abs/1409.4842).
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    x = tf.image.stateless_random_flip_left_right(x, seeds[0])
    return _tint(x, seeds[1], strength, brightness=25.0, contrast=1.25, saturation=1.25)


@step("crop", "crop")
def _crop(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """A random crop, mirrored both ways, rotated by up to 36 degrees."""
    return _geometry(x, seed, strength, turn=0.1, mirror=(True, True))


@step("zoomout", "first")
def _zoomout(crop: Policy, size: int) -> Policy:
    """4 of 10 photos are zoomed out instead of cropped, so that flowers appear small.

    The photo is reduced until a square of 1.2 to 3 times its short side fits the input; beyond its
    edges it is mirrored (the expansion of SSD: Liu et al., 2015, https://arxiv.org/abs/1512.02325).
    """
    import tensorflow as tf

    def zoomed_out(photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        draws = tf.unstack(tf.random.stateless_uniform((4,), seed))
        low, high = (math.log(value) for value in ZOOM_OUT)
        short = size / tf.exp(low + (high - low) * draws[0])
        shape = tf.cast(tf.shape(photo)[:2], tf.float32)
        shape = tf.maximum(tf.round(shape * short / tf.reduce_min(shape)), 1.0)
        small = tf.image.resize(photo, tf.cast(shape, tf.int32), antialias=True)
        top, left = tf.unstack((size - shape) * tf.stack(draws[1:3]))
        placed = tf.raw_ops.ImageProjectiveTransformV3(
            images=small[None],
            transforms=[tf.stack([1.0, 0.0, -left, 0.0, 1.0, -top, 0.0, 0.0])],
            output_shape=(size, size),
            fill_value=0.0,
            fill_mode="REFLECT",
            interpolation="BILINEAR",
        )[0]
        return tf.where(draws[3] < 0.5, placed, placed[:, ::-1])

    def first(photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = tf.unstack(tf.random.split(seed, 3))
        x = tf.cond(
            tf.random.stateless_uniform((), seeds[0]) < ZOOM_OUT_SHARE,
            lambda: zoomed_out(photo, seeds[1]),
            lambda: crop(photo, seeds[2]),
        )
        return tf.ensure_shape(x, (size, size, 3))

    return first


@step("light")
def _light(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Mirrored, rotated by up to 36 degrees, scaled and shifted, with changed contrast."""
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    x = _geometry(x, seeds[0], strength, turn=0.1, zoom=0.1, shift=0.1, mirror=(True, False))
    return _tint(x, seeds[1], strength, contrast=1.1)


@step("geometric")
def _geometric(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Rotated by up to 15 degrees, sheared, scaled and shifted by up to a tenth."""
    return _geometry(x, seed, strength, turn=15 / 360, shear=0.1, zoom=0.1, shift=0.1)


@step("color")
def _color(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Changes of brightness, contrast, saturation and, slightly, hue."""
    return _tint(x, seed, strength, brightness=40.0, contrast=1.4, saturation=1.5, hue=0.04)


@step("gridmask")
def _gridmask(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """A rotated grid of squares is filled with the photo's mean colour.

    Chen et al., 2020, https://arxiv.org/abs/2001.04086.
    """
    import tensorflow as tf

    draws = tf.unstack(tf.random.stateless_uniform((5,), seed))
    unit, part = 0.25 + 0.25 * draws[0], 0.3 + 0.2 * draws[1]
    angle = math.pi / 2 * draws[2]
    places = (tf.range(x.shape[0], dtype=tf.float32) + 0.5) / x.shape[0]
    row, column = places[:, None], places[None, :]
    down = tf.cos(angle) * row - tf.sin(angle) * column
    across = tf.sin(angle) * row + tf.cos(angle) * column
    within = tf.math.floormod(down / unit + draws[3], 1.0)
    return _hide(x, tf.maximum(within, tf.math.floormod(across / unit + draws[4], 1.0)) < part)


@step("cutout")
def _cutout(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """One square is filled with the photo's mean colour.

    DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552.
    """
    import tensorflow as tf

    side, top, left = tf.split(tf.random.stateless_uniform((3,), seed), 3)
    box = _boxes(x.shape[0], top, left, 0.25 + 0.25 * side)[0]
    return _hide(x, box)


@step("degrade")
def _degrade(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Low resolution, blur, noise, JPEG artefacts or lost colour, as from poor cameras.

    Each has its own probability, which does not depend on the strength (a choice of the corruptions
    of Hendrycks and Dietterich, 2019, https://arxiv.org/abs/1903.12261).
    """
    import tensorflow as tf

    size, seeds = x.shape[0], tf.unstack(tf.random.split(seed, 3))
    chances = tf.unstack(tf.random.stateless_uniform((5,), seeds[0]))
    amounts = tf.unstack(strength * tf.random.stateless_uniform((4,), seeds[1]))

    def low_resolution() -> tf.Tensor:
        side = tf.cast(size / tf.pow(4.0, amounts[0]), tf.int32)
        small = tf.image.resize(x, tf.stack([side, side]), antialias=True)
        return tf.image.resize(small, (size, size))

    def blurred() -> tf.Tensor:
        places = tf.range(-4.0, 5.0)
        weights = tf.exp(-0.5 * tf.square(places / (size / 224 * (0.3 + 1.7 * amounts[1]))))
        weights /= tf.reduce_sum(weights)
        across = tf.tile(weights[None, :, None, None], (1, 1, 3, 1))
        padded = tf.pad(x, ((4, 4), (4, 4), (0, 0)), "SYMMETRIC")[None]
        for kernel in (across, tf.transpose(across, (1, 0, 2, 3))):
            padded = tf.nn.depthwise_conv2d(padded, kernel, (1, 1, 1, 1), "VALID")
        return padded[0]

    def noisy() -> tf.Tensor:
        return x + 25.0 * amounts[2] * tf.random.stateless_normal(x.shape, seeds[2])

    def compressed() -> tf.Tensor:
        quality = tf.cast(tf.maximum(90.0 - 75.0 * amounts[3], 5.0), tf.int32)
        encoded = tf.image.adjust_jpeg_quality(tf.clip_by_value(x, 0.0, 255.0) / 255.0, quality)
        return 255.0 * encoded

    def grey() -> tf.Tensor:
        return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(x))

    changes = (
        (0.2, low_resolution),
        (0.1, blurred),
        (0.15, noisy),
        (0.2, compressed),
        (0.08, grey),
    )
    for (probability, change), chance in zip(changes, chances, strict=True):
        x = tf.cond(chance < probability, change, lambda x=x: x)
        x = tf.ensure_shape(x, (size, size, 3))
    return x


def _operations() -> list[Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]]:
    """The operations of AutoAugment: functions of a photo, an amount in 0..1, and a sign."""
    # Keras 3.15 has these too, but equalizes slowly and inexactly, and sharpens the borders:
    # `benchmarks/operations.py`.
    import keras_cv
    import tensorflow as tf

    layers, whole = keras_cv.layers, {"value_range": (0, 255), "dtype": "float32"}
    stretch, equalization = layers.AutoContrast(**whole), layers.Equalization(**whole)
    solarization = layers.Solarization(**whole)
    degeneration = layers.RandomColorDegeneration(1.0, dtype="float32")
    sharpness = layers.RandomSharpness(1.0, **whole)

    def pure(layer, x, numbers=None):
        return layer.augment_images(x[None], numbers)[0]

    def fade(x, changed, amount):
        # For operations without an amount; from 0.3 on they are applied in full.
        return x + tf.minimum(amount / 0.3, 1.0) * (changed - x)

    def solarize(x, amount, sign):
        numbers = {"thresholds": 256.0 * (1.0 - amount), "additions": 0.0}
        return pure(solarization, x, numbers)

    def posterize(x, amount, sign):
        step = 2.0 ** tf.round(4.0 * amount)
        return step * tf.floor(x / step)

    def across(value):
        return tf.stack([value, 0.0])

    def down(value):
        return tf.stack([0.0, value])

    return [
        lambda x, a, s: fade(x, pure(stretch, x), a),
        lambda x, a, s: fade(x, pure(equalization, x), a),
        solarize,
        posterize,
        lambda x, a, s: _warp(x, turn=s * a * 30 / 360),
        lambda x, a, s: _warp(x, shear=across(0.3 * s * a)),
        lambda x, a, s: _warp(x, shear=down(0.3 * s * a)),
        lambda x, a, s: _warp(x, shift=across(0.3 * s * a)),
        lambda x, a, s: _warp(x, shift=down(0.3 * s * a)),
        lambda x, a, s: x * (1.0 + 0.9 * s * a),
        lambda x, a, s: tf.image.adjust_contrast(x, 1.0 + 0.9 * s * a),
        lambda x, a, s: pure(degeneration, x, -0.9 * s * a),
        lambda x, a, s: pure(sharpness, x, -0.9 * s * a),
    ]


@step("randaugment", prepare=_operations)
def _randaugment(x: tf.Tensor, seed: tf.Tensor, strength: float, prepared: list) -> tf.Tensor:
    """Two random operations out of thirteen.

    Cubuk et al., 2019, https://arxiv.org/abs/1909.13719.
    """
    import tensorflow as tf

    return _chain(prepared, x, tf.random.split(seed, 2), 2, strength)


@step("augmix", prepare=_operations)
def _augmix(x: tf.Tensor, seed: tf.Tensor, strength: float, prepared: list) -> tf.Tensor:
    """A blend of the photo with three chains of one to three random operations.

    Hendrycks et al., 2019, https://arxiv.org/abs/1912.02781.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 10)
    draws = tf.random.stateless_uniform((7,), seeds[9], minval=1e-6)
    shares = -tf.math.log(draws[:3])  # divided by their sum, they are Dirichlet(1, 1, 1)
    shares /= tf.reduce_sum(shares)
    depths = 1 + tf.cast(3.0 * draws[3:6], tf.int32)
    chains = [
        # The paper leaves out the others, because its corrupted test photos were made with them.
        _chain(prepared[:9], x, seeds[3 * chain :], depths[chain], strength)
        for chain in range(3)
    ]
    mixed = tf.add_n([shares[i] * chain for i, chain in enumerate(chains)])
    return x + draws[6] * (mixed - x)


@step("mixup", "batch")
def _mixup(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Two photos and their labels are averaged with random weights.

    The weight is drawn from Beta(0.2, 0.2) (Zhang et al., 2017, https://arxiv.org/abs/1710.09412).
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    gamma = functools.partial(tf.random.stateless_gamma, alpha=0.2)
    a, b = (_drawn(lambda n, s=s: gamma((n, 1), s), labels) + 1e-9 for s in tf.unstack(seeds))
    share = a / (a + b)
    return _blend(photos, share[:, :, None, None]), _blend(labels, share)


@step("cutmix", "batch")
def _cutmix(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A box of another photo is pasted in; the labels are averaged by area.

    The area is drawn uniformly (Yun et al., 2019, https://arxiv.org/abs/1905.04899).
    """
    import tensorflow as tf

    draws = _drawn(lambda n: tf.random.stateless_uniform((n, 3), seed), labels)
    area, top, left = tf.unstack(draws, axis=1)
    box = _boxes(photos.shape[1], top, left, tf.sqrt(area))
    share = 1.0 - tf.reduce_mean(tf.cast(box, tf.float32), axis=(1, 2))
    return tf.where(box[..., None], _partners(photos), photos), _blend(labels, share[:, None])


def _partners(x: tf.Tensor) -> tf.Tensor:
    """Each row's neighbour in the batch; the last row of an odd number is its own neighbour."""
    import tensorflow as tf

    rows = tf.range(tf.shape(x)[0])
    return tf.gather(x, tf.minimum(tf.bitwise.bitwise_xor(rows, 1), rows[-1]))


def _blend(x: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return x * share + _partners(x) * (1.0 - share)


def _drawn(draw: Callable[[tf.Tensor], tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
    """This process's rows of random numbers drawn for the whole batch."""
    import tensorflow as tf

    rows = tf.shape(labels)[0]
    return draw(rows * processes.processes())[rows * processes.process() :][:rows]


def _tint(
    x: tf.Tensor,
    seed: tf.Tensor,
    strength: float,
    brightness: float = 0.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
) -> tf.Tensor:
    """Change colours at random, by at most these amounts at strength 1.

    Args:
        brightness: added or subtracted, on the scale 0..255.
        contrast, saturation: factors, multiplied or divided by.
        hue: part of a full turn, 0..1.
    """
    import tensorflow as tf

    draws = tf.unstack(strength * tf.random.stateless_uniform((4,), seed, -1.0, 1.0))
    x = x + brightness * draws[0]
    if contrast != 1:
        x = tf.image.adjust_contrast(x, contrast ** draws[1])
    if saturation != 1 or hue:
        # Hue and saturation are defined only within 0..1.
        x = tf.clip_by_value(x, 0.0, 255.0) / 255.0
        x = tf.image.adjust_saturation(x, saturation ** draws[2])
        if hue:
            x = tf.image.adjust_hue(x, tf.clip_by_value(hue * draws[3], -0.5, 0.5))
        x = x * 255.0
    return x


def _geometry(
    x: tf.Tensor,
    seed: tf.Tensor,
    strength: float,
    turn: float,
    shear: float = 0.0,
    zoom: float = 0.0,
    shift: float = 0.0,
    mirror: tuple[bool, bool] = (False, False),
) -> tf.Tensor:
    """Rotate, shear, zoom and shift at random, by at most these amounts at strength 1.

    Args:
        turn: part of a full turn.
        shear, shift: fractions of the side.
        zoom: natural logarithm of the factor.
        mirror: whether to mirror half of the photos, across and down.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    draws = strength * tf.random.stateless_uniform((7,), seeds[0], -1.0, 1.0)
    flips = tf.random.stateless_uniform((2,), seeds[1]) < 0.5
    return _warp(
        x,
        turn=turn * draws[0],
        shear=shear * draws[1:3],
        scale=tf.where(flips & mirror, -1.0, 1.0) * tf.exp(zoom * draws[3:5]),
        shift=shift * draws[5:7],
    )


def _warp(
    x: tf.Tensor,
    turn: float | tf.Tensor = 0.0,
    shear: tuple | tf.Tensor = (0.0, 0.0),
    scale: tuple | tf.Tensor = (1.0, 1.0),
    shift: tuple | tf.Tensor = (0.0, 0.0),
) -> tf.Tensor:
    """Apply all at once, about the centre; beyond its borders the photo is continued mirrored.

    Args:
        x: `(S, S, 3)`.
        turn: part of a full turn, counter-clockwise.
        shear, scale, shift: `(2,)`, across and down; a negative scale mirrors.
    """
    import tensorflow as tf

    angle = 2 * math.pi * tf.convert_to_tensor(turn, tf.float32)
    shear, scale, shift = (tf.convert_to_tensor(v, tf.float32) for v in (shear, scale, shift))
    cos, sin = tf.cos(angle), tf.sin(angle)
    matrix = tf.reshape(tf.stack([cos, -sin, sin, cos]), (2, 2))
    matrix @= tf.reshape(tf.stack([1.0, shear[0], shear[1], 1.0]), (2, 2))
    matrix *= scale  # its columns
    middle = (x.shape[0] - 1) / 2
    offset = middle + shift * x.shape[0] - tf.reduce_sum(matrix, axis=1) * middle
    rows = tf.concat([matrix, offset[:, None]], axis=1)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=x[None],
        transforms=tf.concat([tf.reshape(rows, (1, 6)), tf.zeros((1, 2))], axis=1),
        output_shape=x.shape[:2],
        fill_value=0.0,
        fill_mode="REFLECT",
        interpolation="BILINEAR",
    )[0]


def _hide(x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Fill the mask, bool `(S, S)`, with the photo's mean colour."""
    import tensorflow as tf

    return tf.where(mask[..., None], tf.reduce_mean(x, axis=(0, 1)), x)


def _boxes(size: int, top: tf.Tensor, left: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Masks of squares centred at `(top, left)`, bool `(B, S, S)`.

    Args:
        top, left, side: `(B,)`, fractions of the photo's side.
    """
    import tensorflow as tf

    places = (tf.range(size, dtype=tf.float32) + 0.5) / size
    rows = tf.abs(places - top[:, None]) < side[:, None] / 2
    columns = tf.abs(places - left[:, None]) < side[:, None] / 2
    return rows[:, :, None] & columns[:, None, :]


def _one_of(
    operations: list[Callable], x: tf.Tensor, seed: tf.Tensor, strength: float
) -> tf.Tensor:
    """Apply a random operation, with an average amount of 0.3 at strength 1."""
    import tensorflow as tf

    which, amount, side = tf.unstack(tf.random.stateless_uniform((3,), seed))
    amount = tf.minimum(0.6 * strength * amount, 1.0)
    sign = tf.where(side < 0.5, -1.0, 1.0)
    branches = [functools.partial(operation, x, amount, sign) for operation in operations]
    changed = tf.switch_case(tf.cast(which * len(branches), tf.int32), branches)
    return tf.clip_by_value(tf.ensure_shape(changed, x.shape), 0.0, 255.0)


def _chain(
    operations: list[Callable], x: tf.Tensor, seeds: tf.Tensor, depth: tf.Tensor, strength: float
) -> tf.Tensor:
    """Apply `depth` random operations, one after another."""
    import tensorflow as tf

    def apply_next(place: tf.Tensor, x: tf.Tensor):
        return place + 1, _one_of(operations, x, seeds[place], strength)

    return tf.while_loop(lambda place, x: place < depth, apply_next, (0, x))[1]


# The steps and their help, in the order of the functions above.
STEPS = {name: one.about for name, one in _REGISTRY.items()}
PHOTO_STEPS = tuple(name for name, one in _REGISTRY.items() if one.kind != "batch")
BATCH_STEPS = tuple(name for name, one in _REGISTRY.items() if one.kind == "batch")
