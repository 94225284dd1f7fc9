"""From decoded photos to batches: augment and batch with tf.data.

The order of photos (`Order`) and their augmentation (`Views`) depend only on the seed and the
epoch, so a resumed run sees the same batches as one that was not interrupted.
"""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Views:
    """The augmented views of photos: a new one each time, a function of photo, seed and count.

    Attributes:
        augment: a policy of `train.data.augment`.
        size: side of the views, pixels.
        seed: random seed.
        plain: the policy for photos of other than rare classes, if only rare ones are augmented.
        rare: bool `(C,)`, which classes are rare; given together with `plain`.
    """

    augment: Policy
    size: int
    seed: int
    plain: Policy | None = None
    rare: np.ndarray | None = None

    def of(self, photos: Photos) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """A function that returns a view, float32 `(S, S, 3)` in 0..255.

        It takes the photo's index and the number of photos that training has seen before.
        """
        import tensorflow as tf

        outliers = photos.labels < 0
        rare = True if self.rare is None else self.rare[photos.labels]
        augmented = tf.constant(outliers | rare)

        def view(index: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
            photo = tf.numpy_function(photos.read, [index], tf.uint8, stateful=False)
            photo.set_shape((None, None, 3))
            own = tf.stack([tf.constant(self.seed, tf.int32), number])
            if self.plain is None:
                return self.augment(photo, own)
            return tf.cond(
                augmented[index],
                lambda: self.augment(photo, own),
                lambda: self.plain(photo, own),
            )

        return view


@dataclasses.dataclass(frozen=True)
class Order:
    """The order in which training reads photos, a function of the seed and the epoch.

    Attributes:
        batch_size: photos per step, over all devices and processes.
        seed: random seed of the shuffles.
        oversample: draw all classes equally often.
        first_epoch, epochs: the first epoch, and the end of the range (exclusive).
        first_step: number of batches that are skipped in the first epoch.
    """

    batch_size: int
    seed: int
    oversample: bool = False
    first_epoch: int = 0
    epochs: int = 1
    first_step: int = 0

    def of_epoch(self, labels: np.ndarray, epoch: int) -> np.ndarray:
        """The indices of an epoch's photos, int64, batch after batch.

        Each photo comes at most once. With `oversample` there are as many indices, but equally
        many of each class.

        Args:
            labels: labels of the photos, int `(N,)`.
        """
        taken = steps(len(labels), self.batch_size) * min(self.batch_size, len(labels))
        photos = np.arange(len(labels))
        if self.oversample:
            photos = even_draws(labels, self.seed, epoch * taken, (epoch + 1) * taken)
        return np.random.default_rng([self.seed, epoch]).permutation(photos)[:taken]

    def of_run(self, labels: np.ndarray) -> tf.data.Dataset:
        """A dataset of each photo's index, int64, and the number of photos before it, int32.

        With several processes, each gets its rows of every batch. Only one epoch is in memory at
        a time.
        """
        import tensorflow as tf

        batch = min(self.batch_size, len(labels))

        def shuffled(epoch: np.int64) -> tuple[np.ndarray, np.ndarray]:
            indices = self.of_epoch(labels, int(epoch))
            numbers = (epoch * len(indices) + np.arange(len(indices))).astype(np.int32)
            skipped = self.first_step * batch if epoch == self.first_epoch else 0
            return tuple(
                processes.own_rows(values[skipped:], batch) for values in (indices, numbers)
            )

        def one(epoch: tf.Tensor) -> tf.data.Dataset:
            both = tf.numpy_function(shuffled, [epoch], (tf.int64, tf.int32), stateful=False)
            return tf.data.Dataset.from_tensor_slices(
                tuple(tf.ensure_shape(x, (None,)) for x in both)
            )

        return tf.data.Dataset.range(self.first_epoch, self.epochs).flat_map(one)


def augmented_views(photos: Photos, views: Views, count: int) -> Photos:
    """`count` views of each photo, uint8 at the network's input size.

    With several processes, each computes its share of them.
    """
    import tensorflow as tf

    view_of = views.of(photos)

    def view(number: tf.Tensor) -> tf.Tensor:
        x = view_of(number // count, tf.cast(number, tf.int32))
        return tf.cast(tf.round(x), tf.uint8)

    total = len(photos) * count
    array = allocate((total, views.size, views.size, 3))
    own = processes.share(total)
    data = tf.data.Dataset.from_tensor_slices(own).map(view, num_parallel_calls=tf.data.AUTOTUNE)
    bar = progress(data.as_numpy_iterator(), "augmenting", len(own), "photos")
    for i, x in zip(own, bar, strict=True):
        array[i] = x
    names = [f"{name} (view {number})" for name in photos.names for number in range(count)]
    return Photos(names, np.repeat(photos.labels, count), array.__getitem__, array)


def training_batches(
    photos: Photos,
    class_count: int,
    order: Order,
    views: Views | None = None,
    *,
    mix: Mixing | None = None,
    teach: Teaching | None = None,
    weights: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches of float32 photos `(B, S, S, 3)` in 0..255 and float32 labels `(B, C)`.

    Labels are one-hot; those of outliers are uniform over all classes (outlier exposure:
    Hendrycks et al., 2018, https://arxiv.org/abs/1812.04606).

    Each epoch has `steps(len(photos), order.batch_size)` batches. With several processes, each
    makes its rows of every batch (`train.devices.processes`).

    Args:
        views: augmented views of the photos; None for the decoded photos, which must then have the
            network's input size.
        mix: mixes the photos and labels of a batch.
        teach: returns new photos and labels of a batch, for distillation.
        weights: class weights in the loss, float32 `(C,)`; batches then have a third part, float32
            `(B,)`, the class weights averaged by each photo's label.
    """
    import tensorflow as tf

    view = None if views is None else views.of(photos)
    size = len(photos.read(0)) if views is None else views.size
    labels = tf.constant(photos.labels)
    batch_size = min(order.batch_size, len(photos))

    def load(index: tf.Tensor, number: tf.Tensor):
        if view is None:
            photo = tf.numpy_function(photos.read, [index], tf.uint8, stateful=False)
            x = tf.cast(photo, tf.float32)
        else:
            x = view(index, number)
        label = labels[index]
        label = tf.where(label < 0, 1.0 / class_count, tf.one_hot(label, class_count))
        return tf.ensure_shape(x, (size, size, 3)), label

    data = order.of_run(photos.labels)
    data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    data = data.batch(batch_size // processes.processes(), drop_remainder=True)
    if mix is not None:
        first = order.first_epoch * steps(len(photos), batch_size) + order.first_step
        data = data.enumerate(first).map(
            lambda number, batch: mix(*batch, tf.stack([order.seed, tf.cast(number, tf.int32)])),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
    if teach is not None:
        data = data.map(teach)
    return _weighted(data, weights).prefetch(2)


def feature_batches(
    features: np.ndarray,
    labels: np.ndarray,
    class_count: int,
    order: Order,
    weights: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches of features `(B, D)` and one-hot float32 labels `(B, C)`; see `training_batches`."""
    import tensorflow as tf

    batch_size = min(order.batch_size, len(labels))
    data = order.of_run(labels)
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
    """Steps per epoch; an incomplete last batch is dropped."""
    return max(count // batch_size, 1)


def _weighted(data: tf.data.Dataset, weights: np.ndarray | None) -> tf.data.Dataset:
    import tensorflow as tf

    if weights is None:
        return data
    return data.map(lambda x, labels: (x, labels, tf.linalg.matvec(labels, weights)))
