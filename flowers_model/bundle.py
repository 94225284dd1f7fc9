"""The bundle: the folder that training writes, the Hub stores and the page serves.

    README.md                                    the model card
    config.json  metadata.json  model.weights.h5 the network, as Keras saves it to the Hub
    model.onnx                                   the same network, for serving
    classifier.json                              the manifest (`Manifest`)
    refusal.npy                                  class means of the embeddings, float32 (C, D), if
                                                 the manifest's refusal score needs them
    statistics.npz                               statistics of the embeddings, for teaching new
                                                 classes (`flowers_model.statistics`)
    splits.json                                  the photos of each split, by digest
    gallery/index.json, gallery/*.jpg            labelled held-out photos
    gallery/embeddings.npy                       float16 (photos, D), in the order of the index
    report/                                      index.html, metrics.json, tables, figures

Reading a bundle executes nothing from it: it contains JSON, plain arrays and an ONNX graph.

>>> manifest = check("runs/RUN/bundle")
>>> manifest.headline
'test top-1 0.912 (4141 photos)'
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import zipfile
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pydantic
from pydantic import Field

from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.storage import narrow_weights
from flowers_model.uncertainty import SCORES, odds

if TYPE_CHECKING:
    import keras

MANIFEST = "classifier.json"
NETWORK_FILES = ("config.json", "metadata.json", "model.weights.h5")
REQUIRED_FILES = ("README.md", *NETWORK_FILES, "model.onnx", MANIFEST, "gallery/index.json")
SPLITS = "splits.json"
REFUSAL_FILE = "refusal.npy"
STATISTICS = "statistics.npz"
OPTIONAL_FILES = (REFUSAL_FILE, STATISTICS, SPLITS)
FOLDERS = ("gallery", "report")
# The probability that two of a million photos have the same digest is one in 30 million.
DIGEST_BYTES = 8
GALLERY_SIDE = 384  # pixels, the longer side of a gallery photo

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1)]
ScoreName = Literal[tuple(SCORES)]


class BundleError(UserError):
    """A folder is not a complete, valid bundle."""


class Input(pydantic.BaseModel):
    """How a photo becomes the network's input: see `flowers_model.photo.fit`."""

    size: Annotated[int, Field(gt=0)]  # side of the square, pixels
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0  # fraction of the short side that is kept


class Refusal(pydantic.BaseModel):
    """When a photo does not look like a known flower: see `flowers_model.uncertainty`."""

    score: ScoreName
    center: float  # raw score of the median flower
    threshold: float  # raw score above which a photo is refused
    keeps: Share  # fraction of the flowers that the threshold was fitted on
    auroc: dict[str, Share]  # of each candidate score, flowers against out-of-distribution photos

    def scaled(self, raw: np.ndarray) -> np.ndarray:
        """Raw scores on a scale where the median flower is 0 and the threshold 1.

        >>> refusal.scaled(score.score(logits, embeddings, temperature))
        """
        return (raw - self.center) / (self.threshold - self.center)


class LabelSets(pydantic.BaseModel):
    """The label set of a photo: the names preceded by at most `limit` of the probability.

    If the most likely name alone is right often enough, the limit is 0 and the set is that name.
    """

    coverage: Share  # fraction of photos whose label is in their set
    limit: Annotated[float, Field(ge=0)]

    @property
    def odds(self) -> tuple[int, int]:
        """The promise in whole numbers: (9, 10) for a coverage of 0.9, see `uncertainty.odds`."""
        return odds(self.coverage)


