"""Photos in TFRecords, laid out as in Kaggle's "Petals to the Metal", on disk or on `gs://`.

```
PATH/classes.txt                            class names in label order, one per line
PATH/224x224/train/00-224x224-462.tfrec     462 records: `image` (JPEG), `class` (int64)
PATH/224x224/val/…  PATH/224x224/test/…     Kaggle's test/ has `id` instead of `class`
```

A resolution folder may also be called `tfrecords-jpeg-224x224`, or `original` for photos of any
size (`train.convert` writes both). The output of TensorFlow's converters and of TensorFlow Datasets
is read as well: shards without folders (`train-00000-of-00004`,
`flowers-train.tfrecord-00000-of-00004`), other feature names, and GZIP or ZLIB compression. All
files are read through TensorFlow's file system layer.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import logging
import math
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from flowers_model import names as flower_names
from flowers_model.files import expanded
from train.sources.base import (
    Options,
    Source,
    SourceError,
    Split,
    check_faults,
    plain_name,
    split_options,
)
from train.sources.splits import some, split_named

log = logging.getLogger("flowers")

FOLDERS = {"train": "train", "valid": "val", "test": "test"}  # split -> Kaggle's folder
ORIGINAL = "original"
RESOLUTION = re.compile(rf"(?:tfrecords-jpeg-)?(?:(\d+)x\1|{ORIGINAL})")
SHARD = re.compile(r".+?(\.tfrec(ords?)?(\.gz|\.zlib)?(-\d+-of-\d+)?|-\d+-of-\d+)", re.IGNORECASE)
COUNTED = re.compile(rf"\d+-(?:\d+x\d+|{ORIGINAL})-(\d+)\.tfrec")  # Kaggle: NN-SIZE-COUNT
NUMBERED = re.compile(r"(.*)-(\d+)-of-(\d+)(\D.*)?")  # TensorFlow, counting from 0
CLASS_FILES = (
    *("classes.txt", "class_names.txt", "label_names.json"),
    *("labels.txt", "label.labels.txt"),  # TensorFlow's converters, TensorFlow Datasets
)
IMAGES = ("image", "image/encoded")
LABELS = ("class", "label", "image/class/label")
TEXT = "image/class/text"  # the class name, in the output of TensorFlow's converters
OPTIONS = ("image", "label")
COMPRESSED = {b"\x1f\x8b": "GZIP", b"\x78\x01": "ZLIB", b"\x78\x9c": "ZLIB", b"\x78\xda": "ZLIB"}
READERS = 16  # threads that index shards; on gs:// most of them wait for the network
HEADER = 12  # bytes before a record: its length and the checksum of the length
FOOTER = 4  # bytes after it: its checksum


@dataclasses.dataclass(frozen=True)
class Features:
    """The names of the features that hold a record's photo and its label."""

    image: str = IMAGES[0]
    label: str = LABELS[0]


