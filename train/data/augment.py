"""What training does to a photo before the network sees it.

A policy turns a photo into the network's input and is a function of the photo and a seed alone,
so a run that was interrupted sees the same photos when it goes on. That decides what is whose:

- `tf.image.stateless_*`, seeded by nature: crops, brightness, contrast, saturation, hue.
- keras-cv: equalization, contrast stretching, solarization, colour and sharpness of `randaugment`
  and `augmix`. Its layers' `augment_images` is a function of the photos and of numbers that are
  drawn here. Called as layers they draw for themselves: two `RandAugment` of one seed differ.
  Keras's own layers count their calls, which a resumed run cannot go on with, and its
  `RandAugment` is several times slower.
- Here: all geometry of a step in one bilinear warp, the masks, MixUp and CutMix, and the choice of
  operations in `randaugment` and `augmix`.

`benchmarks/input_pipeline.py` measures photos a second of each beside the libraries' own layers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowers_model.errors import UserError
from flowers_model.photo import fit
from train.devices import processes

if TYPE_CHECKING:
    import tensorflow as tf

    Policy = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    Step = Callable[[tf.Tensor, tf.Tensor, float], tf.Tensor]
    Mixing = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

CROPS = ("inception", "crop")
PHOTO_STEPS = (
    *CROPS,
    "zoomout",
    "light",
    "geometric",
    "color",
    "gridmask",
    "cutout",
    "degrade",
    "randaugment",
    "augmix",
)
BATCH_STEPS = ("mixup", "cutmix")
ZOOM_OUT_SHARE = 0.4  # of the photos; the others are cropped as the other steps say
ZOOM_OUT = (1.2, 3.0)  # side of the square, in short sides of the photo


def steps(names: str) -> list[str]:
    """The steps of a comma list, each once; none of `none`.

    Raises:
        UserError: for a step that does not exist, comes twice, or crops after another that crops.
    """
    chosen = [] if names == "none" else names.split(",")
    for name in chosen:
        if name not in PHOTO_STEPS + BATCH_STEPS:
            known = ", ".join(PHOTO_STEPS + BATCH_STEPS)
            raise UserError(f"--augment has no step {name!r}; give none, or some of {known}")
        if chosen.count(name) > 1:
            raise UserError(f"--augment has {name} twice; once is enough")
    if all(name in chosen for name in CROPS):
        raise UserError(f"--augment has {' and '.join(CROPS)}, which both crop; choose one")
    return chosen


def photo_steps(names: str) -> list[str]:
    """Those of the steps that change one photo; the one that crops comes first."""
    chosen = [name for name in steps(names) if name in PHOTO_STEPS]
    return sorted(chosen, key=lambda name: name not in CROPS)


def policy(
    names: str, size: int, crop_scale: float, strength: float = 1.0, crop: float = 1.0
) -> Policy:
    """What the steps of a comma list do to one photo, one after the other.

    It takes a uint8 photo `(H, W, 3)` and an int32 seed `(2,)`, and gives a float32 `(size, size,
    3)` in 0..255. Where no step crops, the photo is fitted first as in serving.

    - `inception`: a random part of the photo, at least `crop_scale` of its area, mirrored half the
      time, with light changes of brightness, contrast and saturation (Szegedy et al., 2014,
      https://arxiv.org/abs/1409.4842).
    - `crop`: a random part, mirrored left to right and upside down, turned by up to 36 degrees.
    - `zoomout`: instead of a crop, 4 photos of 10 become a square of 1.2 to 3 times their short
      side, mirrored beyond their edges and half the time left to right: flowers as small as in a
      photo of a whole garden (the expansion of SSD: Liu et al., 2015,
      https://arxiv.org/abs/1512.02325).
    - `light`: mirrored; turned by up to 36 degrees; sides and place changed by up to a tenth,
      contrast too.
    - `geometric`: turned by up to 15 degrees, sheared, sides and place changed by up to a tenth.
    - `color`: brightness, contrast, saturation and, a little, hue.
    - `degrade`: now and then a low resolution, blur, noise, JPEG artefacts or no colour: thumbnails
      and poor cameras (a choice of the corruptions of Hendrycks and Dietterich, 2019,
      https://arxiv.org/abs/1903.12261).
    - `gridmask`: a turned grid of squares hidden behind the photo's mean colour (Chen et al.,
      2020, https://arxiv.org/abs/2001.04086).
    - `cutout`: one square hidden so (DeVries and Taylor, 2017, https://arxiv.org/abs/1708.04552).
    - `randaugment`: two random operations of thirteen (Cubuk et al., 2019,
      https://arxiv.org/abs/1909.13719).
    - `augmix`: a blend of the photo with three chains of one to three operations (Hendrycks et
      al., 2019, https://arxiv.org/abs/1912.02781).

    Args:
        size: side of the network's input, pixels.
        crop_scale: smallest share of a photo's area that a random crop keeps, 0..1.
        strength: what the amounts of geometric and colour changes are multiplied by; crops and
            masks keep theirs. At 0 the photo is only fitted.
        crop: share of the short side that serving looks at, 0..1.

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

    first = random_part if names and names[0] in CROPS else plain
    if "zoomout" in names:
        first = _sometimes_zoomed_out(first, size)
    later = [_step(name) for name in names if name != "zoomout"]

    def augment(photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = tf.unstack(tf.random.split(seed, len(later) + 1))
        x = first(photo, seeds[0])
        for step, own in zip(later, seeds[1:], strict=True):
            x = tf.clip_by_value(step(x, own, strength), 0.0, 255.0)
        return x

    return augment


def mixing(names: str, share: float = 1.0) -> Mixing | None:
    """How the steps of a comma list blend the photos of a batch, and their labels with them.

    It takes float32 photos `(B, S, S, 3)`, one-hot float32 labels `(B, C)` and an int32 seed
    `(2,)`, and gives the like; None where no step blends. Neighbours are each other's partner, and
    of several processes each draws for the whole batch, so that they blend as one process does,
    where each has an even number of rows:

    - `mixup` adds the two, the share drawn from Beta(0.2, 0.2) (Zhang et al., 2017,
      https://arxiv.org/abs/1710.09412);
    - `cutmix` pastes a box of the partner, its area drawn evenly (Yun et al., 2019,
      https://arxiv.org/abs/1905.04899).

    Args:
        share: of the batches that are blended, 0..1; the others stay as they are.

    Raises:
        UserError: as `steps`.
    """
    import tensorflow as tf

    def partners(x: tf.Tensor) -> tf.Tensor:
        rows = tf.range(tf.shape(x)[0])
        # The last of an odd number of photos is left to itself.
        return tf.gather(x, tf.minimum(tf.bitwise.bitwise_xor(rows, 1), rows[-1]))

    def blend(x: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        return x * share + partners(x) * (1.0 - share)

    def drawn(draw: Callable[[tf.Tensor], tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
        """Of what is drawn for so many rows of the whole batch, this process's."""
        rows = tf.shape(labels)[0]
        return draw(rows * processes.processes())[rows * processes.process() :][:rows]

    def mixup(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
        seeds = tf.random.split(seed, 2)
        gamma = functools.partial(tf.random.stateless_gamma, alpha=0.2)
        a, b = (drawn(lambda n, s=s: gamma((n, 1), s), labels) + 1e-9 for s in tf.unstack(seeds))
        share = a / (a + b)
        return blend(photos, share[:, :, None, None]), blend(labels, share)

    def cutmix(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
        draws = drawn(lambda n: tf.random.stateless_uniform((n, 3), seed), labels)
        area, top, left = tf.unstack(draws, axis=1)
        box = _boxes(photos.shape[1], top, left, tf.sqrt(area))
        share = 1.0 - tf.reduce_mean(tf.cast(box, tf.float32), axis=(1, 2))
        return tf.where(box[..., None], partners(photos), photos), blend(labels, share[:, None])

    chosen = [{"mixup": mixup, "cutmix": cutmix}[n] for n in steps(names) if n in BATCH_STEPS]
    if not chosen:
        return None

    def blended(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
        for step, own in zip(chosen, tf.unstack(tf.random.split(seed, len(chosen))), strict=True):
            photos, labels = step(photos, labels, own)
        return photos, labels

    def mix(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
        if share == 1:
            return blended(photos, labels, seed)
        chance = tf.random.stateless_uniform((), tf.random.fold_in(seed, 1))
        return tf.cond(
            chance < share, lambda: blended(photos, labels, seed), lambda: (photos, labels)
        )

    return mix


def _step(name: str) -> Step:
    """What a step does to a float32 photo `(S, S, 3)` in 0..255, its crop apart."""
    if name in ("randaugment", "augmix"):
        return {"randaugment": _randaugment, "augmix": _augmix}[name](_operations())
    return {
        "inception": _inception,
        "crop": functools.partial(_geometry, turn=0.1, mirror=(True, True)),
        "light": _light,
        "geometric": functools.partial(_geometry, turn=15 / 360, shear=0.1, zoom=0.1, shift=0.1),
        "color": _color,
        "degrade": _degrade,
        "gridmask": _gridmask,
        "cutout": _cutout,
    }[name]


def _inception(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    x = tf.image.stateless_random_flip_left_right(x, seeds[0])
    return _tint(x, seeds[1], strength, brightness=25.0, contrast=1.25, saturation=1.25)


def _light(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    x = _geometry(x, seeds[0], strength, turn=0.1, zoom=0.1, shift=0.1, mirror=(True, False))
    return _tint(x, seeds[1], strength, contrast=1.1)


def _color(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    return _tint(x, seed, strength, brightness=40.0, contrast=1.4, saturation=1.5, hue=0.04)


def _tint(
    x: tf.Tensor,
    seed: tf.Tensor,
    strength: float,
    brightness: float = 0.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
) -> tf.Tensor:
    """Colours changed by up to so much: added, multiplied or divided by; hue as a turn, 0..1."""
    import tensorflow as tf

    draws = tf.unstack(strength * tf.random.stateless_uniform((4,), seed, -1.0, 1.0))
    x = x + brightness * draws[0]
    if contrast != 1:
        x = tf.image.adjust_contrast(x, contrast ** draws[1])
    if saturation != 1 or hue:
        # Hue and saturation are defined within 0..1 alone.
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
    """Turned, sheared, zoomed and moved by up to so much, in turns and in shares of the side."""
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
    """All at once about the middle; what lies beyond the border is the photo mirrored.

    Args:
        x: `(S, S, 3)`.
        turn: in turns, counter-clockwise.
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


def _sometimes_zoomed_out(crop: Policy, size: int) -> Policy:
    """Zoomed out for `ZOOM_OUT_SHARE` of the photos, else as `crop` has it."""
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


def _degrade(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Each of five with its own probability, which does not depend on the strength."""
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

    steps = ((0.2, low_resolution), (0.1, blurred), (0.15, noisy), (0.2, compressed), (0.08, grey))
    for (probability, step), chance in zip(steps, chances, strict=True):
        x = tf.ensure_shape(tf.cond(chance < probability, step, lambda x=x: x), (size, size, 3))
    return x


def _cutout(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    import tensorflow as tf

    side, top, left = tf.split(tf.random.stateless_uniform((3,), seed), 3)
    box = _boxes(x.shape[0], top, left, 0.25 + 0.25 * side)[0]
    return _hide(x, box)


def _gridmask(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
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


def _hide(x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The photo with its mean colour where the mask, bool `(S, S)`, is."""
    import tensorflow as tf

    return tf.where(mask[..., None], tf.reduce_mean(x, axis=(0, 1)), x)


def _boxes(size: int, top: tf.Tensor, left: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Squares about `(top, left)`, all `(B,)` in shares of the photo's side, bool `(B, S, S)`."""
    import tensorflow as tf

    places = (tf.range(size, dtype=tf.float32) + 0.5) / size
    rows = tf.abs(places - top[:, None]) < side[:, None] / 2
    columns = tf.abs(places - left[:, None]) < side[:, None] / 2
    return rows[:, :, None] & columns[:, None, :]


def _operations() -> list[Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]]:
    """The operations of AutoAugment, each of a photo, an amount 0..1 and a sign, -1 or 1."""
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
        # These have no amount of their own; at 0.3 and above they are applied in full.
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


def _one_of(
    operations: list[Callable], x: tf.Tensor, seed: tf.Tensor, strength: float
) -> tf.Tensor:
    """A random one of the operations, by an amount of 0.3 on average at strength 1."""
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
    """So many random operations, one after the other."""
    import tensorflow as tf

    def longer(place: tf.Tensor, x: tf.Tensor):
        return place + 1, _one_of(operations, x, seeds[place], strength)

    return tf.while_loop(lambda place, x: place < depth, longer, (0, x))[1]


def _randaugment(operations: list[Callable]) -> Step:
    import tensorflow as tf

    def step(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
        return _chain(operations, x, tf.random.split(seed, 2), 2, strength)

    return step


def _augmix(operations: list[Callable]) -> Step:
    import tensorflow as tf

    def step(x: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
        seeds = tf.random.split(seed, 10)
        draws = tf.random.stateless_uniform((7,), seeds[9], minval=1e-6)
        shares = -tf.math.log(draws[:3])  # Dirichlet(1, 1, 1), once they are divided by their sum
        shares /= tf.reduce_sum(shares)
        depths = 1 + tf.cast(3.0 * draws[3:6], tf.int32)
        chains = [
            # The others are what the paper's corrupted test photos were made with.
            _chain(operations[:9], x, seeds[3 * chain :], depths[chain], strength)
            for chain in range(3)
        ]
        mixed = tf.add_n([shares[i] * chain for i, chain in enumerate(chains)])
        return x + draws[6] * (mixed - x)

    return step