class Calibration(pydantic.BaseModel):
    """Probabilities are `softmax(logits / temperature)`."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    fitted_on: str | None = None  # the split, None if nothing was fitted
    method: str | None = None  # what was fitted on which photos, in sentences
    refusal: Refusal | None = None
    label_sets: LabelSets | None = None


class Interval(pydantic.BaseModel):
    """A 95 % bootstrap interval over the photos."""

    low: float
    high: float


class Metrics(pydantic.BaseModel):
    """Metrics of one split, from the ONNX network with calibrated probabilities.

    A metric is None if it was not measured, or if the bundle is older than the metric.
    """

    top1: Share
    top5: Share
    loss: Annotated[float, Field(ge=0)]  # mean negative log-likelihood, nats
    count: Annotated[int, Field(gt=0)]  # photos
    macro_f1: Share | None = None
    nll: float | None = None  # the same as `loss`, named to match `nll_uncalibrated`
    ece: Share | None = None  # expected calibration error of the most likely name
    ece_by_chance: Share | None = None  # that of a perfectly calibrated model on as many photos
    nll_uncalibrated: float | None = None  # at temperature 1
    ece_uncalibrated: Share | None = None
    coverage: Share | None = None  # photos whose label is in their label set
    set_size: float | None = None  # mean number of names in a label set
    refused: Share | None = None
    kept_right: Share | None = None  # right and not refused
    sure_wrong: Share | None = None  # wrong with a probability above 0.8
    others_refused: Share | None = None  # of out-of-distribution photos, mean over their kinds
    others_auroc: Share | None = None  # of the refusal score, this split against those
    top1_interval: Interval | None = None
    top5_interval: Interval | None = None
    macro_f1_interval: Interval | None = None
    nll_interval: Interval | None = None
    ece_interval: Interval | None = None
    coverage_interval: Interval | None = None
    set_size_interval: Interval | None = None

    def shown(self, name: str) -> str:
        """A metric as text, with its unit; empty if it was not measured.

        >>> metrics.shown("top1"), metrics.shown("ece")
        ('96.0 %', '0.006')
        """
        value = getattr(self, name)
        if value is None:
            return ""
        if name in PERCENTAGES:
            return f"{100 * value:.1f} %"
        return f"{value:.2f}" if name == "set_size" else f"{value:.3f}"


# The names of the metrics in all tables.
METRICS = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "macro_f1": "macro F1",
    "nll": "NLL",
    "ece": "ECE",
    "ece_by_chance": "ECE by chance",
    "coverage": "label set coverage",
    "set_size": "label set size",
    "refused": "refused",
    "kept_right": "right and not refused",
    "sure_wrong": "wrong but over 80 % sure",
}
PERCENTAGES = ("top1", "top5", "coverage", "refused", "kept_right", "sure_wrong")


class Provenance(pydantic.BaseModel):
    """The origin of a model, in enough detail to train it again."""

    preset: str
    command: str
    seed: int
    created: str  # UTC, ISO 8601
    seconds: float  # wall time of training, all stages
    data: str  # name of the source
    credits: str  # origin and terms of the photos
    splits: dict[str, int]  # photos in each
    valid_share: Share = 1.0  # of the source's valid photos; the rest were trained on
    sources: dict[str, dict[str, int]] = {}  # photos by source and split, if there are several
    outliers: dict[str, int] = {}  # out-of-distribution training photos, by folder
    backbone: str
    weights: str  # the initial weights: imagenet, none, or the name of a file or bundle
    parameters: int  # trainable parameters of the full network
    trainable_parameters: int | None = None  # in the last stage
    optimizer_bytes: int | None = None  # of the last stage's optimizer
    backend: str
    versions: dict[str, str]
    git_commit: str | None = None
    license: str | None = None  # of the weights, as the Hub calls it
    base_model: str | None = None  # Hub repo of the initial weights, if any
    datasets: list[str] = []  # Hub repos of the photos, if any


class Taught(pydantic.BaseModel):
    """A class that was taught to a trained model from a few photos: see `flowers_model.teach`."""

    name: Name
    photos: Annotated[int, Field(gt=0)]
    new: bool  # False: the model knew it before
    # Fraction of its photos that are classified correctly by a model taught without them; None for
    # a single photo.
    right: Share | None = None
    data: str  # origin of the photos
    model: str  # the model that was taught
    created: str  # UTC, ISO 8601


class Manifest(pydantic.BaseModel):
    """`classifier.json`."""

    schema_version: Literal[1] = 1
    class_names: Annotated[list[Name], Field(min_length=2)]  # in the order of the logits
    scientific_names: dict[str, Name] = {}  # by class name, where known
    display_names: dict[str, Name] = {}  # by class name, where the class name is misleading
    input: Input
    calibration: Calibration
    metrics: dict[str, Metrics]  # by split
    by_source: dict[str, Metrics] = {}  # on each source's valid photos, if there are several
    taught: list[Taught] = []  # in the order in which they were taught
    # Largest difference in probability between model.onnx and the Keras network, on real photos.
    onnx_difference: Annotated[float, Field(ge=0)]
    provenance: Provenance

    @property
    def headline(self) -> str:
        """The accuracy on the held-out split, for example `test top-1 0.912 (4141 photos)`."""
        if self.held_out is None:
            return "not measured"
        measured = self.metrics[self.held_out]
        return f"{self.held_out} top-1 {measured.top1:.3f} ({measured.count} photos)"

    @property
    def held_out(self) -> str | None:
        """The split that represents the model's accuracy, a key of `metrics`; see `held_out`."""
        return held_out(self.metrics)

    @property
    def misleading(self) -> str:
        """A sentence for the card on misleading class names; empty if there are none."""
        if not self.display_names:
            return ""
        each = ", ".join(f"{name} is {shown}" for name, shown in self.display_names.items())
        return f"Some class names are misleading: according to the photos, {each}. "