class Unpacked:
    """The decompressed records of shards, in a temporary file that is deleted with this object.

    Photos are read in random order, and seeking in a compressed file decompresses everything before
    the position. Thread-safe.
    """

    def __init__(self):
        self._file = tempfile.TemporaryFile(prefix="flowers-")  # noqa: SIM115
        self._lock = threading.Lock()

    def add(self, record: bytes) -> int:
        """Append a record; returns its offset.

        Raises:
            SourceError: the disk is full.
        """
        with self._lock:
            try:
                offset = self._file.seek(0, os.SEEK_END)
                self._file.write(record)
                self._file.flush()
            except OSError as error:
                raise SourceError(
                    f"Compressed shards cannot be unpacked in {tempfile.gettempdir()} "
                    f"({error.strerror}): set TMPDIR to a folder with more space."
                ) from error
            return offset

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a record."""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)


@dataclasses.dataclass(frozen=True)
class Shard:
    """The index of one file: where its records are, and their labels.

    Attributes:
        path: the file.
        offsets, lengths: int64 (N,), the position and size of each record in bytes, without header
            and footer; in `unpacked` if the file is compressed.
        labels: one per record; None if the record is bad.
        texts: class names by label, if the records contain them.
        faults: a sentence for each fault.
        total: how many records there should be.
        unpacked: the records of a compressed file.
    """

    path: str
    offsets: np.ndarray
    lengths: np.ndarray
    labels: list[int | None]
    texts: dict[int, str]
    faults: list[str]
    total: int
    unpacked: Unpacked | None = None

    def record(self, i: int) -> str:
        """The name of record `i` in messages, which count from 1."""
        return f"{self.path} record {i + 1}"


def open_source(text: str, options: Options) -> Source:
    """Open TFRecords of labelled photos, and read every record once for labels and checksums.

    A test split without labels, such as Kaggle's, is left out. Class names come from one of
    `CLASS_FILES`, in the folder or in the parent of a resolution folder; else from the records
    themselves; else they are those of "Petals to the Metal", if the label feature has the name that
    it has there and all labels are in its range. Labels may start at 0 or at 1.

    Args:
        text: a folder of resolution folders, a resolution folder, or a folder of shards named after
            splits; local or gs://. `?image=FEATURE&label=FEATURE` at the end names the features
            that are called neither as in `IMAGES` nor as in `LABELS`.
        options: `image_size` selects the smallest resolution that is at least as large, or the
            largest one. `skip_bad` leaves out bad records, and the rest of a shard after damage.
            `seed` and `cut` have no effect: the records come with their splits.

    Raises:
        SourceError: if there are no shards, or a file cannot be read; without `skip_bad` also for a
            damaged or missing shard, a shard whose record count is not the one in its name, and a
            record without a photo or label or with a label outside the class list.
    """
    path, named = split_options(str(text), OPTIONS, "?image=FEATURE&label=FEATURE")
    path = path.rstrip("/") or "/"
    if "://" not in path:
        path = os.path.abspath(expanded(path))
    with readable(path):
        if not tf.io.gfile.exists(path):
            raise SourceError(f"There is no folder {path}: check the path.")
    root = resolution(path, options.image_size)
    class_file = _class_file(path, root)
    paths = {split: _shard_paths(root, split) for split in FOLDERS}
    features = _features(paths["train"][0], named)
    if paths["test"] and _is_unlabelled(paths["test"][0], features):
        log.info("%s has no labels, so there is no test split", _place(root, paths.pop("test")))
    shards = {split: _index(split, found, features) for split, found in paths.items() if found}
    indexed = [shard for found in shards.values() for shard in found]
    if class_file:
        class_names = _read_names(class_file)
    else:
        class_names, class_file = _names_without_file(path, indexed, features.label)
    labels = {label for shard in indexed for label in shard.labels if label is not None}
    # TensorFlow's converters reserve 0 for the background.
    first = int(bool(labels) and min(labels) == 1 and max(labels) == len(class_names))
    if first:
        log.info("%s: labels count from 1", root)
    classes = range(first, first + len(class_names))
    splits = {
        split: _split(root, found, classes, class_file, features.image, options.skip_bad)
        for split, found in shards.items()
    }
    for split, found in splits.items():
        if lacking := len(class_names) - len(np.unique(found.labels)):
            log.info("%s: %s has no photos of %d classes", root, split, lacking)
    name = os.path.basename(path)
    return Source(name=name, class_names=class_names, splits=splits, credits=f"Photos from {name}")


def is_shard(name: str) -> bool:
    """Whether a name is that of a TFRecord file; macOS adds a `._…` file to each, which is not."""
    return not name.startswith(".") and SHARD.fullmatch(name) is not None


def compression(path: str) -> str | None:
    """The compression of a shard as TensorFlow calls it, or None."""
    with readable(path):
        with tf.io.gfile.GFile(path, "rb") as file:
            kind = COMPRESSED.get(file.read(2))
        # The length of the first record may begin with the same bytes as a compressed file.
        with contextlib.suppress(tf.errors.DataLossError):
            if kind and next(tf.data.TFRecordDataset(path).take(1).as_numpy_iterator()):
                return None
    return kind


def index_shard(
    path: str, features: Features | None = None, unpacked: Unpacked | None = None
) -> Shard:
    """Read a shard once and index its records.

    Args:
        path: a file, which may be compressed.
        features: the features to read; None for those of Kaggle's layout.
        unpacked: where to put the records of a compressed file; None for a new one.

    Raises:
        SourceError: if the shard cannot be read or unpacked.
    """
    features = features or Features()
    kind = compression(path)
    unpacked = (unpacked or Unpacked()) if kind else None
    counted = COUNTED.fullmatch(os.path.basename(path))
    lengths: list[int] = []
    places: list[int] = []
    labels: list[int | None] = []
    texts: dict[int, str] = {}
    faults: list[str] = []
    with readable(path):
        data = tf.data.TFRecordDataset(path, compression_type=kind, buffer_size=2**20)
        records = data.as_numpy_iterator()
        while True:
            place = f"{path} record {len(lengths) + 1}"
            try:
                record = next(records, None)
            except tf.errors.DataLossError as error:
                # After a damaged length no further record can be found.
                what = f"is truncated or damaged ({_reason(error)}): copy the file again."
                faults.append(f"{place} {what}")
                break
            if record is None:
                if counted and len(lengths) != int(counted[1]):
                    what = (
                        f"has {len(lengths)} records, but {int(counted[1])} according to its name"
                    )
                    faults.append(f"{path} {what}: copy the file again.")
                break
            try:
                label, text = _label(record, features)
                labels.append(label)
                texts.setdefault(label, text)
            except ValueError as error:
                labels.append(None)
                faults.append(f"{place} {error}.")
            lengths.append(len(record))
            if unpacked:
                places.append(unpacked.add(record))
    sizes = np.array(lengths, np.int64)
    offsets = np.array(places) if unpacked else np.cumsum(HEADER + sizes + FOOTER) - sizes - FOOTER
    total = max(int(counted[1]) if counted else 0, len(lengths))
    return Shard(path, offsets, sizes, labels, texts, faults, total, unpacked)


def _label(record: bytes, named: Features) -> tuple[int, str]:
    """The label of a record and its class name, if it has one.

    Raises:
        ValueError: if the record is bad; the message says why.
    """
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError(
            "is not a tf.train.Example: write image (JPEG) and class (int64)"
        ) from error
    if named.image not in features or len(features[named.image].bytes_list.value) != 1:
        what = f"has no photo in the bytes feature {named.image!r}"
        raise ValueError(f"{what}: name another by ?image=FEATURE; {_list_features(features)}")
    label = features[named.label].int64_list.value if named.label in features else []
    if len(label) != 1:
        what = f"has no label in the int64 feature {named.label!r}"
        raise ValueError(f"{what}: name another by ?label=FEATURE; {_list_features(features)}")
    text = features[TEXT].bytes_list.value if TEXT in features else []
    return label[0], text[0].decode("utf-8", "replace").strip() if text else ""


def _list_features(features: Mapping[str, tf.train.Feature]) -> str:
    """The features of a record with their types, for a message."""
    kinds = ((name, features[name].WhichOneof("kind") or "empty") for name in sorted(features))
    found = some((f"{n} ({kind.removesuffix('_list')})" for n, kind in kinds), quote=False)
    return f"it has {found or 'no features'}"


def resolution(path: str, image_size: int | None) -> str:
    """The folder to read: `path` itself, or the resolution folder in it that fits `image_size`."""
    found = entries(path)
    if any(_split_of(name) == "train" for name in found):
        return path
    sides = {}
    for name in found:
        if fits := RESOLUTION.fullmatch(name):
            sides.setdefault(int(fits[1]) if fits[1] else math.inf, f"{path}/{name}")
    if not sides:
        raise SourceError(
            f"{path} has no TFRecords: it needs folders such as 224x224/ or "
            "tfrecords-jpeg-224x224/, or train/ and val/, or files such as "
            "train-00000-of-00004.tfrecord and validation-00000-of-00001.tfrecord."
        )
    large_enough = [side for side in sides if image_size is not None and side >= image_size]
    chosen = sides[min(large_enough, default=max(sides))]
    log.info("reading %s", chosen)
    return chosen


def _split_of(name: str) -> str | None:
    """The split that a folder's name, or a word in a shard's name, stands for."""
    if not is_shard(name):
        return split_named(name)
    found = {split_named(word) for word in re.split(r"[^a-zA-Z]+", name)} - {None}
    return found.pop() if len(found) == 1 else None


def _shard_paths(root: str, split: str) -> list[str]:
    """The shards in the folder of a split, or with the split in their names.

    Raises:
        SourceError: if there are none of train or valid, or if the split has two folders.
    """
    names = [name for name in entries(root) if _split_of(name) == split]
    folders = [name for name in names if not is_shard(name)]
    if len(folders) > 1:
        raise SourceError(f"{root} has several {split} folders ({some(folders)}): keep one.")
    if names and not folders:
        return [f"{root}/{name}" for name in names]
    folder = f"{root}/{folders[0] if folders else FOLDERS[split]}"
    paths = [f"{folder}/{name}" for name in entries(folder) if is_shard(name)]
    if not paths and split != "test":
        raise SourceError(f"{folder} has no *.tfrec files: put the shards of {split} there.")
    return paths


def _missing(paths: list[str]) -> Iterator[str]:
    """A sentence for each set of numbered shards that is incomplete."""
    sets: dict[tuple[str, int], set[int]] = collections.defaultdict(set)
    for path in paths:
        if part := NUMBERED.fullmatch(path):
            sets[part[1], int(part[3])].add(int(part[2]))
    for (name, count), numbers in sets.items():
        if lacking := sorted(set(range(count)) - numbers):
            which = some((f"{number:05}" for number in lacking), quote=False)
            yield f"{name} lacks {len(lacking)} of its {count} shards ({which}): copy them as well."


def _index(split: str, paths: list[str], features: Features) -> list[Shard]:
    from train.devices.progress import progress

    unpacked = Unpacked()
    with ThreadPoolExecutor(READERS) as pool:
        shards = pool.map(lambda path: index_shard(path, features, unpacked), paths)
        return list(progress(shards, f"indexing {split}", len(paths), "shards"))


def _features(path: str, named: dict[str, str]) -> Features:
    """The features to read: those that are `named`, else those found in a shard's first record.

    Raises:
        SourceError: if several features may be the label.
    """
    features = first_record(path)
    images = [name for name in IMAGES if name in features]
    labels = [name for name in LABELS if name in features]
    if len(labels) > 1 and "label" not in named:
        raise SourceError(
            f"{path} has several features that may be the label ({some(labels)}): name one by "
            "?label=FEATURE."
        )
    # If there is none, `index_shard` reports it.
    found = {"image": (*images, *IMAGES)[0], "label": (*labels, *LABELS)[0]}
    return Features(**found | named)


def first_record(path: str) -> Mapping[str, tf.train.Feature]:
    """The features of a shard's first record; empty if there is none or it is bad."""
    kind = compression(path)
    with readable(path), contextlib.suppress(DecodeError, tf.errors.DataLossError):
        for record in tf.data.TFRecordDataset(path, kind).take(1).as_numpy_iterator():
            return tf.train.Example.FromString(record).features.feature
    return {}


