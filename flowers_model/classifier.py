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
from flowers_model.uncertainty import (
    directions,
    label_sets,
    raw_score,
    read_reference,
    refusal_score,
)

# The bundle that comes with the code: Oxford's 102 flowers.
DEFAULT = pathlib.Path(__file__).with_name("default")

Photo = bytes | str | os.PathLike | Image.Image | np.ndarray


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a photo shows, the likeliest name first.

    Refusal and label set are as the bundle was calibrated; one that was not refuses nothing.
    """

    labels: list[str]
    probabilities: list[float]  # calibrated, 0..1, highest first
    refused: bool = False  # it does not look like a flower that the model knows
    refusal_score: float | None = None  # 0: like the median flower; above 1: refused
    label_set: list[str] | None = None  # holds the right name for 9 photos of 10
    display_names: dict[str, str] = dataclasses.field(default_factory=dict)  # as in the manifest

    def shown(self, label: str) -> str:
        """What to call a class to people: its display name where it has one, else its own."""
        return self.display_names.get(label, label)


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model says of N photos.

    Attributes:
        probabilities: calibrated, float64 `(N, C)`.
        embeddings: float32 `(N, D)`.
        refusal_scores: float64 `(N,)`, above 1 is refused; None where the bundle has no such score.
        label_sets: bool `(N, C)`; None where the bundle has none.
        logits: float32 `(N, C)`; None where the probabilities are averages.
    """

    probabilities: np.ndarray
    embeddings: np.ndarray
    refusal_scores: np.ndarray | None = None
    label_sets: np.ndarray | None = None
    logits: np.ndarray | None = None

    def subset(self, rows: np.ndarray) -> Answers:
        """What it says of the photos `rows`, int `(n,)`."""
        return Answers(**{k: None if v is None else v[rows] for k, v in vars(self).items()})


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
        refusal = manifest.calibration.refusal
        by_distance = refusal is not None and refusal.score == "distance"
        self._means = read_reference(folder) if by_distance else None

    @classmethod
    def from_pretrained(
        cls,
        folder_or_repo: str | os.PathLike = DEFAULT,
        revision: str | None = None,
        engine: str = "onnx",
    ) -> FlowerClassifier:
        """Open a bundle.

        Args:
            folder_or_repo: a bundle's folder, or a Hub repo `USER/MODEL` or
                `USER/MODEL@REVISION`, which is fetched once and cached. By default the bundle
                that comes with the code, which knows Oxford's 102 flowers.
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

    def answer(self, inputs: np.ndarray) -> Answers:
        """What the model says of prepared photos, uint8 `(N, S, S, 3)`."""
        return self.judge(*self.engine.run(inputs, ("logits", "embedding")))

    def judge(self, logits: np.ndarray, embeddings: np.ndarray) -> Answers:
        """What the model makes of its network's outputs, `(N, C)` and `(N, D)`."""
        calibration = self.manifest.calibration
        temperature, refusal = calibration.temperature, calibration.refusal
        probabilities = softmax(logits, temperature)
        scores = sets = None
        if refusal is not None:
            raw = raw_score(refusal.score, logits, embeddings, temperature, self._means)
            scores = refusal_score(raw, refusal)
        if calibration.label_sets is not None:
            sets = label_sets(probabilities, calibration.label_sets.limit)
        return Answers(probabilities, embeddings, scores, sets, logits)

    def together(self, answers: Answers) -> Answers:
        """What photos of one plant say together, as the answer to one photo: N becomes 1.

        Calibrated log-probabilities are averaged, and so are refusal scores and the directions of
        embeddings.
        """
        logs = np.log(np.maximum(answers.probabilities, np.finfo(np.float64).tiny))
        probabilities = softmax(logs.mean(axis=0, keepdims=True))
        embedding = directions(answers.embeddings).mean(axis=0, keepdims=True, dtype=np.float32)
        scores = sets = None
        if answers.refusal_scores is not None:
            scores = answers.refusal_scores.mean(keepdims=True)
        if answers.label_sets is not None:
            sets = label_sets(probabilities, self.manifest.calibration.label_sets.limit)
        return Answers(probabilities, embedding, scores, sets)

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
        answers = self.answer(np.stack([self.prepare(photo) for photo in photos]))
        return self.predictions(answers, top)

    def predictions(self, answers: Answers, top: int) -> list[Prediction]:
        """A prediction a photo, with the `top` likeliest names of each."""
        label_names = self.label_names

        def one(i: int) -> Prediction:
            probabilities = answers.probabilities[i]
            order = np.argsort(-probabilities, kind="stable")
            score = None if answers.refusal_scores is None else float(answers.refusal_scores[i])
            return Prediction(
                labels=[label_names[k] for k in order[:top]],
                probabilities=[float(probabilities[k]) for k in order[:top]],
                refused=score is not None and score > 1,
                refusal_score=score,
                label_set=None
                if answers.label_sets is None
                else [label_names[k] for k in order if answers.label_sets[i, k]],
                display_names=self.manifest.display_names,
            )

        return [one(i) for i in range(len(answers.probabilities))]


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """`softmax(logits / temperature)` over the last axis, in float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)
