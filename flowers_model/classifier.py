"""A trained flower model, opened from a folder or from the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from flowers_model import hub
from flowers_model.bundle import Manifest, read_manifest, read_reference
from flowers_model.engine import Engine, open_engine
from flowers_model.errors import UserError
from flowers_model.photo import Photo, decode, fit
from flowers_model.uncertainty import SCORES, Score, directions, label_sets, refused, softmax

if TYPE_CHECKING:
    from flowers_model.lesson import Lesson

# The bundle that comes with the code: Oxford's 102 flowers.
DEFAULT = pathlib.Path(__file__).with_name("default")


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for a photo, most likely name first.

    Refusal and label set are False or None if the bundle is not calibrated for them.

    >>> [prediction] = classifier.classify("photo.jpg", top=2)
    >>> prediction.labels, prediction.probabilities
    (['corn poppy', 'hibiscus'], [0.97, 0.01])
    """

    labels: list[str]
    probabilities: list[float]  # calibrated, 0..1, highest first
    refused: bool = False  # it does not look like a flower that the model knows
    refusal_score: float | None = None  # 0: like the median flower; above 1: refused
    label_set: list[str] | None = None  # likely names, of which one is right with `coverage`
    display_names: dict[str, str] = dataclasses.field(default_factory=dict)  # as in the manifest
    coverage: float | None = None  # fraction of photos with the right name in their label set

    # The keys of `as_row`.
    COLUMNS: ClassVar = ("guess", "probability", "refused", "refusal_score", "label_set")

    def shown(self, label: str) -> str:
        """The class name to show to people: the display name if there is one.

        >>> prediction.shown("orange dahlia")
        'Mexican sunflower'
        """
        return self.display_names.get(label, label)

    def as_row(self) -> dict[str, str]:
        """The cells of a CSV row by column; the label set is separated by semicolons.

        >>> prediction.as_row()["guess"]
        'corn poppy'
        """
        score = self.refusal_score
        cells = (
            self.labels[0],
            f"{self.probabilities[0]:.6f}",
            "yes" if self.refused else "no",
            "" if score is None else f"{score:.4f}",
            ";".join(self.label_set or []),
        )
        return dict(zip(self.COLUMNS, cells, strict=True))


@dataclasses.dataclass(frozen=True)
class Answers:
    """A model's answers to N photos, as arrays.

    >>> answers = classifier.answer(np.stack([classifier.prepare("photo.jpg")]))
    >>> answers.probabilities.shape
    (1, 102)

    Attributes:
        probabilities: calibrated, float64 `(N, C)`.
        embeddings: float32 `(N, D)`.
        refusal_scores: float64 `(N,)`, above 1 is refused; None if the bundle has no such score.
        label_sets: bool `(N, C)`; None if the bundle has none.
        logits: float32 `(N, C)`; None if the probabilities are averages.
    """

    probabilities: np.ndarray
    embeddings: np.ndarray
    refusal_scores: np.ndarray | None = None
    label_sets: np.ndarray | None = None
    logits: np.ndarray | None = None

    def subset(self, rows: np.ndarray) -> Answers:
        """The answers to some of the photos, by index `(n,)`.

        >>> answers.subset(np.array([0, 2])).probabilities.shape
        (2, 102)
        """
        return Answers(**{k: None if v is None else v[rows] for k, v in vars(self).items()})


