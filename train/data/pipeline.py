"""From a source to batches: decode once, then augment and batch with tf.data.

Evaluation inputs are made by the very functions that serve (`flowers_model.photo`). The order of
photos and their augmentation are functions of the seed and the epoch alone.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import tqdm
from PIL import Image

from flowers_model.photo import PhotoError, decode, fit
from train.data.balance import even_draws
from train.devices import processes
from train.sources import SourceError, Split

if TYPE_CHECKING:
    import tensorflow as tf

    from train.data.augment import Mixing, Policy
    from train.loop.distillation import Teaching

log = logging.getLogger("flowers")

UNREADABLE_LIMIT = 0.05  # share of a split's photos that may be skipped
ROOM = 1.25  # training keeps photos this much larger than the input, for random crops
IN_MEMORY = 4 * 2**30  # bytes of decoded photos above which they go to a temporary file


@dataclasses.dataclass(frozen=True)
class Photos:
    """The readable photos of a split, decoded.

    `labels` is int32 `(N,)`, -1 for an outlier. `read(i)` gives photo i, uint8 `(H, W, 3)`; for
    evaluation all have the network's input size and `array`, uint8 `(N, S, S, 3)`, holds them.
    `origins` are those of the split.
    """

    names: list[str]
    labels: np.ndarray
    read: Callable[[int], np.ndarray]
    array: np.ndarray | None = None
    origins: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def evaluation_photos(
    split: Split, title: str, size: int, crop: float, skip_bad: bool = False
) -> Photos:
    """Decode a split just as serving does.

    Raises:
        SourceError: where no photo can be read or, without `skip_bad`, more than 5 % cannot.
    """
    array = _room((len(split), size, size, 3))

    def fitted(data: bytes) -> np.ndarray:
        return fit(decode(data), size, crop)

    kept = _decode(split, title, fitted, array.__setitem__, skip_bad)
    if processes.processes() > 1:
        done = set(processes.share(len(split)))
        array = _OnDemand(array, np.array(kept), lambda i: fitted(split.read(i)), done)
    elif len(kept) < len(split):
        array = array[kept]
    origins = tuple(split.origins[i] for i in kept) if split.origins else ()
    names = [split.names[i] for i in kept]
    return Photos(names, split.labels[kept], array.__getitem__, array, origins)


def training_photos(split: Split, title: str, size: int, skip_bad: bool = False) -> Photos:
    """Decode a split whole, but for photos much larger than the input, which are reduced.

    They stay in memory where they fit; else each is decoded again whenever it is read.

    Raises:
        SourceError: as `evaluation_photos`.
    """
    side = round(ROOM * size)
    photos: dict[int, np.ndarray] = {}
    fits = len(split) * 4 * side**2 <= IN_MEMORY  # 3 channels at 4:3
    keep = photos.__setitem__ if fits else lambda i, photo: None

    def reduced(data: bytes) -> np.ndarray:
        return _reduce(decode(data, at_least=side), side)

    kept = _decode(split, title, reduced, keep, skip_bad)

    def read(i: int) -> np.ndarray:
        i = kept[i]
        if i in photos:
            return photos[i]
        photo = reduced(split.read(i))
        if fits:  # one of another process's share, which checked it
            photos[i] = photo
        return photo

    return Photos([split.names[i] for i in kept], split.labels[kept], read)


def together(first: Photos, second: Photos) -> Photos:
    """The photos of both, in that order."""
    count = len(first)
    return Photos(
        first.names + second.names,
        np.concatenate([first.labels, second.labels]),
        lambda i: first.read(i) if i < count else second.read(i - count),
    )


def readable(split: Split, title: str) -> Split:
    """The photos of a split that can be decoded; how many cannot is logged.

    Raises:
        SourceError: where none can.
    """
    kept = _decode(split, title, decode, lambda i, photo: None, skip_bad=True)
    return split.subset(np.array(kept))


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
    array = _room((total, size, size, 3))
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


def _decode(
    split: Split,
    title: str,
    make: Callable[[bytes], np.ndarray],
    keep: Callable[[int, np.ndarray], None],
    skip_bad: bool,
) -> list[int]:
    """Read every photo and make an array of it, on all cores; the numbers of those that could.

    Of several processes, each takes its share of the photos; all learn which could not be read.
    """

    def one(i: int) -> str | None:
        try:
            keep(i, make(split.read(i)))
        except (PhotoError, OSError) as error:
            return f"{split.names[i]}: {error}"
        return None

    workers = os.cpu_count() or 1
    own = processes.share(len(split))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        bar = progress(pool.map(one, own), f"reading {title}", len(own), "photos")
        answers = list(bar)
    failed = processes.gather(np.array([answer is not None for answer in answers]), len(split))
    reasons = dict(zip(own, answers, strict=True))
    failures = {i: reasons.get(i, split.names[i]) for i in np.flatnonzero(failed)}
    if failures:
        some = "; ".join(list(failures.values())[:3])
        what = f"{len(failures)} of {len(split)} {title} photos cannot be read ({some})"
        if len(failures) == len(split):
            raise SourceError(f"{what}, so none is left: mend the data first")
        if len(failures) > UNREADABLE_LIMIT * len(split) and not skip_bad:
            raise SourceError(
                f"{what}; more than {UNREADABLE_LIMIT:.0%}, so mend the data first, or use the "
                "rest with --skip-bad"
            )
        log.info("skipped: %s", what)
    return [i for i in range(len(split)) if i not in failures]


def progress(
    values: Iterable | None, title: str, total: int, unit: str, done: int = 0
) -> tqdm.tqdm:
    """A progress bar; where nobody watches, a line every 20 seconds."""
    watched = sys.stderr.isatty()
    return tqdm.tqdm(
        values,
        title,
        total,
        initial=done,
        unit=f" {unit}",
        leave=False,
        disable=not processes.is_first(),
        mininterval=0.1 if watched else 20,
        file=sys.stderr,
    )


class _OnDemand:
    """Decoded photos `array[kept]`, of which those not yet `done` are made when they are read."""

    def __init__(
        self,
        array: np.ndarray,
        kept: np.ndarray,
        make: Callable[[int], np.ndarray],
        done: set[int],
    ):
        self.array, self.kept, self.make, self.done = array, kept, make, done

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        rows = self.kept[index]
        missing = [i for i in np.atleast_1d(rows) if i not in self.done]
        if missing:
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                for i, photo in zip(missing, pool.map(self.make, missing), strict=True):
                    self.array[i] = photo
                    self.done.add(i)
        return self.array[rows]


def _reduce(photo: np.ndarray, short_side: int) -> np.ndarray:
    height, width = photo.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return photo
    shape = (max(round(width * scale), short_side), max(round(height * scale), short_side))
    return np.asarray(Image.fromarray(photo).resize(shape, Image.Resampling.BILINEAR))


def _room(shape: tuple[int, ...]) -> np.ndarray:
    """Space for decoded photos: memory, or a temporary file where they would fill it."""
    if np.prod(shape) <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)
