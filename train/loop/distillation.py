"""Distillation: half of each label is made of the probabilities of trained models.

The teachers see exactly the photos that the network is trained on, with the same crops and mixes
(Hinton et al., 2015, https://arxiv.org/abs/1503.02531; why they must be the same: Beyer et al.,
2021, https://arxiv.org/abs/2106.05237).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flowers_model.classifier import FlowerClassifier, softmax
from flowers_model.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from train.data.pipeline import Teaching

SHARE = 0.5  # the teachers' share of a label


def teaching(names: Sequence[str], class_names: Sequence[str], image_size: int) -> Teaching | None:
    """A function that mixes the teachers' mean probabilities into labels; None without teachers.

    It takes float32 photos `(B, S, S, 3)` in 0..255 and labels `(B, C)`, and returns the unchanged
    photos and the mean of the labels and the teachers' probabilities. Teachers are not calibrated,
    because that would sharpen their probabilities.

    Args:
        names: the teachers, folders of bundles or Hub repos.
        class_names: the C classes of the labels; a teacher may know more.
        image_size: side of the photos in pixels.

    Raises:
        UserError: if a teacher cannot be opened, has another input size, or does not know a class.
    """
    import tensorflow as tf

    if not names:
        return None
    teachers = []
    for name in names:
        model = FlowerClassifier.from_pretrained(name)
        if model.manifest.input.size != image_size:
            raise UserError(
                f"--teacher {name} has an input size of {model.manifest.input.size} pixels; "
                f"--image-size must be the same, not {image_size}"
            )
        if unknown := set(class_names) - set(model.label_names):
            raise UserError(f"--teacher {name} does not know {min(unknown)!r}, a class of --data")
        teachers.append((model.engine, [model.label_names.index(name) for name in class_names]))

    def mean_probabilities(photos: np.ndarray) -> np.ndarray:
        each = [softmax(engine.run(photos)[0][:, order], 1.0) for engine, order in teachers]
        return np.mean(each, axis=0).astype(np.float32)

    def teach(photos: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        theirs = tf.numpy_function(mean_probabilities, [photos], tf.float32, stateful=False)
        return photos, SHARE * tf.ensure_shape(theirs, labels.shape) + (1 - SHARE) * labels

    return teach