class FlowerClassifier:
    """Names flowers in photos.

    >>> classifier = FlowerClassifier.from_pretrained("USER/MODEL")
    >>> [prediction] = classifier.classify("photo.jpg")
    >>> prediction.labels[0], prediction.probabilities[0]
    """

    def __init__(
        self,
        folder: pathlib.Path,
        manifest: Manifest,
        engine: Engine,
        reference: np.ndarray | None = None,  # for the refusal score, instead of the folder's
    ):
        self.folder = folder
        self.manifest = manifest
        self.engine = engine
        self._score: Score | None = None
        if refusal := manifest.calibration.refusal:
            kind = SCORES[refusal.score]
            if reference is None and kind.needs_reference:
                reference = read_reference(folder)
            self._score = kind(reference)

    @classmethod
    def from_pretrained(
        cls,
        folder_or_repo: str | os.PathLike = DEFAULT,
        revision: str | None = None,
        engine: str = "onnx",
    ) -> FlowerClassifier:
        """Open a bundle.

        >>> classifier = FlowerClassifier.from_pretrained()  # the model that comes with the code
        >>> classifier = FlowerClassifier.from_pretrained("USER/MODEL", revision="v1")

        Args:
            folder_or_repo: a bundle's folder, or a Hub repo `USER/MODEL` or
                `USER/MODEL@REVISION`, which is downloaded once and cached; by default the bundle
                that comes with the code, which knows Oxford's 102 flowers.
            revision: branch, tag or commit of a Hub repo.
            engine: `"onnx"` (fast; loads neither Keras nor its backends) or `"keras"`.

        Raises:
            HubError: if it cannot be downloaded.
            BundleError: if the folder is not a complete, valid bundle.
        """
        folder = hub.fetch(folder_or_repo, revision)
        return cls(folder, read_manifest(folder), open_engine(folder, engine))

    @property
    def label_names(self) -> list[str]:
        """The names of all classes, in the order of the logits.

        >>> classifier.label_names[0]
        'pink primrose'
        """
        return self.manifest.class_names

    def prepare(self, photo: Photo) -> np.ndarray:
        """Decode, crop and resize one photo: the network's input, uint8 `(S, S, 3)`.

        >>> classifier.prepare("photo.jpg").shape
        (224, 224, 3)

        Raises:
            PhotoError: if the photo cannot be read.
        """
        return fit(decode(photo), self.manifest.input.size, self.manifest.input.crop)

    def answer(self, inputs: np.ndarray) -> Answers:
        """Run the network on prepared photos, uint8 `(N, S, S, 3)`.

        >>> answers = classifier.answer(classifier.prepare("photo.jpg")[None])
        """
        return self.judge(*self.engine.run(inputs, ("logits", "embedding")))

    def judge(self, logits: np.ndarray, embeddings: np.ndarray) -> Answers:
        """Turn the network's outputs, `(N, C)` and `(N, D)`, into calibrated answers.

        >>> answers = classifier.judge(*classifier.engine.run(inputs, ("logits", "embedding")))
        """
        calibration = self.manifest.calibration
        temperature, refusal = calibration.temperature, calibration.refusal
        probabilities = softmax(logits, temperature)
        scores = sets = None
        if refusal is not None:
            scores = refusal.scaled(self._score.score(logits, embeddings, temperature))
        if calibration.label_sets is not None:
            sets = label_sets(probabilities, calibration.label_sets.limit)
        return Answers(probabilities, embeddings, scores, sets, logits)

    def together(self, answers: Answers) -> Answers:
        """Combine the answers to N photos of one plant into the answer to one photo.

        Calibrated log-probabilities are averaged, as are refusal scores and the directions of
        embeddings.

        >>> [prediction] = classifier.predictions(classifier.together(answers), top=5)
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

        >>> [first, second] = classifier.classify(["first.jpg", "second.heic"], top=3)
        >>> first.labels[0], first.refused
        ('corn poppy', False)

        Args:
            photos: files, bytes, PIL images or arrays as `flowers_model.photo.decode` takes them.
                A single photo is taken as a list of one.
            top: number of names to return; all classes if there are fewer.

        Returns:
            One prediction per photo, in the same order.

        Raises:
            PhotoError: if a photo cannot be read.
            UserError: if `top` is below 1.
        """
        if isinstance(photos, Photo):
            photos = [photos]
        if top < 1:
            raise UserError(f"top must be at least 1, not {top}")
        if not len(photos):
            return []
        answers = self.answer(np.stack([self.prepare(photo) for photo in photos]))
        return self.predictions(answers, top)

    def teach(self, photos: Mapping[str, Sequence[Photo]], data: str = "photos") -> Lesson:
        """Teach it classes from a few photos of each, as `flowers_model.lesson.teach` does.

        >>> lesson = classifier.teach({"tulip": ["first.jpg", "second.jpg", "third.jpg"]})
        >>> print(*lesson.notes, sep="\\n")
        >>> lesson.write("tulips").classify("photo.jpg")

        Args:
            photos: by class name, 3 to 50 each.
            data: where they come from, for the manifest.

        Raises:
            PhotoError: if a photo cannot be read.
            UserError: if there is no photo, or the model cannot be taught.
        """
        from flowers_model.lesson import teach

        return teach(self, photos, data)

    def predictions(self, answers: Answers, top: int) -> list[Prediction]:
        """One prediction per photo, with the `top` likeliest names of each.

        >>> [prediction] = classifier.predictions(answers, top=5)
        """
        label_names = self.label_names
        calibrated = self.manifest.calibration.label_sets

        def one(i: int) -> Prediction:
            probabilities = answers.probabilities[i]
            order = np.argsort(-probabilities, kind="stable")
            score = None if answers.refusal_scores is None else float(answers.refusal_scores[i])
            return Prediction(
                labels=[label_names[k] for k in order[:top]],
                probabilities=[float(probabilities[k]) for k in order[:top]],
                refused=score is not None and refused(score),
                refusal_score=score,
                label_set=None
                if answers.label_sets is None
                else [label_names[k] for k in order if answers.label_sets[i, k]],
                display_names=self.manifest.display_names,
                coverage=None if answers.label_sets is None else calibrated.coverage,
            )

        return [one(i) for i in range(len(answers.probabilities))]