def _is_unlabelled(path: str, named: Features) -> bool:
    """Whether the first record has an `id` instead of a label, or the label -1."""
    features = first_record(path)
    if named.label in features:
        return list(features[named.label].int64_list.value) == [-1]
    return "id" in features


def _names_without_file(path: str, shards: list[Shard], label: str) -> tuple[tuple[str, ...], str]:
    """The class names in label order and their origin, if no file lists them.

    Raises:
        SourceError: if there are none.
    """
    texts: dict[int, str] = {}
    for shard in shards:
        texts |= shard.texts
    labels = sorted({label for shard in shards for label in shard.labels if label is not None})
    largest = max(labels, default=0)
    names = tuple(texts.get(label, "") for label in labels)
    if labels in (list(range(largest + 1)), list(range(1, largest + 1))) and _are_valid_names(
        names
    ):
        return names, TEXT
    if label == LABELS[0] and largest < len(flower_names.petals104()):
        log.info("%s has no %s: the classes are those of Petals to the Metal", path, CLASS_FILES[0])
        return flower_names.petals104(), "Petals to the Metal"
    raise SourceError(
        f"{path} has labels up to {largest} and no class names: write them into "
        f"{path}/{CLASS_FILES[0]}, one per line in label order."
    )


def _place(root: str, paths: list[str]) -> str:
    """The name of a split's shards in messages."""
    folder = os.path.dirname(paths[0])
    return folder if folder != root else f"{root}/{os.path.basename(paths[0])}"


