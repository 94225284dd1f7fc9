"""What training does to a photo before the network sees it.

A policy turns a photo into the network's input and is a function of the photo and a seed alone,
so a run that was interrupted sees the same photos when it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    Policy = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    Mixing = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def policy(name: str, size: int, crop_scale: float) -> Policy:
    """The policy of that name.

    It takes a uint8 photo `(H, W, 3)` and an int32 seed `(2,)`, and gives a float32 `(size, size,
    3)` in 0..255. `inception` is a random part of the photo, at least `crop_scale` of its area,
    mirrored half the time, with light changes of brightness, contrast and saturation (Szegedy et
    al., 2014, https://arxiv.org/abs/1409.4842).
    """
    import tensorflow as tf

    def inception(photo: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = tf.random.split(seed, 5)
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(photo),
            tf.zeros((0, 0, 4)),
            seeds[0],
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(crop_scale, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        x = tf.image.resize(tf.slice(photo, begin, extent), (size, size), antialias=True)
        x = tf.image.stateless_random_flip_left_right(x, seeds[1])
        x = tf.image.stateless_random_brightness(x, 25.0, seeds[2])
        x = tf.image.stateless_random_contrast(x, 0.8, 1.25, seeds[3])
        x = tf.image.stateless_random_saturation(x, 0.8, 1.25, seeds[4])
        return tf.clip_by_value(x, 0.0, 255.0)

    return {"inception": inception}[name]


def mixing(name: str) -> Mixing:
    """The way of that name to blend the photos of a batch, and their labels with them.

    It takes float32 photos `(B, S, S, 3)`, one-hot float32 labels `(B, C)` and an int32 seed
    `(2,)`, and gives the like. Each photo gets a partner of the same batch:

    - `mixup` adds the two, the share drawn from Beta(0.2, 0.2) (Zhang et al., 2017,
      https://arxiv.org/abs/1710.09412);
    - `cutmix` pastes a box of the partner, its area drawn evenly (Yun et al., 2019,
      https://arxiv.org/abs/1905.04899).
    """
    import tensorflow as tf

    def blend(x: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
        return x * share + x[::-1] * (1.0 - share)

    def mixup(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
        count = tf.shape(labels)[0]
        seeds = tf.random.split(seed, 2)
        a, b = (tf.random.stateless_gamma((count, 1), s, 0.2) + 1e-9 for s in tf.unstack(seeds))
        share = a / (a + b)
        return blend(photos, share[:, :, None, None]), blend(labels, share)

    def cutmix(photos: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
        count, size = tf.shape(labels)[0], tf.shape(photos)[1]
        area, top, left = tf.unstack(tf.random.stateless_uniform((3, count, 1), seed))
        half = tf.sqrt(area) / 2
        places = (tf.range(tf.cast(size, tf.float32)) + 0.5) / tf.cast(size, tf.float32)
        rows = tf.abs(places - top) < half  # (B, S)
        columns = tf.abs(places - left) < half
        box = rows[:, :, None] & columns[:, None, :]
        share = 1.0 - tf.reduce_mean(tf.cast(box, tf.float32), axis=(1, 2))
        return tf.where(box[..., None], photos[::-1], photos), blend(labels, share[:, None])

    return {"mixup": mixup, "cutmix": cutmix}[name]
