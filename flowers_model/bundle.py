"""The bundle: the one folder that training writes, the Hub holds and the page serves.

    README.md                                    the model card
    config.json  metadata.json  model.weights.h5 the network, as Keras saves it to the Hub
    model.onnx                                   the same network for serving
    classifier.json                              the manifest (`Manifest`)
    gallery/index.json, gallery/*.jpg            labelled held-out photos
    report/                                      metrics.json, history.csv, per_class.csv, figures

Reading one executes nothing from it: JSON, HDF5 arrays and an ONNX graph are all it holds.
"""

from __future__ import annotations

import json
import os
import pathlib
import zipfile
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic
from pydantic import Field

from flowers_model.errors import UserError
from flowers_model.files import replacing

if TYPE_CHECKING:
    import keras

MANIFEST = "classifier.json"
NETWORK_FILES = ("config.json", "metadata.json", "model.weights.h5")
REQUIRED_FILES = ("README.md", *NETWORK_FILES, "model.onnx", MANIFEST, "gallery/index.json")
FOLDERS = ("gallery", "report")

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1)]


class BundleError(UserError):
    """A folder that is not a whole, valid bundle."""


class Input(pydantic.BaseModel):
    """How a photo becomes the network's input: see `flowers_model.photo.fit`."""

    size: Annotated[int, Field(gt=0)]  # side of the square, pixels
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the short side that is kept


class Calibration(pydantic.BaseModel):
    """Probabilities are `softmax(logits / temperature)`."""

    temperature: Annotated[float, Field(gt=0)] = 1.0
    fitted_on: str | None = None  # the split, None where nothing was fitted


class Metrics(pydantic.BaseModel):
    """Figures of one split, from the ONNX network with calibrated probabilities."""

    top1: Share
    top5: Share
    loss: Annotated[float, Field(ge=0)]  # mean negative log-likelihood, nats
    count: Annotated[int, Field(gt=0)]  # photos


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
    backbone: str
    weights: str  # what the backbone started from: imagenet, none, or a file's name
    parameters: int
    backend: str
    versions: dict[str, str]
    git_commit: str | None = None


class Manifest(pydantic.BaseModel):
    """`classifier.json`."""

    schema_version: Literal[1] = 1
    class_names: Annotated[list[Name], Field(min_length=2)]  # in the order of the logits
    input: Input
    calibration: Calibration
    metrics: dict[str, Metrics]  # by split
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


class GalleryPhoto(pydantic.BaseModel):
    file: Name  # inside gallery/
    label: Name  # one of the manifest's class names


class Gallery(pydantic.BaseModel):
    """`gallery/index.json`."""

    credits: str
    photos: list[GalleryPhoto]


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
    unknown = {photo.label for photo in gallery.photos} - set(manifest.class_names)
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


def _read(path: pathlib.Path, schema: type[pydantic.BaseModel]):
    try:
        return schema.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"no bundle at {str(path.parent)!r}: {path.name} is missing") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise BundleError(f"{path.name}: {field}: {first['msg']}") from None