def _split(
    root: str, shards: list[Shard], classes: range, class_file: str, image: str, skip_bad: bool
) -> Split:
    paths = [shard.path for shard in shards]
    place = _place(root, paths)
    faults = list(_missing(paths))
    for shard in shards:
        faults += shard.faults
        faults += [
            f"{shard.record(i)} has the class {label}: those of {class_file} are {classes[0]} to "
            f"{classes[-1]}."
            for i, label in enumerate(shard.labels)
            if label is not None and label not in classes
        ]
    places = [
        (shard, i) for shard in shards for i, label in enumerate(shard.labels) if label in classes
    ]
    total = sum(shard.total for shard in shards)
    check_faults(faults, f"{total - len(places)} of {total} records of {place}", skip_bad)
    if not places:
        raise SourceError(f"{place} has no usable record: put photos there.")
    read_bytes = _reader()

    def read(i: int) -> bytes:
        shard, k = places[i]
        try:
            offset, length = int(shard.offsets[k]), int(shard.lengths[k])
            if shard.unpacked:
                record = shard.unpacked.read(offset, length)
            else:
                record = read_bytes(shard.path, offset, length)
            photo = tf.train.Example.FromString(record).features.feature[image]
            return photo.bytes_list.value[0]
        except tf.errors.OpError as error:
            raise OSError(f"{shard.record(k)} cannot be read: {_reason(error)}") from error
        except (DecodeError, IndexError) as error:
            raise OSError(f"{shard.record(k)} has changed since it was indexed") from error

    return Split(
        names=tuple(shard.record(i).removeprefix(f"{root}/") for shard, i in places),
        labels=np.array([shard.labels[i] - classes[0] for shard, i in places], np.int32),
        read=read,
    )


