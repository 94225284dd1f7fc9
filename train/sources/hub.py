"""Datasets from the Hugging Face Hub, or in the same formats on disk, read by `datasets`."""

from __future__ import annotations

import logging
import os
import pathlib
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from flowers_model import hub
from flowers_model.files import expanded, legible
from train.sources.base import (
    Options,
    Source,
    SourceError,
    Split,
    check_faults,
    plain_name,
    split_options,
)
from train.sources.folder import entries, is_folder, photo_files
from train.sources.splits import add_missing_splits, check_classes, some, split_named

if TYPE_CHECKING:
    import datasets

log = logging.getLogger("flowers")

FORMATS = ("parquet", "arrow", "imagefolder")  # as `datasets` calls them
STRINGS = ("string", "large_string")
BINARY = ("binary", "large_binary")
# The number types that labels may have; a ClassLabel is an int64.
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
OPTIONS = ("image", "label", "config")
FORM = "hub:USER/DATASET[@REVISION] or hub:PATH, with ?image=COLUMN&label=COLUMN where needed"


def open_source(text: str, options: Options) -> Source:
    """Open a dataset in a format of `datasets`: Parquet, Arrow or an imagefolder.

    The image column is the one of type `Image`; a column of raw bytes must be named. The label
    column is the one of type `ClassLabel`, whose names and order are kept, or else the one of type
    string; a column of integers must be named. The sorted values of strings or integers become the
    classes. Splits other than train, valid and test (in their usual spellings) are left out, and so
    are splits without any label, such as the test splits of competitions.

    Args:
        text: `USER/DATASET` or `USER/DATASET@REVISION`, which is downloaded to the cache of
            huggingface_hub; or a path, which takes precedence over a repo of the same name: a
            folder that `datasets.load_dataset` can load, a folder written by `save_to_disk`, or a
            `.parquet` or `.arrow` file. `?image=COLUMN&label=COLUMN&config=NAME` may follow.
        options: `skip_bad` leaves out rows without a label, or with a label that train lacks.

    Raises:
        SourceError: if the dataset cannot be read, or if its columns, labels or splits do not fit.
        HubError: if the repo cannot be downloaded.
    """
    place, named = split_options(text, OPTIONS, "?image=COLUMN&label=COLUMN")
    path, repo_id = _fetch(place)
    splits = _map_splits(_load(path, named.get("config"), place), place)
    features = splits["train"].features
    image = _image_column(features, named.get("image"), place)
    class_names, labels = _labels(
        splits, _label_column(features, named.get("label"), place), place, options.skip_bad
    )
    ready = {name: _split(splits[name], name, image, found) for name, found in labels.items()}
    if options.cut:
        ready = add_missing_splits(ready, class_names, options.seed)
    check_classes(place, class_names, ready)
    name = repo_id or legible(path.resolve().name)
    credits = f"Photos from {name}" + (f", commit {path.name} on the Hub" if repo_id else "")
    return Source(
        name=name,
        class_names=class_names,
        splits=ready,
        credits=credits,
        datasets=(repo_id,) if repo_id else (),
    )


def _fetch(place: str) -> tuple[pathlib.Path, str | None]:
    """The folder or file at `place`, and the repo's id if it comes from the Hub."""
    path = expanded(place)
    if os.path.exists(path):
        return path, None
    parts = hub.split_name(place)
    if parts is None:
        raise SourceError(
            f"{place!r} is neither an existing path nor a dataset on the Hub: write {FORM}."
        )
    return hub.fetch_dataset(*parts), parts[0]


def _load(path: pathlib.Path, config: str | None, place: str) -> datasets.DatasetDict:
    import datasets
    import yaml

    if path.is_file() and path.suffix not in (".parquet", ".arrow"):
        raise SourceError(f"{place} is neither a folder nor a .parquet or .arrow file.")
    try:
        if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            data = datasets.load_from_disk(str(path))
        else:
            if path.is_file():
                builder = datasets.load_dataset_builder(path.suffix[1:], data_files=str(path))
            else:
                builder = datasets.load_dataset_builder(str(path), config)
                _check_builder(builder, path, place)
                builder = _with_all_photos(builder, path, config)
            builder.download_and_prepare()
            data = builder.as_dataset()
            if builder.name == "imagefolder":
                _warn_of_left_out(data, path, place)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2  # the YAML follows a line of dashes
        raise SourceError(
            f"{place} cannot be read: line {line} of its README.md is not valid YAML "
            f"({error.problem}): correct the block between the dashes, or remove it."
        ) from error
    # Faults in the files have no exception class of their own: even ArrowInvalid is a ValueError.
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        reason = textwrap.shorten(str(root), 300, placeholder=" …") or type(root).__name__
        raise SourceError(f"{place} cannot be read: {reason}") from error
    return datasets.DatasetDict(train=data) if isinstance(data, datasets.Dataset) else data