class GalleryPhoto(pydantic.BaseModel):
    """A photo of the gallery, with its photographer and licence where known."""

    file: Name  # inside gallery/
    label: Name  # one of the manifest's class names, unless it is unknown
    unknown: bool = False  # shown as a flower that the model does not know
    author: str | None = None
    source: str | None = None  # the address of its page
    licence: str | None = None  # as in CC BY 2.0
    licence_url: str | None = None
    changes: str | None = None  # as in "reduced in size"


class Gallery(pydantic.BaseModel):
    """`gallery/index.json`."""

    credits: str
    photos: list[GalleryPhoto]


def photo_digest(data: bytes) -> bytes:
    """The digest of a photo's bytes in `splits.json`, `DIGEST_BYTES` long.

    >>> photo_digest(pathlib.Path("photo.jpg").read_bytes()).hex()
    'c6e1f3a9b2d40857'
    """
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


class Splits(pydantic.BaseModel):
    """`splits.json`: the photos that a model was trained, selected and evaluated on."""

    class_names: list[Name]
    photos: dict[str, list[str]]  # by split, each photo's `photo_digest` in hexadecimal


def held_out(splits: Collection[str]) -> str | None:
    """The split to evaluate a model on: test, else valid, else the first; None if there is none.

    >>> held_out(["train", "valid"])
    'valid'
    """
    return next((split for split in ("test", "valid", *splits) if split in splits), None)


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Read `classifier.json`.

    >>> read_manifest("runs/RUN/bundle").class_names

    Raises:
        BundleError: if it is missing or does not fit the schema; the message names the field.
    """
    return _read(pathlib.Path(folder) / MANIFEST, Manifest)


def read_gallery(folder: str | os.PathLike) -> Gallery:
    """Read `gallery/index.json`, and check that its files exist inside the gallery.

    >>> read_gallery("runs/RUN/bundle").photos[0].label

    Raises:
        BundleError: if it is missing or does not fit the schema; the message names the field.
    """
    gallery_folder = pathlib.Path(folder).resolve() / "gallery"
    gallery = _read(gallery_folder / "index.json", Gallery)
    for photo in gallery.photos:
        # A file from the Hub is a link into its cache, so the name is checked, not the path that it
        # resolves to.
        name = pathlib.PurePosixPath(photo.file)
        if name.is_absolute() or ".." in name.parts or "\\" in photo.file:
            raise BundleError(f"gallery/index.json: {photo.file!r} is outside the gallery")
        if not (gallery_folder / name).is_file():
            raise BundleError(f"gallery/index.json: {photo.file!r} is not in the gallery")
    return gallery


def read_splits(folder: str | os.PathLike) -> Splits | None:
    """Read `splits.json`; None if there is none, as for drawn photos or in older bundles.

    >>> splits = read_splits("runs/RUN/bundle")

    Raises:
        BundleError: if it does not fit the schema; the message names the field.
    """
    path = pathlib.Path(folder) / SPLITS
    return _read(path, Splits) if path.exists() else None


def read_embeddings(folder: str | os.PathLike, gallery: Gallery) -> np.ndarray | None:
    """The embeddings of the gallery's photos, float32 `(photos, D)`; None if there are none.

    >>> embeddings = read_embeddings(folder, read_gallery(folder))

    Raises:
        BundleError: if they are not a plain array with one row per photo.
    """
    path = pathlib.Path(folder) / "gallery/embeddings.npy"
    if not path.exists():
        return None
    try:
        embeddings = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise BundleError("gallery/embeddings.npy is not a plain array of numbers") from None
    if embeddings.ndim != 2 or len(embeddings) != len(gallery.photos):
        raise BundleError("gallery/embeddings.npy must have one row per photo of the gallery")
    return embeddings.astype(np.float32)


def read_reference(folder: str | os.PathLike) -> np.ndarray:
    """The array of `refusal.npy`, which the manifest's refusal score needs, float32 `(C, D)`.

    >>> class_means = read_reference(folder)

    Raises:
        BundleError: if it is missing or not a plain array.
    """
    try:
        reference = np.load(pathlib.Path(folder) / REFUSAL_FILE, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise BundleError(f"{REFUSAL_FILE} is missing or not a plain array of numbers") from None
    if reference.ndim != 2:
        raise BundleError(f"{REFUSAL_FILE} must have one row per class")
    return reference


def check(folder: str | os.PathLike) -> Manifest:
    """Check that `folder` is a complete bundle, and return its manifest.

    >>> manifest = check("runs/RUN/bundle")

    Raises:
        BundleError: if not; the message names the first problem.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise BundleError(f"no bundle at {str(folder)!r}: there is no such folder")
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if missing:
        raise BundleError(f"{str(folder)!r} is not a complete bundle: {', '.join(missing)} missing")
    manifest = read_manifest(folder)
    gallery = read_gallery(folder)
    labels = {photo.label for photo in gallery.photos if not photo.unknown}
    unknown = labels - set(manifest.class_names)
    if unknown:
        raise BundleError(f"gallery/index.json: no class is called {min(unknown)!r}")
    return manifest


def write_json(path: str | os.PathLike, value: pydantic.BaseModel | dict) -> None:
    """Write `value` as indented JSON, atomically.

    >>> write_json(folder / "classifier.json", manifest)
    """
    if isinstance(value, pydantic.BaseModel):
        value = value.model_dump()
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def save_network(network: keras.Model, folder: str | os.PathLike) -> None:
    """Write the three files that `keras.saving.load_model(folder)` opens.

    >>> save_network(network, folder)
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "network.keras"
    # A .keras file is a ZIP of exactly the files of Keras's Hub layout.
    network.save(archive)
    with zipfile.ZipFile(archive) as opened:
        for name in NETWORK_FILES:
            opened.extract(name, folder)
    archive.unlink()
    narrow_weights(folder / "model.weights.h5")


def _read(path: pathlib.Path, schema: type[pydantic.BaseModel]):
    try:
        return schema.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"no bundle at {str(path.parent)!r}: {path.name} is missing") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise BundleError(f"{path.name}: {field}: {first['msg']}") from None
