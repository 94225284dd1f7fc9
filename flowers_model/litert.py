"""Write a bundle's network for phones: `python -m flowers_model.export --format litert BUNDLE`.

The files are LiteRT's (.tflite), by Keras's own exporter, which needs TensorFlow. They take one
photo, float32 `(1, S, S, 3)` in 0..255, fitted as `flowers_model.photo.fit` does, and give
`probabilities` `(1, C)`, calibrated, and `embedding` `(1, D)`. Inside each, as files of a ZIP,
which is how LiteRT models carry files, are `labels.txt`, a name a line in the order of the
probabilities, and `classifier.json`, the bundle's manifest.
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

# By how much a probability may differ from the network's, by precision.
TOLERANCES = {"float32": 1e-3, "float16": 2e-2}
CHECKED = 16  # photos of the gallery


def write_litert(folder: str | os.PathLike) -> dict[str, tuple[pathlib.Path, float]]:
    """Write `model.tflite` and `model-float16.tflite` into a bundle, from its Keras network.

    Keras has to run on TensorFlow.

    Returns:
        By precision, the file and how much its probabilities differ from the network's at most, on
        photos of the gallery and on noise.

    Raises:
        UserError: for a network that LiteRT's own operations do not cover, and where a file answers
            otherwise than the network; none of that precision is written then.
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
        # Others would need TensorFlow itself on the phone.
        settings["target_spec"]["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS]
        name = "model.tflite" if precision == "float32" else f"model-{precision}.tflite"
        with replacing(folder / name) as path:
            temporary = path.with_name(f"{path.name}.tflite")
            try:
                _convert(whole, temporary, signature, settings)
                difference = float(np.abs(_answers(temporary, photos) - expected).max())
                if not difference <= TOLERANCES[precision]:
                    raise UserError(
                        f"LiteRT in {precision} answers otherwise than the network: its "
                        f"probabilities differ by {difference:.2g}"
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
    except Exception as error:  # the converter has no kind of error of its own
        last = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"this network cannot be written for LiteRT: {last[-1]}") from error


def _photos(folder: pathlib.Path, manifest: bundle.Manifest) -> np.ndarray:
    """What the network and the file are compared on, float32 `(N, S, S, 3)`."""
    size, crop = manifest.input.size, manifest.input.crop
    noise = np.random.default_rng(0).integers(0, 256, (4, size, size, 3))
    known = bundle.read_gallery(folder).photos
    chosen = known[:: max(1, len(known) // CHECKED)][:CHECKED]
    photos = [fit(decode(folder / "gallery" / one.file), size, crop) for one in chosen]
    return np.stack([*photos, *noise]).astype(np.float32)


def _answers(path: pathlib.Path, photos: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    with warnings.catch_warnings():
        # TensorFlow would have its users install ai-edge-litert, for the same interpreter.
        warnings.filterwarnings("ignore", message="(?s).*tf.lite.Interpreter is deprecated")
        run = tf.lite.Interpreter(str(path)).get_signature_runner()
    [name] = run.get_input_details()
    return np.concatenate([run(**{name: photo[None]})["probabilities"] for photo in photos])