def _check_builder(builder: datasets.DatasetBuilder, folder: pathlib.Path, place: str) -> None:
    """Reject other formats, and files outside the folder, to which a README.md could point."""
    if builder.name not in FORMATS:
        raise SourceError(
            f"{place} holds {builder.name} data: only {', '.join(FORMATS)} can be read."
        )
    root = folder.resolve()
    for files in builder.config.data_files.values():
        for file in files:
            if not pathlib.Path(os.path.normpath(file)).is_relative_to(root):
                raise SourceError(
                    f"{place} lists {file}, which is outside of it: correct its README.md."
                )


def _with_all_photos(
    builder: datasets.DatasetBuilder, folder: pathlib.Path, config: str | None
) -> datasets.DatasetBuilder:
    """A builder that reads all photos of an imagefolder.

    `datasets` takes words such as "test" in file names for splits, and then drops all other files.
    """
    import datasets

    if builder.name != "imagefolder":
        return builder
    root = folder.resolve()
    files = {file for files in builder.config.data_files.values() for file in files}
    card = folder / "README.md"
    listed = card.is_file() and b"data_files" in card.read_bytes()
    has_splits = any(split_named(inner.name) for inner in entries(root) if is_folder(inner))
    if not listed and not has_splits and any(str(file) not in files for file in photo_files(root)):
        return datasets.load_dataset_builder(str(folder), config, data_files={"train": "**"})
    return builder


def _warn_of_left_out(data: datasets.DatasetDict, folder: pathlib.Path, place: str) -> None:
    """Log which photos of an imagefolder are missing from its rows."""
    import datasets

    rows = set()
    for split in data.values():
        for column, feature in split.features.items():
            if isinstance(feature, datasets.Image):
                cells = split.select_columns(column).cast_column(
                    column, datasets.Image(decode=False)
                )
                rows.update(os.path.normpath(cell["path"]) for cell in cells[:][column] if cell)
    root = folder.resolve()
    photos = [str(file) for file in photo_files(root)]
    if rest := [file for file in photos if file not in rows]:
        log.warning(
            "%s: datasets leaves out %d of %d photos, because they are in no split, in no row of "
            "the metadata, or in a format that it cannot read: %s; folder:PATH reads all",
            place,
            len(rest),
            len(photos),
            some(os.path.relpath(file, root) for file in rest),
        )


def _map_splits(data: datasets.DatasetDict, place: str) -> dict[str, datasets.Dataset]:
    if len(data) == 1:
        return {"train": next(iter(data.values()))}
    found: dict[str, str] = {}
    others = []
    for name in data:
        split = split_named(name)
        if split is None:
            others.append(name)
        elif split in found:
            raise SourceError(f"{place} has two {split} splits, {found[split]!r} and {name!r}.")
        else:
            found[split] = name
    if "train" not in found:
        raise SourceError(f"{place} has no train split; there are {some(data)}.")
    if others:
        log.warning("%s: left out, neither train, valid nor test: %s", place, some(others))
    return {name: data[found[name]] for name in ("train", "valid", "test") if name in found}


def _image_column(features: datasets.Features, named: str | None, place: str) -> str:
    import datasets

    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if named is None:
        return _only(images, "image", features, place)
    feature = _named(named, features, place)
    # Parquet files of other programs hold the same bytes without marking them as an image.
    bare = getattr(feature, "dtype", None) in BINARY
    struct = isinstance(feature, dict) and "bytes" in feature
    if named in images or bare or struct:
        return named
    raise SourceError(
        f"{place}: column {named!r} does not hold images; columns: {_columns(features)}."
    )


