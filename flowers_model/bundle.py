"""The bundle: the one folder that training writes, the Hub holds and the page serves.

    README.md                                    the model card
    config.json  metadata.json  model.weights.h5 the network, as Keras saves it to the Hub
    model.onnx                                   the same network for serving
    classifier.json                              the manifest (`Manifest`)
    refusal.npy                                  the classes' mean embeddings, float32 (C, D), where
                                                 the manifest's refusal goes by them
    splits.json                                  which photos were in which split, by digest
    gallery/index.json, gallery/*.jpg            labelled held-out photos
    gallery/embeddings.npy                       float16 (photos, D), in the order of the index
    report/                                      index.html, metrics.json, tables, figures

Reading one executes nothing from it: JSON, plain arrays and an ONNX graph are all it holds.
"""

from __future__ import annotations

import json
import os
import pathlib
import zipfile
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pydantic
from pydantic import Field

from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.storage import narrow_weights

if TYPE_CHECKING:
    import keras

MANIFEST = "classifier.json"
NETWORK_FILES = ("config.json", "metadata.json", "model.weights.h5")
REQUIRED_FILES = ("README.md", *NETWORK_FILES, "model.onnx", MANIFEST, "gallery/index.json")
SPLITS = "splits.json"
OPTIONAL_FILES = ("refusal.npy", SPLITS)
FOLDERS = ("gallery", "report")

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1)]


class BundleError(UserError):
    """A folder that is not a whole, valid bundle."""


class Input(pydantic.BaseModel):
    """How a photo becomes the network's input: see `flowers_model.photo.fit`."""

    size: Annotated[int, Field(gt=0)]  # side of the square, pixels
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the short side that is kept


class Refusal(pydantic.BaseModel):
    """When a photo does not look like a known flower: see `flowers_model.uncertainty`."""

    score: Literal["probability", "energy", "distance"]
    center: float  # raw score of the median flower
    threshold: float  # raw score above which a photo is refused
    keeps: Share  # of the flowers that the threshold was fitted on
    # How well each score that was tried tells flowers from photos of other things, as the area
    # under the ROC curve.
    auroc: dict[str, Share]


class LabelSets(pydantic.BaseModel):
    """A photo's label set: the names before which at most `limit` of the probability lies.

    Where the likeliest name alone is right often enough, the limit is 0, and the set that name.
    """

    coverage: Share  # of the photos, how many have their label in their set
    limit: Annotated[float, Field(ge=0)]


class Calibration(pydantic.BaseModel):
    """Probabilities are `softmax(logits / temperature)`."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    fitted_on: str | None = None  # the split, None where nothing was fitted
    method: str | None = None  # which photos of it fitted what
    refusal: Refusal | None = None
    label_sets: LabelSets | None = None


class Interval(pydantic.BaseModel):
    """A 95 % bootstrap interval over the photos."""

    low: float
    high: float


class Metrics(pydantic.BaseModel):
    """Figures of one split, from the ONNX network with calibrated probabilities.

    Those that are None were not measured, or the bundle is older than they are.
    """

    top1: Share
    top5: Share
    loss: Annotated[float, Field(ge=0)]  # mean negative log-likelihood, nats
    count: Annotated[int, Field(gt=0)]  # photos
    macro_f1: Share | None = None
    nll: float | None = None  # the loss, by the name that goes with `nll_uncalibrated`
    ece: Share | None = None  # expected calibration error of the likeliest name
    nll_uncalibrated: float | None = None  # at temperature 1
    ece_uncalibrated: Share | None = None
    coverage: Share | None = None  # photos whose label is in their label set
    set_size: float | None = None  # names in a label set, mean
    refused: Share | None = None
    kept_right: Share | None = None  # right and not refused
    sure_wrong: Share | None = None  # wrong with a probability above 0.8
    others_refused: Share | None = None  # photos of other things
    others_auroc: Share | None = None  # of the refusal score, this split against other things
    top1_interval: Interval | None = None
    top5_interval: Interval | None = None
    macro_f1_interval: Interval | None = None
    nll_interval: Interval | None = None
    ece_interval: Interval | None = None
    coverage_interval: Interval | None = None
    set_size_interval: Interval | None = None


class Provenance(pydantic.BaseModel):
    """Where a model comes from; enough to train it again."""

    preset: str
    command: str
    seed: int
    created: str  # UTC, ISO 8601
    seconds: float  # wall time of the training, all stages
    data: str  # the source's name
    credits: str  # where the photos come from, under what terms
    splits: dict[str, int]  # photos in each
    valid_share: Share = 1.0  # of the source's valid photos; the others are among train's
    sources: dict[str, dict[str, int]] = {}  # photos by source and split, where there are several
    outliers: dict[str, int] = {}  # photos by folder that it learned to be unsure of
    backbone: str
    weights: str  # what the backbone started from: imagenet, none, or the name of a file or bundle
    parameters: int  # that can be learned
    trainable_parameters: int | None = None  # in the last stage
    optimizer_bytes: int | None = None  # of the last stage's optimizer
    backend: str
    versions: dict[str, str]
    git_commit: str | None = None


class Manifest(pydantic.BaseModel):
    """`classifier.json`."""

    schema_version: Literal[1] = 1
    class_names: Annotated[list[Name], Field(min_length=2)]  # in the order of the logits
    scientific_names: dict[str, Name] = {}  # by class name, of those that have one
    display_names: dict[str, Name] = {}  # by class name, of those whose own name misleads people
    input: Input
    calibration: Calibration
    metrics: dict[str, Metrics]  # by split
    by_source: dict[str, Metrics] = {}  # of the held-out photos of each source, of several
    # Largest difference in probability between model.onnx and the Keras network, on real photos.
    onnx_difference: Annotated[float, Field(ge=0)]
    provenance: Provenance

    @property
    def headline(self) -> str:
        """For example `test top-1 0.912 (4141 photos)`; the test split where there is one."""
        for split in ("test", "valid", *self.metrics):
            if split in self.metrics:
                figures = self.metrics[split]
                return f"{split} top-1 {figures.top1:.3f} ({figures.count} photos)"
        return "not measured"

    @property
    def misleading(self) -> str:
        """For the card, what classes show whose names say something else; may be empty."""
        if not self.display_names:
            return ""
        each = ", ".join(f"{name} is {shown}" for name, shown in self.display_names.items())
        return f"Some class names mislead; by what the photos show, {each}. "


class GalleryPhoto(pydantic.BaseModel):
    """A photo of the gallery; of some it is told who took them, and under what terms."""

    file: Name  # inside gallery/
    label: Name  # one of the manifest's class names, unless it is unknown
    unknown: bool = False  # it is there to show that the model does not know this flower
    author: str | None = None
    source: str | None = None  # the address of its page
    licence: str | None = None  # as in CC BY 2.0
    licence_url: str | None = None
    changes: str | None = None  # as in "reduced in size"


class Gallery(pydantic.BaseModel):
    """`gallery/index.json`."""

    credits: str
    photos: list[GalleryPhoto]


class Splits(pydantic.BaseModel):
    """`splits.json`: which photos a network learned from, was chosen by and is measured on."""

    class_names: list[Name]
    photos: dict[str, list[str]]  # by split, each photo's digest (`train.data.digests`)


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Read `classifier.json`.

    Raises:
        BundleError: where it is missing, no JSON, or does not fit; the message names the field.
    """
    return _read(pathlib.Path(folder) / MANIFEST, Manifest)


