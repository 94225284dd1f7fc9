"""From a source to batches: decode once, then augment and batch with tf.data.

Evaluation inputs are made by the very functions that serve (`flowers_model.photo`). The order of
photos and their augmentation are functions of the seed and the epoch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from train.data.balance import even_draws
from train.data.decoding import Photos, allocate
from train.devices import processes
from train.devices.progress import progress

if TYPE_CHECKING:
    import tensorflow as tf

    from train.data.augment import Mixing, Policy

    Teaching = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def augmented_views(
    photos: Photos,
    augment: Policy,
    size: int,
    count: int,
    seed: int,
    *,
    plain: Policy | None = None,
    rare: np.ndarray | None = None,
) -> Photos:
    """`count` augmented views of each photo, at the network's input size.

    Of several processes, each makes its share of them alone.

    `plain` and `rare` as in `training_batches`.
    """
    import tensorflow as tf

    look = _look(photos, augment, plain, rare, seed)

    def view(number: tf.Tensor) -> tf.Tensor:
        x = look(number // count, tf.cast(number, tf.int32))
        return tf.cast(tf.round(x), tf.uint8)

    total = len(photos) * count
    array = allocate((total, size, size, 3))
    own = processes.share(total)
    views = tf.data.Dataset.from_tensor_slices(own).map(view, num_parallel_calls=tf.data.AUTOTUNE)
    bar = progress(views.as_numpy_iterator(), "augmenting", len(own), "photos")
    for i, x in zip(own, bar, strict=True):
        array[i] = x
    names = [f"{name} (view {number})" for name in photos.names for number in range(count)]
    return Photos(names, np.repeat(photos.labels, count), array.__getitem__, array)


def training_batches(
    photos: Photos,
    class_count: int,
    *,
    augment: Policy | None,
    size: int,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    first_step: int = 0,
    mix: Mixing | None = None,
    teach: Teaching | None = None,
    plain: Policy | None = None,
    rare: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    oversample: bool = False,
) -> tf.data.Dataset:
    """Batches of float32 `(B, S, S, 3)` in 0..255 and one-hot float32 `(B, C)`, epoch on epoch.

    The label of an outlier is spread evenly over all classes (outlier exposure: Hendrycks et al.,
    2018, https://arxiv.org/abs/1812.04606).

    Each epoch has `steps(len(photos), batch_size)` batches; of several processes, each makes its
    rows of every batch (`train.devices.processes`).

    Args:
        first_step: how many batches of the first epoch are left out.
        augment: a policy of `train.data.augment`, or None for photos of the input's size already.
        mix: blends the photos of a batch, if any.
        teach: makes labels of a batch's photos and labels, if any.
        plain: the policy of photos whose class is not among the `rare`, bool `(C,)`, if any.
        weights: of each class in the loss, float32 `(C,)`; batches then have a third part, float32
            `(B,)`: the weights by the shares of a photo's label.
        oversample: draw all classes equally often.
    """
    import tensorflow as tf

    look = _look(photos, augment, plain, rare, seed) if augment is not None else None
    labels = tf.constant(photos.labels)
    batch_size = min(batch_size, len(photos))

    def load(index: tf.Tensor, number: tf.Tensor):
        if look is None:
            photo = tf.numpy_function(photos.read, [index], tf.uint8, stateful=False)
            x = tf.cast(photo, tf.float32)
        else:
            x = look(index, number)
        label = labels[index]
        label = tf.where(label < 0, 1.0 / class_count, tf.one_hot(label, class_count))
        return tf.ensure_shape(x, (size, size, 3)), label

    data = _order(photos.labels, batch_size, seed, first_epoch, epochs, first_step, oversample)
    data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    data = data.batch(batch_size // processes.processes(), drop_remainder=True)
    if mix is not None:
        first = first_epoch * steps(len(photos), batch_size) + first_step
        data = data.enumerate(first).map(
            lambda number, batch: mix(*batch, tf.stack([seed, tf.cast(number, tf.int32)])),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    if teach is not None:
        data = data.map(teach)
    return _weighted(data, weights).prefetch(2)


def _look(
    photos: Photos, augment: Policy, plain: Policy | None, rare: np.ndarray | None, seed: int
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Photo `index` as number `number` of those that training sees."""
    import tensorflow as tf

    outliers = photos.labels < 0
    augmented = tf.constant(outliers | (True if rare is None else rare[photos.labels]))

    def look(index: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        photo = tf.numpy_function(photos.read, [index], tf.uint8, stateful=False)
        photo.set_shape((None, None, 3))
        own = tf.stack([tf.constant(seed, tf.int32), number])
        if plain is None:
            return augment(photo, own)
        return tf.cond(augmented[index], lambda: augment(photo, own), lambda: plain(photo, own))

    return look


def _weighted(data: tf.data.Dataset, weights: np.ndarray | None) -> tf.data.Dataset:
    import tensorflow as tf

    if weights is None:
        return data
    return data.map(lambda x, labels: (x, labels, tf.linalg.matvec(labels, weights)))


def feature_batches(
    features: np.ndarray,
    labels: np.ndarray,
    class_count: int,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    first_step: int = 0,
    weights: np.ndarray | None = None,
    oversample: bool = False,
) -> tf.data.Dataset:
    """Batches of features `(B, D)` and one-hot float32 `(B, C)`, in `training_batches`'s order.

    `first_step`, `weights` and `oversample` as there.
    """
    import tensorflow as tf

    batch_size = min(batch_size, len(labels))
    data = _order(labels, batch_size, seed, first_epoch, epochs, first_step, oversample)
    data = data.batch(batch_size // processes.processes(), drop_remainder=True)
    features, labels = tf.constant(features), tf.constant(labels)
    data = data.map(
        lambda batch, _: (
            tf.gather(features, batch),
            tf.one_hot(tf.gather(labels, batch), class_count),
        )
    )
    return _weighted(data, weights).prefetch(8)


def steps(count: int, batch_size: int) -> int:
    """Steps an epoch; the photos that do not fill a batch wait for the next epoch's shuffle."""
    return max(count // batch_size, 1)


def epoch_order(
    labels: np.ndarray, batch_size: int, seed: int, epoch: int, oversample: bool = False
) -> np.ndarray:
    """The order of photos in an epoch, int64, all of its batches one after another.

    Each photo comes at most once; with `oversample` there are as many, but equally many of each
    class.

    Args:
        labels: of the photos, int `(N,)`.
    """
    taken = steps(len(labels), batch_size) * min(batch_size, len(labels))
    photos = np.arange(len(labels))
    if oversample:
        photos = even_draws(labels, seed, epoch * taken, (epoch + 1) * taken)
    return np.random.default_rng([seed, epoch]).permutation(photos)[:taken]


def _order(
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    first_step: int,
    oversample: bool,
) -> tf.data.Dataset:
    """Which photo comes next, int64, and as which of all that training sees, int32.

    Of several processes, each has its rows of every batch. One epoch is in memory at a time.
    """
    import tensorflow as tf

    def shuffled(epoch: np.int64) -> tuple[np.ndarray, np.ndarray]:
        indices = epoch_order(labels, batch_size, seed, int(epoch), oversample)
        numbers = (epoch * len(indices) + np.arange(len(indices))).astype(np.int32)
        skipped = first_step * batch_size if epoch == first_epoch else 0
        return tuple(
            processes.own_rows(values[skipped:], batch_size) for values in (indices, numbers)
        )

    def one(epoch: tf.Tensor) -> tf.data.Dataset:
        both = tf.numpy_function(shuffled, [epoch], (tf.int64, tf.int32), stateful=False)
        return tf.data.Dataset.from_tensor_slices(tuple(tf.ensure_shape(x, (None,)) for x in both))

    return tf.data.Dataset.range(first_epoch, epochs).flat_map(one)