def _label_column(features: datasets.Features, named: str | None, place: str) -> str:
    import datasets

    classes = [
        name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)
    ]
    kinds = {name: getattr(feature, "dtype", None) for name, feature in features.items()}
    strings = [name for name, kind in kinds.items() if kind in STRINGS]
    if named is None:
        return _only(classes or strings, "label", features, place)
    _named(named, features, place)
    if named in strings or kinds[named] in INTEGERS:
        return named
    raise SourceError(f"{place}: column {named!r} holds no labels; columns: {_columns(features)}.")


def _named(name: str, features: datasets.Features, place: str) -> Any:
    if name not in features:
        raise SourceError(f"{place} has no column {name!r}; columns: {_columns(features)}.")
    return features[name]


def _only(found: list[str], what: str, features: datasets.Features, place: str) -> str:
    if len(found) == 1:
        return found[0]
    count = f"{len(found)} possible {what} columns" if found else f"no {what} column"
    raise SourceError(
        f"{place} has {count}: name one by ?{what}=COLUMN; columns: {_columns(features)}."
    )


def _columns(features: datasets.Features) -> str:
    """The columns and their types, for a message."""

    def kind(feature: Any) -> str:
        name = type(feature).__name__
        return feature.dtype if name == "Value" else name

    return ", ".join(f"{name} ({kind(feature)})" for name, feature in features.items())


def _labels(
    splits: dict[str, datasets.Dataset], column: str, place: str, skip_bad: bool
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """The class names, and the labels of each split that has any; -1 for rows to leave out."""
    import datasets

    feature = splits["train"].features[column]
    found = {name: data.select_columns(column)[:][column] for name, data in splits.items()}
    if isinstance(feature, datasets.ClassLabel):
        # By convention, -1 stands for a withheld label.
        names = [*feature.names, None]
        found = {s: [None if v is None else names[v] for v in vs] for s, vs in found.items()}
    # A blank cell is no label, and both Unicode forms of a name are the same name.
    found = {s: [_label(value) for value in values] for s, values in found.items()}
    classes = sorted({value for value in found["train"] if value is not None})
    if isinstance(feature, datasets.ClassLabel):  # whose order is kept
        used = {value for values in found.values() for value in values}
        named = list(dict.fromkeys(map(plain_name, feature.names)))
        classes = [name for name in named if name in used]
        if unused := [name for name in named if name not in used]:
            log.warning("%s: classes without any photo are left out: %s", place, some(unused))
    names = [str(value) for value in classes]
    index = {value: i for i, value in enumerate(classes)}
    labels = {}
    for split, values in found.items():
        if split != "train" and all(value is None for value in values):
            log.warning("%s: split %s is left out, because it has no labels", place, split)
            continue
        faults = [
            f"{place}: row {row} of {split} has "
            + ("no label." if value is None else f"the label {value!r}, which train lacks.")
            for row, value in enumerate(values)
            if value not in index
        ]
        what = f"{len(faults)} of {len(values)} rows of {split} in {place}"
        check_faults(faults, what, skip_bad)
        labels[split] = np.array([index.get(value, -1) for value in values], np.int32)
    return tuple(names), labels


def _label(value: str | int | None) -> str | int | None:
    if not isinstance(value, str):
        return value
    return plain_name(value) if value.strip() else None


def _split(data: datasets.Dataset, name: str, column: str, labels: np.ndarray) -> Split:
    import datasets

    data = data.select_columns(column)
    if isinstance(data.features[column], datasets.Image):
        data = data.cast_column(column, datasets.Image(decode=False))
    # Only for an imagefolder does `datasets` check that paths stay inside. In other formats a path
    # may name any file on this computer, so it is not opened.
    trusted = data.builder_name == "imagefolder"

    def read(i: int) -> bytes:
        cell = data[int(i)][column]
        photo = cell.get("bytes") if isinstance(cell, dict) else cell
        if photo is None and trusted:
            photo = pathlib.Path(cell["path"]).read_bytes()
        if photo is None:
            raise OSError("the row has no photo")
        return photo

    names = [f"{name}/{row:06}" for row in range(len(data))]
    if trusted:  # a bad photo is easier to find by its file name
        cells = data[:][column]
        files = [legible(pathlib.Path(cell["path"]).name) for cell in cells]
        names = [f"{name}/{file}" for name, file in zip(names, files, strict=True)]
    every = Split(names=tuple(names), labels=labels, read=read)
    return every.subset(np.flatnonzero(labels >= 0))
