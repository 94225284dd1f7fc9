"""Photos in TFRecords, laid out as in Kaggle's "Petals to the Metal", on disk or on `gs://`.

```
PATH/classes.txt                            the class names in label order, one a line
PATH/224x224/train/00-224x224-462.tfrec     462 records: `image` (JPEG), `class` (int64)
PATH/224x224/val/…  PATH/224x224/test/…     test/ of Kaggle has `id` in the place of `class`
```

`tfrecords-jpeg-224x224` is as good a folder name as `224x224`, and `original` holds photos of any
size (`train.convert` writes it). What TensorFlow's converters and TensorFlow Datasets write is
read, too: `train-00000-of-00004` or `flowers-train.tfrecord-00000-of-00004` without folders, other
features, GZIP and ZLIB. TensorFlow's file system layer does the reading.
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

FOLDERS = {"train": "train", "valid": "val", "test": "test"}  # split -> folder, as Kaggle has it
ORIGINAL = "original"
RESOLUTION = re.compile(rf"(?:tfrecords-jpeg-)?(?:(\d+)x\1|{ORIGINAL})")
SHARD = re.compile(r".+?(\.tfrec(ords?)?(\.gz|\.zlib)?(-\d+-of-\d+)?|-\d+-of-\d+)", re.IGNORECASE)
COUNTED = re.compile(rf"\d+-(?:\d+x\d+|{ORIGINAL})-(\d+)\.tfrec")  # NN-SIZE-COUNT, Kaggle's form
NUMBERED = re.compile(r"(.*)-(\d+)-of-(\d+)(\D.*)?")  # TensorFlow's form, from 0
CLASS_FILES = (
    *("classes.txt", "class_names.txt", "label_names.json"),
    *("labels.txt", "label.labels.txt"),  # of TensorFlow's converters, of TensorFlow Datasets
)
IMAGES = ("image", "image/encoded")
LABELS = ("class", "label", "image/class/label")
TEXT = "image/class/text"  # TensorFlow's converters put the class name there
OPTIONS = ("image", "label")
COMPRESSED = {b"\x1f\x8b": "GZIP", b"\x78\x01": "ZLIB", b"\x78\x9c": "ZLIB", b"\x78\xda": "ZLIB"}
READERS = 16  # shards indexed at once; on gs:// most of them wait for the network
FRAME = 12  # bytes before a record: its length and the length's checksum
FRAMES = 16  # the same and the record's checksum behind it


@dataclasses.dataclass(frozen=True)
class Features:
    """What the features of a record are called that hold its photo and its label."""

    image: str = IMAGES[0]
    label: str = LABELS[0]


class Unpacked:
    """The records of compressed shards, in a temporary file that goes when nothing uses it.

    Photos are read in any order, and in a compressed file all that lies before would be unpacked
    each time. Threads may share it.
    """

    def __init__(self):
        self._file = tempfile.TemporaryFile(prefix="flowers-")  # noqa: SIM115
        self._lock = threading.Lock()

    def add(self, record: bytes) -> int:
        """Keep a record; returns its offset.

        Raises:
            SourceError: the disk has no room.
        """
        with self._lock:
            try:
                offset = self._file.seek(0, os.SEEK_END)
                self._file.write(record)
                self._file.flush()
            except OSError as error:
                raise SourceError(
                    f"Compressed shards cannot be unpacked in {tempfile.gettempdir()} "
                    f"({error.strerror}): set TMPDIR to a folder with more room."
                ) from error
            return offset

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a record."""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)


