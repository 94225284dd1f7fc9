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