def _reader() -> Callable[[str, int, int], bytes]:
    """A thread-safe `read(path, offset, length)`."""
    # Each thread keeps its last file open: photos read in order then come from its buffer.
    mine = threading.local()

    def read(path: str, offset: int, length: int) -> bytes:
        if getattr(mine, "path", None) != path:
            mine.file, mine.path = tf.io.gfile.GFile(path, "rb"), path
        mine.file.seek(offset)
        return mine.file.read(length)

    return read


def _class_file(path: str, root: str) -> str | None:
    """The file of class names in `path`, in `root` or in the parent of a resolution folder."""
    folders = [path, root]
    if RESOLUTION.fullmatch(os.path.basename(path)):
        folders.append(os.path.dirname(path))
    for file in (f"{folder}/{name}" for folder in folders for name in CLASS_FILES):
        with readable(file):
            if tf.io.gfile.exists(file):
                return file
    return None


def _read_names(path: str) -> tuple[str, ...]:
    """The class names in a text file (one per line) or in JSON (a list, or label -> name)."""
    try:
        with readable(path), tf.io.gfile.GFile(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
        if not path.endswith(".json"):
            names = text.rstrip().splitlines()
            # TensorFlow's converters write "0:daisy".
            if all(re.match(rf"{label}:", name) for label, name in enumerate(names)):
                names = [name.partition(":")[2] for name in names]
        else:
            names = json.loads(text)
            if isinstance(names, dict):
                names = [names[str(label)] for label in range(len(names))]
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("neither a list of names nor an object")
        names = tuple(plain_name(name.strip()) for name in names)
    except (ValueError, KeyError) as error:
        what = '["rose", "iris"]' if path.endswith(".json") else "one name per line"
        raise SourceError(f"{path} is not a list of class names: write {what} in UTF-8.") from error
    if not _are_valid_names(names):
        raise SourceError(f"{path} needs two or more class names, each once, none of them empty.")
    return names


def _are_valid_names(names: tuple[str, ...]) -> bool:
    return len(names) > 1 and len(set(names)) == len(names) and "" not in names


def entries(folder: str) -> list[str]:
    """The sorted names in a folder; empty if there is no such folder."""
    with readable(folder):
        if not tf.io.gfile.isdir(folder):
            return []
        # gs:// lists folders with a trailing slash.
        return sorted(name.rstrip("/") for name in tf.io.gfile.listdir(folder))


@contextlib.contextmanager
def readable(path: str) -> Iterator[None]:
    """Turn the errors of TensorFlow's file systems into a `SourceError` of one line."""
    try:
        yield
    except tf.errors.OpError as error:
        remedy = "check the path and its permissions"
        if path.startswith("gs://"):
            remedy = (
                "check the address and the network, and sign in with `gcloud auth "
                "application-default login` or GOOGLE_APPLICATION_CREDENTIALS"
            )
        raise SourceError(f"{path} cannot be read ({_reason(error)}): {remedy}.") from error


def _reason(error: tf.errors.OpError) -> str:
    # The rest is about TensorFlow's own nodes, or is the page that a server sent.
    first = error.message.strip().splitlines()[0]
    return re.sub(r"^\{\{.*?\}\}\s*|'? failed with .*|\s*\[Op:.*", "", first)