@dataclasses.dataclass(frozen=True)
class Shard:
    """Where the records of one file lie, and their labels.

    `offsets` and `lengths`, int64 (N,), are the bytes of each record without its frame, in the file
    or, of a compressed one, in `unpacked`; `labels` has None for a record that cannot be used, and
    `texts` what the records call the labels. `faults` say what is wrong, and `total` is how many
    records there should be.
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
        """What to call record `i` in a message; people count from 1."""
        return f"{self.path} record {i + 1}"


def open_source(text: str, options: Options) -> Source:
    """Open TFRecords of labelled photos; all of them are read once, for labels and checksums.

    A test split without labels, as Kaggle's, is left out. The class names are those of
    `classes.txt`, or another of `CLASS_FILES`, in the folder or in the one around a resolution;
    else those that the records bring along; else those of "Petals to the Metal", if the labels fit
    and are called as there. Labels that count from 1 up to the number of names are taken so.

    Args:
        text: a folder of resolution folders, or one of these, or one that holds shards with names
            of splits; local or gs://. At its end may stand `?image=FEATURE` and `label=FEATURE`,
            joined by `&`, where these features have no name of `IMAGES` and `LABELS`.
        options: of the resolutions, the smallest that is not below `image_size` is read, or the
            largest there is. `skip_bad` leaves out bad records and what follows damage in a shard.
            `seed` and `cut` do not matter: the records come with their splits.

    Raises:
        SourceError: no shards, or a place that cannot be read; without `skip_bad` also a damaged or
            a missing shard, one that holds another number of records than its name says, a record
            without a photo or a label, or with a label outside the class list.
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
        class_names, class_file = _known_names(path, indexed, features.label)
    labels = {label for shard in indexed for label in shard.labels if label is not None}
    # TensorFlow's converters leave 0 to the background.
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
            log.info("%s: %s has no photo of %d classes", root, split, lacking)
    name = os.path.basename(path)
    return Source(name=name, class_names=class_names, splits=splits, credits=f"Photos from {name}")


def is_shard(name: str) -> bool:
    """Whether a file is one of TFRecords, by its name; macOS leaves `._…` beside each."""
    return not name.startswith(".") and SHARD.fullmatch(name) is not None


def compression(path: str) -> str | None:
    """How a shard is compressed, in TensorFlow's word; None: it is not."""
    with readable(path):
        with tf.io.gfile.GFile(path, "rb") as file:
            kind = COMPRESSED.get(file.read(2))
        # The length of a first record may begin with the same bytes.
        with contextlib.suppress(tf.errors.DataLossError):
            if kind and next(tf.data.TFRecordDataset(path).take(1).as_numpy_iterator()):
                return None
    return kind


def index_shard(
    path: str, features: Features | None = None, unpacked: Unpacked | None = None
) -> Shard:
    """Read a shard through once: where each record lies, its label, and what is wrong.

    Args:
        path: a file, which may be compressed.
        features: what to read; None: the features of Kaggle's layout.
        unpacked: takes the records of a compressed file; None: one of its own does.

    Raises:
        SourceError: the shard cannot be read or unpacked.
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
                # Behind a damaged length nothing can be found, so the rest of the shard is lost.
                what = f"is cut short or damaged ({_reason(error)}): copy the file once more."
                faults.append(f"{place} {what}")
                break
            if record is None:
                if counted and len(lengths) != int(counted[1]):
                    what = f"holds {len(lengths)} records, {int(counted[1])} by its name"
                    faults.append(f"{path} {what}: copy the file once more.")
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
    offsets = np.array(places) if unpacked else np.cumsum(sizes + FRAMES) - sizes - FRAMES + FRAME
    total = max(int(counted[1]) if counted else 0, len(lengths))
    return Shard(path, offsets, sizes, labels, texts, faults, total, unpacked)


def _label(record: bytes, named: Features) -> tuple[int, str]:
    """The label of a record, and the name that it gives it; ValueError where it cannot be used."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError("is no tf.train.Example: write image (JPEG) and class (int64)") from error
    if named.image not in features or len(features[named.image].bytes_list.value) != 1:
        what = f"has no photo: one is needed as the bytes feature {named.image!r}"
        raise ValueError(f"{what}, or name another by ?image=FEATURE; {_listed(features)}")
    label = features[named.label].int64_list.value if named.label in features else []
    if len(label) != 1:
        what = f"has no label: one is needed as the int64 feature {named.label!r}"
        raise ValueError(f"{what}, or name another by ?label=FEATURE; {_listed(features)}")
    text = features[TEXT].bytes_list.value if TEXT in features else []
    return label[0], text[0].decode("utf-8", "replace").strip() if text else ""


