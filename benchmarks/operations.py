"""Operations of `randaugment` in keras-cv and in Keras, compared with Pillow on the same photos.

    KERAS_BACKEND=… python benchmarks/operations.py DATA [--photos 60] [--size 224]

DATA has one folder of photos per class. Each row shows how much a library's pixel values (0..255)
differ from Pillow's (mean and 99th percentile), and its CPU time per photo.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Callable

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import keras_cv
import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from flowers_model.photo import fit

VALUES = {"value_range": (0, 255), "dtype": "float32"}
K, CV = keras.layers, keras_cv.layers
# Pillow's operation; keras-cv's layer and its argument; the same for Keras.
OPERATIONS = {
    "AutoContrast": (
        ImageOps.autocontrast,
        (CV.AutoContrast(**VALUES), None),
        (K.AutoContrast(value_range=(0, 255)), None),
    ),
    "Equalization": (
        ImageOps.equalize,
        (CV.Equalization(**VALUES), None),
        (K.Equalization(value_range=(0, 255)), None),
    ),
    "Solarization": (
        lambda photo: ImageOps.solarize(photo, 128),
        (CV.Solarization(**VALUES), {"thresholds": 128.0, "additions": 0.0}),
        (K.Solarization(value_range=(0, 255)), {"thresholds": 128.0, "additions": 0.0}),
    ),
    "ColorDegeneration": (
        lambda photo: ImageEnhance.Color(photo).enhance(0.5),
        (CV.RandomColorDegeneration(1.0, dtype="float32"), 0.5),
        (K.RandomColorDegeneration(1.0, value_range=(0, 255)), {"factor": 0.5}),
    ),
    "Sharpness": (  # Keras doubles the factor
        lambda photo: ImageEnhance.Sharpness(photo).enhance(0.5),
        (CV.RandomSharpness(1.0, **VALUES), 0.5),
        (K.RandomSharpness(1.0, value_range=(0, 255)), {"factor": 0.25}),
    ),
}


def run(photos: np.ndarray, operation: Callable) -> tuple[np.ndarray, float]:
    """The transformed photos, and milliseconds of CPU time per photo."""
    data = tf.data.Dataset.from_tensor_slices(photos).map(lambda photo: operation(photo[None])[0])
    changed = np.stack(list(data.as_numpy_iterator()))  # also traces, before the clock starts
    several = data.repeat(5)
    started = time.process_time()
    count = sum(1 for _ in several.as_numpy_iterator())
    return changed, (time.process_time() - started) * 1000 / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--size", type=int, default=224)
    arguments = parser.parse_args()
    paths = sorted(arguments.data.glob("*/*.jpg"))
    paths = paths[:: max(len(paths) // arguments.photos, 1)][: arguments.photos]
    photos = [
        Image.fromarray(fit(np.asarray(Image.open(path).convert("RGB")), arguments.size))
        for path in paths
    ]
    arrays = np.stack([np.asarray(photo, np.float32) for photo in photos])
    print(f"{'operation':18} {'library':9} {'mean':>6} {'p99':>6} {'ms':>6}")
    for name, (pillow, (cv, given), (layer, numbers)) in OPERATIONS.items():
        right = np.stack([np.asarray(pillow(photo), np.float32) for photo in photos])

        def by_cv(x, cv=cv, given=given):
            return cv.augment_images(x, given)

        def by_keras(x, layer=layer, numbers=numbers):
            layer.backend.set_backend("tensorflow")  # as Keras does for a layer within tf.data
            return layer.transform_images(x, numbers, training=True)

        for library, operation in (("keras-cv", by_cv), ("Keras", by_keras)):
            changed, milliseconds = run(arrays, operation)
            off = np.abs(changed - right)
            p99 = np.quantile(off, 0.99)
            print(f"{name:18} {library:9} {off.mean():6.2f} {p99:6.1f} {milliseconds:6.2f}")


main()
