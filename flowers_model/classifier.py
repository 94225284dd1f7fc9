"""A trained flower model, opened from a folder or from the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from flowers_model import hub
from flowers_model.bundle import Manifest, read_manifest
from flowers_model.engine import Engine, open_engine
from flowers_model.errors import UserError
from flowers_model.photo import decode, fit

Photo = bytes | str | os.PathLike | Image.Image | np.ndarray


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a photo shows, the likeliest name first."""

    labels: list[str]
    probabilities: list[float]  # calibrated, 0..1, highest first


class FlowerClassifier:
    """Names flowers in photos.

    Example:

    >>> classifier = FlowerClassifier.from_pretrained("USER/MODEL")
    >>> [prediction] = classifier.classify("photo.jpg")
    >>> prediction.labels[0], prediction.probabilities[0]
    """

    def __init__(self, folder: pathlib.Path, manifest: Manifest, engine: Engine):
        self.folder = folder
        self.manifest = manifest
        self.engine = engine

    @classmethod
    def from_pretrained(
        cls,
        folder_or_repo: str | os.PathLike,
        revision: str | None = None,
        engine: str = "onnx",
    ) -> FlowerClassifier:
        """Open a bundle.

        Args:
            folder_or_repo: a bundle's folder, or a Hub repo `USER/MODEL` or
                `USER/MODEL@REVISION`, which is fetched once and cached.
            revision: branch, tag or commit of a Hub repo.
            engine: `"onnx"` (fast; loads neither Keras nor its backends) or `"keras"`.

        Raises:
            HubError: for what cannot be fetched.
            BundleError: for a folder that is not a whole, valid bundle.
        """
        folder = hub.fetch(folder_or_repo, revision)
        return cls(folder, read_manifest(folder), open_engine(folder, engine))

    @property
    def label_names(self) -> list[str]:
        """The names of all classes, in the order of the logits."""
        return self.manifest.class_names

    def prepare(self, photo: Photo) -> np.ndarray:
        """Decode and fit one photo: the network's input, uint8 `(S, S, 3)`.

        Raises:
            PhotoError: for what is no photo.
        """
        return fit(decode(photo), self.manifest.input.size, self.manifest.input.crop)

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float64 `(N, C)`, of prepared photos, uint8 `(N, S, S, 3)`."""
        [logits] = self.engine.run(inputs)
        return softmax(logits, self.manifest.calibration.temperature)

    def classify(self, photos: Photo | Sequence[Photo], top: int = 5) -> list[Prediction]:
        """Name the flowers in photos.

        Args:
            photos: files, bytes, PIL images or arrays as `flowers_model.photo.decode` takes them.
                A single photo is taken as a list of one.
            top: how many names to give; all classes where there are fewer.

        Returns:
            A prediction a photo, in their order.

        Raises:
            PhotoError: for what is no photo.
        """
        if isinstance(photos, Photo):
            photos = [photos]
        if top < 1:
            raise UserError(f"top must be at least 1, not {top}")
        if not len(photos):
            return []
        probabilities = self.probabilities(np.stack([self.prepare(photo) for photo in photos]))
        return [self._prediction(row, top) for row in probabilities]

    def _prediction(self, probabilities: np.ndarray, top: int) -> Prediction:
        order = np.argsort(-probabilities, kind="stable")[:top]
        return Prediction(
            labels=[self.label_names[i] for i in order],
            probabilities=[float(probabilities[i]) for i in order],
        )


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """`softmax(logits / temperature)` over the last axis, in float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)