def _listed(features: Mapping[str, tf.train.Feature]) -> str:
    """The features of a record with their types, for a message."""
    kinds = ((name, features[name].WhichOneof("kind") or "empty") for name in sorted(features))
    found = some((f"{n} ({kind.removesuffix('_list')})" for n, kind in kinds), quote=False)
    return f"it has {found or 'no feature'}"


def resolution(path: str, image_size: int | None) -> str:
    """The folder to read: `path` itself, or the resolution in it that suits the input."""
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
    """The split that a folder, or a word in a shard's name, stands for."""
    if not is_shard(name):
        return split_named(name)
    found = {split_named(word) for word in re.split(r"[^a-zA-Z]+", name)} - {None}
    return found.pop() if len(found) == 1 else None


def _shard_paths(root: str, split: str) -> list[str]:
    """The shards in the folder of a split, or with its name; of test there may be none.

    Raises:
        SourceError: there are none, or the split has two folders.
    """
    names = [name for name in entries(root) if _split_of(name) == split]
    folders = [name for name in names if not is_shard(name)]
    if len(folders) > 1:
        raise SourceError(f"{root} has two {split} folders, {some(folders)}: keep one.")
    if names and not folders:
        return [f"{root}/{name}" for name in names]
    folder = f"{root}/{folders[0] if folders else FOLDERS[split]}"
    paths = [f"{folder}/{name}" for name in entries(folder) if is_shard(name)]
    if not paths and split != "test":
        raise SourceError(f"{folder} has no *.tfrec files: put the shards of {split} there.")
    return paths


def _missing(paths: list[str]) -> Iterator[str]:
    """A sentence for each set of numbered shards that is not there whole."""
    sets: dict[tuple[str, int], set[int]] = collections.defaultdict(set)
    for path in paths:
        if part := NUMBERED.fullmatch(path):
            sets[part[1], int(part[3])].add(int(part[2]))
    for (name, count), numbers in sets.items():
        if lacking := sorted(set(range(count)) - numbers):
            which = some((f"{number:05}" for number in lacking), quote=False)
            yield f"{name} lacks {len(lacking)} of its {count} shards ({which}): copy them, too."


def _index(split: str, paths: list[str], features: Features) -> list[Shard]:
    from train.devices.progress import progress

    unpacked = Unpacked()
    with ThreadPoolExecutor(READERS) as pool:
        shards = pool.map(lambda path: index_shard(path, features, unpacked), paths)
        return list(progress(shards, f"indexing {split}", len(paths), "shards"))


def _features(path: str, named: dict[str, str]) -> Features:
    """What a shard's first record calls its photo and its label, where they are not `named`.

    Raises:
        SourceError: several may be the label.
    """
    features = first_record(path)
    images = [name for name in IMAGES if name in features]
    labels = [name for name in LABELS if name in features]
    if len(labels) > 1 and "label" not in named:
        raise SourceError(
            f"{path} has several features that may be the label, {some(labels)}: name one by "
            "?label=FEATURE."
        )
    # Where there is none, `index_shard` says what is needed.
    found = {"image": (*images, *IMAGES)[0], "label": (*labels, *LABELS)[0]}
    return Features(**found | named)


def first_record(path: str) -> Mapping[str, tf.train.Feature]:
    """The features of a shard's first record; none where it is bad or missing."""
    kind = compression(path)
    with readable(path), contextlib.suppress(DecodeError, tf.errors.DataLossError):
        for record in tf.data.TFRecordDataset(path, kind).take(1).as_numpy_iterator():
            return tf.train.Example.FromString(record).features.feature
    return {}


def _is_unlabelled(path: str, named: Features) -> bool:
    """Whether the first record has an `id` in the place of a label, or the label -1."""
    features = first_record(path)
    if named.label in features:
        return list(features[named.label].int64_list.value) == [-1]
    return "id" in features