def read_gallery(folder: str | os.PathLike) -> Gallery:
    """Read `gallery/index.json`; every file that it names exists, inside the gallery.

    Raises:
        BundleError: where it is missing or does not fit; the message names the field.
    """
    room = pathlib.Path(folder).resolve() / "gallery"
    gallery = _read(room / "index.json", Gallery)
    for photo in gallery.photos:
        # A file fetched from the Hub is a link into its cache, so the name is checked, not
        # the place that it resolves to.
        name = pathlib.PurePosixPath(photo.file)
        if name.is_absolute() or ".." in name.parts or "\\" in photo.file:
            raise BundleError(f"gallery/index.json: {photo.file!r} lies outside the gallery")
        if not (room / name).is_file():
            raise BundleError(f"gallery/index.json: {photo.file!r} is not in the gallery")
    return gallery


def read_splits(folder: str | os.PathLike) -> Splits | None:
    """Read `splits.json`; None where there is none, as for drawn photos and in older bundles.

    Raises:
        BundleError: where it does not fit; the message names the field.
    """
    path = pathlib.Path(folder) / SPLITS
    return _read(path, Splits) if path.exists() else None


def read_embeddings(folder: str | os.PathLike, gallery: Gallery) -> np.ndarray | None:
    """The embeddings of the gallery's photos, float32 `(photos, D)`; None where there are none.

    Raises:
        BundleError: where they are no plain array, or not one a photo.
    """
    path = pathlib.Path(folder) / "gallery/embeddings.npy"
    if not path.exists():
        return None
    try:
        embeddings = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise BundleError("gallery/embeddings.npy is no plain array of numbers") from None
    if embeddings.ndim != 2 or len(embeddings) != len(gallery.photos):
        raise BundleError("gallery/embeddings.npy has not one row a photo of gallery/index.json")
    return embeddings.astype(np.float32)


def check(folder: str | os.PathLike) -> Manifest:
    """Check that `folder` is a whole bundle, and return its manifest.

    Raises:
        BundleError: for the first thing that is missing or does not fit.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise BundleError(f"no bundle at {str(folder)!r}: there is no such folder")
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if missing:
        raise BundleError(f"{str(folder)!r} is not a whole bundle: {', '.join(missing)} missing")
    manifest = read_manifest(folder)
    gallery = read_gallery(folder)
    labels = {photo.label for photo in gallery.photos if not photo.unknown}
    unknown = labels - set(manifest.class_names)
    if unknown:
        raise BundleError(f"gallery/index.json: no class is called {min(unknown)!r}")
    return manifest


def write_json(path: str | os.PathLike, value: pydantic.BaseModel | dict) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    if isinstance(value, pydantic.BaseModel):
        value = value.model_dump()
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def save_network(network: keras.Model, folder: str | os.PathLike) -> None:
    """Write the three files that `keras.saving.load_model(folder)` opens."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "network.keras"
    # A .keras file is a ZIP of just the files that Keras's Hub layout has.
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
