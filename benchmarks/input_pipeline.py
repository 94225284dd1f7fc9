"""Photos per second, and per second and core, of each input pipeline stage, compared with Keras.

    KERAS_BACKEND=… python benchmarks/input_pipeline.py DATA [--photos 300] [--size 224]

DATA has one folder of photos per class. Our pipeline decodes once, before the first epoch, and
augments and batches in every epoch. The baseline is `keras.utils.image_dataset_from_directory`,
which decodes in every epoch, with the Keras layer closest to the policy, if any, and the same batch
size. For each policy, the rates of Keras and keras-cv are those of their layer in `tf.data`.

`decode` is reading and decoding; for the baseline it includes batching. Each augmentation is then
timed alone on one decoded photo (ours includes cropping or resizing it; the libraries get it at the
input size). `all` is batches as training gets them; the baseline decodes them again.
"""

import argparse
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import keras_cv
import numpy as np
import tensorflow as tf

from flowers_model.photo import fit
from train.data import pipeline
from train.data.augment import BATCH_STEPS, PHOTO_STEPS, mixing, policy
from train.data.decoding import evaluation_photos, training_photos
from train.sources import Split

BATCH, CROP, CROP_SCALE = 32, 0.875, 0.35
BOUNDS = {"value_range": (0, 255)}
light = (
    keras.layers.RandomFlip("horizontal"),
    keras.layers.RandomRotation(0.1),
    keras.layers.RandomZoom(0.1),
    keras.layers.RandomTranslation(0.1, 0.1),
    keras.layers.RandomContrast(0.1, **BOUNDS),
)
geometric = (
    keras.layers.RandomRotation(15 / 360),
    keras.layers.RandomShear(0.1, 0.1),
    keras.layers.RandomZoom(0.1),
    keras.layers.RandomTranslation(0.1, 0.1),
)
jitter = {"brightness_factor": 0.2, "contrast_factor": 0.4, "saturation_factor": 0.4}
KERAS = {
    "none": (),
    "light": light,
    "geometric": geometric,
    "color": (keras.layers.RandomColorJitter(**BOUNDS, **jitter, hue_factor=0.04),),
    "cutout": (keras.layers.RandomErasing(**BOUNDS),),
    "randaugment": (keras.layers.RandAugment(num_ops=2, factor=0.3),),
    "augmix": (keras.layers.AugMix(),),
    "mixup": (keras.layers.MixUp(),),
    "cutmix": (keras.layers.CutMix(),),
}
cv = keras_cv.layers
KERAS_CV = {
    "light": (
        cv.RandomFlip("horizontal"),
        cv.RandomRotation(0.1),
        cv.RandomZoom(0.1),
        cv.RandomTranslation(0.1, 0.1),
        cv.RandomContrast((0, 255), 0.1),
    ),
    "geometric": (
        cv.RandomRotation(15 / 360),
        cv.RandomShear(0.1, 0.1),
        cv.RandomZoom(0.1),
        cv.RandomTranslation(0.1, 0.1),
    ),
    "color": (cv.RandomColorJitter((0, 255), 0.2, 0.4, 0.4, 0.04),),
    "gridmask": (cv.GridMask(),),
    "cutout": (cv.RandomCutout(0.4, 0.4),),
    "randaugment": (cv.RandAugment((0, 255), augmentations_per_image=2, magnitude=0.3),),
    "augmix": (cv.AugMix((0, 255)),),
}


def rate(data: tf.data.Dataset, photos_each: int, limit: float) -> float:
    """Photos per second from `data`; the first element is a warm-up and not timed."""
    elements = iter(data.prefetch(2))
    next(elements)
    started = time.perf_counter()
    count, seconds = 0, 0.0
    while seconds < limit:
        next(elements)
        count, seconds = count + 1, time.perf_counter() - started
    return count * photos_each / seconds


