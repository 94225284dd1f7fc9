"""Export a bundle to LiteRT: `python -m flowers_model.export --format litert BUNDLE`.

The .tflite files are written by Keras's exporter, which needs TensorFlow. They take one photo,
float32 `(1, S, S, 3)` in 0..255, as made by `flowers_model.photo.fit`, and return calibrated
`probabilities` `(1, C)` and `embedding` `(1, D)`. LiteRT models can contain files, like a ZIP:
these contain `labels.txt`, one name per line in the order of the probabilities, and
`classifier.json`, the bundle's manifest.
"""

from __future__ import annotations

import os
import pathlib
import warnings
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from flowers_model import bundle
from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.photo import decode, fit

if TYPE_CHECKING:
    import keras

# The largest allowed difference in probability, by precision.
TOLERANCES = {"float32": 1e-3, "float16": 2e-2}
CHECKED = 16  # photos of the gallery


def write_litert(folder: str | os.PathLike) -> dict[str, tuple[pathlib.Path, float]]:
    """Write `model.tflite` and `model-float16.tflite` into a bundle, from its Keras network.

    Requires the TensorFlow backend of Keras.

    Returns:
        By precision, the file and the largest difference of its probabilities from the network's,
        on photos of the gallery and on noise.

    Raises:
        UserError: if LiteRT lacks an operation of the network, or if a file's answers differ from
            the network's; then no file of that precision is written.
    """
    import keras
    import tensorflow as tf

    from flowers_model import network

    folder = pathlib.Path(folder)
    manifest = bundle.check(folder)
    net = network.load(folder)
    scaled = net.output / manifest.calibration.temperature
    outputs = {
        "probabilities": keras.layers.Softmax(dtype="float32")(scaled),
        "embedding": net.get_layer("pool").output,
    }
    whole = keras.Model(net.input, outputs)
    photos = _photos(folder, manifest)
    expected = np.concatenate(
        [np.asarray(whole(photo[None], training=False)["probabilities"]) for photo in photos]
    )
    size = manifest.input.size
    signature = [keras.InputSpec(shape=(1, size, size, 3), dtype="float32", name="photos")]
    half = {
        "optimizations": [tf.lite.Optimize.DEFAULT],
        "target_spec": {"supported_types": [tf.float16]},
    }
    written = {}
    for precision, settings in (("float32", {"target_spec": {}}), ("float16", half)):
        # Other operations would need TensorFlow on the phone.
        settings["target_spec"]["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS]
        name = "model.tflite" if precision == "float32" else f"model-{precision}.tflite"
        with replacing(folder / name) as path:
            temporary = path.with_name(f"{path.name}.tflite")
            try:
                _convert(whole, temporary, signature, settings)
                difference = float(np.abs(_answers(temporary, photos) - expected).max())
                if not difference <= TOLERANCES[precision]:
                    raise UserError(
                        f"LiteRT in {precision} differs from the network by {difference:.2g} in "
                        "probability"
                    )
                with zipfile.ZipFile(temporary, "a") as inside:
                    labels = "".join(f"{label}\n" for label in manifest.class_names)
                    inside.writestr("labels.txt", labels)
                    inside.write(folder / bundle.MANIFEST, bundle.MANIFEST)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        written[precision] = (folder / name, difference)
    return written


def _convert(whole: keras.Model, path: pathlib.Path, signature: list, settings: dict) -> None:
    try:
        whole.export(
            str(path), format="litert", verbose=False, input_signature=signature, **settings
        )
    except Exception as error:  # the converter has no exception class of its own
        last = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"this network cannot be exported to LiteRT: {last[-1]}") from error


def _photos(folder: pathlib.Path, manifest: bundle.Manifest) -> np.ndarray:
    """The photos on which network and file are compared, float32 `(N, S, S, 3)`."""
    size, crop = manifest.input.size, manifest.input.crop
    noise = np.random.default_rng(0).integers(0, 256, (4, size, size, 3))
    known = bundle.read_gallery(folder).photos
    chosen = known[:: max(1, len(known) // CHECKED)][:CHECKED]
    photos = [fit(decode(folder / "gallery" / one.file), size, crop) for one in chosen]
    return np.stack([*photos, *noise]).astype(np.float32)


def _answers(path: pathlib.Path, photos: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    with warnings.catch_warnings():
        # TensorFlow asks to install ai-edge-litert, which has the same interpreter.
        warnings.filterwarnings("ignore", message="(?s).*tf.lite.Interpreter is deprecated")
        run = tf.lite.Interpreter(str(path)).get_signature_runner()
    [name] = run.get_input_details()
    return np.concatenate([run(**{name: photo[None]})["probabilities"] for photo in photos])