def _known_names(path: str, shards: list[Shard], label: str) -> tuple[tuple[str, ...], str]:
    """The class names in label order, and where they are from, where no file lists them.

    Raises:
        SourceError: they are not known.
    """
    texts: dict[int, str] = {}
    for shard in shards:
        texts |= shard.texts
    labels = sorted({label for shard in shards for label in shard.labels if label is not None})
    largest = max(labels, default=0)
    names = tuple(texts.get(label, "") for label in labels)
    if labels in (list(range(largest + 1)), list(range(1, largest + 1))) and _can_be_names(names):
        return names, TEXT
    if label == LABELS[0] and largest < len(flower_names.petals104()):
        log.info("%s has no %s: the classes are those of Petals to the Metal", path, CLASS_FILES[0])
        return flower_names.petals104(), "Petals to the Metal"
    raise SourceError(
        f"{path} has labels up to {largest} and no class names: put them into "
        f"{path}/{CLASS_FILES[0]}, one a line in label order."
    )


def _place(root: str, paths: list[str]) -> str:
    """What to call the shards of a split in a message."""
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
            f"{shard.record(i)} has the class {label}: the classes of {class_file} are "
            f"{classes[0]} to {classes[-1]}."
            for i, label in enumerate(shard.labels)
            if label is not None and label not in classes
        ]
    places = [
        (shard, i) for shard in shards for i, label in enumerate(shard.labels) if label in classes
    ]
    total = sum(shard.total for shard in shards)
    check_faults(faults, f"{total - len(places)} of {total} records of {place}", skip_bad)
    if not places:
        raise SourceError(f"{place} has no record that can be used: put photos there.")
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
    """`read(path, offset, length)`, which threads may share."""
    # Each thread keeps its last file open: photos read in order come out of a file's buffer.
    mine = threading.local()

    def read(path: str, offset: int, length: int) -> bytes:
        if getattr(mine, "path", None) != path:
            mine.file, mine.path = tf.io.gfile.GFile(path, "rb"), path
        mine.file.seek(offset)
        return mine.file.read(length)

    return read


def _class_file(path: str, root: str) -> str | None:
    """The file of class names in `path`, `root` or the folder around a resolution."""
    folders = [path, root]
    if RESOLUTION.fullmatch(os.path.basename(path)):
        folders.append(os.path.dirname(path))
    for file in (f"{folder}/{name}" for folder in folders for name in CLASS_FILES):
        with readable(file):
            if tf.io.gfile.exists(file):
                return file
    return None


def _read_names(path: str) -> tuple[str, ...]:
    """The class names of a text file, one a line, or of JSON: a list, or label -> name."""
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
                raise ValueError("neither a list nor an object of names")
        names = tuple(plain_name(name.strip()) for name in names)
    except (ValueError, KeyError) as error:
        what = 'write ["rose", "iris"], UTF-8' if path.endswith(".json") else "one a line, UTF-8"
        raise SourceError(f"{path} is no list of class names: {what}.") from error
    if not _can_be_names(names):
        raise SourceError(f"{path} needs two class names or more, each once, none of them empty.")
    return names


def _can_be_names(names: tuple[str, ...]) -> bool:
    return len(names) > 1 and len(set(names)) == len(names) and "" not in names


def entries(folder: str) -> list[str]:
    """The names in a folder, sorted; none where there is no such folder."""
    with readable(folder):
        if not tf.io.gfile.isdir(folder):
            return []
        # gs:// lists folders with a slash behind.
        return sorted(name.rstrip("/") for name in tf.io.gfile.listdir(folder))


@contextlib.contextmanager
def readable(path: str) -> Iterator[None]:
    """Make one line of what TensorFlow's file systems raise."""
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
    # The rest tells of TensorFlow's own nodes, or is the page that a server sent.
    first = error.message.strip().splitlines()[0]
    return re.sub(r"^\{\{.*?\}\}\s*|'? failed with .*|\s*\[Op:.*", "", first)