def photos_under(folder: pathlib.Path, count: int) -> Split:
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    files = files[:: max(len(files) // count, 1)][:count]
    classes = sorted({path.parent.name for path in files})
    labels = np.array([classes.index(path.parent.name) for path in files], np.int32)
    names = tuple(path.name for path in files)
    return Split(names, labels, lambda i: files[i].read_bytes())


def with_layers(photos: tf.data.Dataset, layers: tuple) -> tf.data.Dataset:
    def apply(photo: tf.Tensor) -> tf.Tensor:
        for layer in layers:
            photo = layer(photo, training=True)
        return photo

    return photos.map(apply, num_parallel_calls=tf.data.AUTOTUNE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--photos", type=int, default=300, help="photos to decode (300)")
    parser.add_argument("--size", type=int, default=224, help="side of the input in pixels (224)")
    parser.add_argument("--seconds", type=float, default=3, help="time per measurement (3)")
    options = parser.parse_args()
    size, limit = options.size, options.seconds
    keras.utils.set_random_seed(0)

    split = photos_under(options.data, options.photos)
    started = time.perf_counter()
    whole = training_photos(split, "train", size)
    decode = len(whole) / (time.perf_counter() - started)
    plain = keras.utils.image_dataset_from_directory(
        options.data,
        image_size=(size, size),
        crop_to_aspect_ratio=True,
        batch_size=BATCH,
        verbose=0,
    ).repeat()
    read = rate(plain, BATCH, limit)
    cores = os.cpu_count() or 1
    print(f"{cores} cores, {len(whole)} photos at {size} px, photos per second")
    print(
        f"{'':12} {'ours':>8} {'/core':>7} {'Keras':>8} {'ratio':>6} {'keras-cv':>9} {'ratio':>6}"
    )

    def show(title: str, ours: float, keras: float | None, keras_cv: float | None) -> None:
        columns = [f"{title:12} {ours:8.0f} {ours / cores:7.0f}"]
        for other, width in ((keras, 8), (keras_cv, 9)):
            some = f"{other:{width}.0f} {ours / other:6.1f}" if other else " " * (width + 7)
            columns.append(some)
        print(*columns, flush=True)

    show("decode", decode, read, None)

    fitted = tf.constant(fit(whole.read(0), size, CROP), tf.float32)
    single = tf.data.Dataset.from_tensors(fitted).repeat()
    for name in PHOTO_STEPS:
        augment = policy(name, size, CROP_SCALE, crop=CROP)
        seeded = tf.data.Dataset.from_tensors(whole.read(0)).repeat().enumerate()
        ours = seeded.map(
            lambda number, photo, augment=augment: augment(
                photo, tf.stack([0, tf.cast(number, tf.int32)])
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        others = [
            rate(with_layers(single, layers[name]), 1, limit) if name in layers else None
            for layers in (KERAS, KERAS_CV)
        ]
        show(name, rate(ours, 1, limit), *others)

    labels = tf.one_hot(np.arange(BATCH), BATCH)
    batch = {"images": tf.stack([fitted] * BATCH), "labels": labels}
    for name in BATCH_STEPS:
        mix = mixing(name)
        seeded = tf.data.Dataset.from_tensors(batch).repeat().enumerate()
        ours = seeded.map(
            lambda number, batch, mix=mix: mix(
                batch["images"], batch["labels"], tf.stack([0, tf.cast(number, tf.int32)])
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        theirs = with_layers(tf.data.Dataset.from_tensors(batch).repeat(), KERAS[name])
        show(name, rate(ours, BATCH, limit), rate(theirs, BATCH, limit), None)

    ready = evaluation_photos(split, "train", size, CROP)

    def whole_batches(names: str) -> tf.data.Dataset:
        as_is = names == "none"
        return pipeline.training_batches(
            ready if as_is else whole,
            int(whole.labels.max()) + 1,
            pipeline.Order(BATCH, seed=0, epochs=1000),
            None if as_is else pipeline.Views(policy(names, size, CROP_SCALE, crop=CROP), size, 0),
        )

    images = plain.map(lambda images, labels: images)
    for name in ("none", "light", "color", "randaugment"):
        theirs = rate(with_layers(images, KERAS[name]), BATCH, limit)
        show(f"all, {name[:8]}", rate(whole_batches(name), BATCH, limit), theirs, None)


if __name__ == "__main__":
    main()
