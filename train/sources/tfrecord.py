"""Photos in TFRecords, laid out as in Kaggle's "Petals to the Metal", on disk or on `gs://`.

```
PATH/classes.txt                            the class names in label order, one a line
PATH/224x224/train/00-224x224-462.tfrec     462 records: `image` (JPEG), `class` (int64)
PATH/224x224/val/…  PATH/224x224/test/…     test/ of Kaggle has `id` in the place of `class`
```

`tfrecords-jpeg-224x224` is as good a folder name as `224x224`, and `original` holds photos of any
size (`train.convert` writes it). TensorFlow's file system layer does the reading.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from flowers_model import names as flower_names
from train.sources.base import Source, SourceError, Split, check_faults

log = logging.getLogger("flowers")

FOLDERS = {"train": "train", "valid": "val", "test": "test"}  # split -> folder
ORIGINAL = "original"
RESOLUTION = re.compile(rf"(?:tfrecords-jpeg-)?(?:(\d+)x\1|{ORIGINAL})")
SHARD = re.compile(r".*-(\d+)\.tfrec")  # …-COUNT.tfrec
CLASS_FILES = ("classes.txt", "class_names.txt", "label_names.json")
READERS = 16  # shards indexed at once; on gs:// most of them wait for the network
FRAME = 12  # bytes before a record: its length and the length's checksum
FRAMES = 16  # the same and the record's checksum behind it


@dataclasses.dataclass(frozen=True)
class Shard:
    """Where the records of one file lie, and their labels.

    `offsets` and `lengths`, int64 (N,), are the bytes of each record without its frame; `labels`
    has None for a record that cannot be used. `faults` say what is wrong, and `total` is how many
    records there should be.
    """

    path: str
    offsets: np.ndarray
    lengths: np.ndarray
    labels: list[int | None]
    faults: list[str]
    total: int

    def record(self, i: int) -> str:
        """What to call record `i` in a message; people count from 1."""
        return f"{self.path} record {i + 1}"


def open_tfrecord(
    path: str | os.PathLike, seed: int, image_size: int | None = None, skip_bad: bool = False
) -> Source:
    """Open TFRecords of labelled photos; all of them are read once, for labels and checksums.

    A test/ without labels, as Kaggle's, is left out. The class names are those of `classes.txt`,
    `class_names.txt` or `label_names.json` in `path` or in the folder around a resolution; where
    there is none, those of "Petals to the Metal", if the labels fit.

    Args:
        path: a folder of resolution folders, or one of these; local or gs://.
        seed: not used: the records bring their splits along.
        image_size: side of the network's input in pixels. The smallest resolution that is not
            below it is read, or the largest there is; None: the largest.
        skip_bad: leave out bad records and what lies behind damage in a shard, and log it.

    Raises:
        SourceError: no shards, or a place that cannot be read; without `skip_bad` also a damaged
            shard, one that holds another number of records than its name says, a record without a
            photo or a label, or with a label outside the class list.
    """
    path = str(path).rstrip("/") or "/"
    if "://" not in path:
        path = os.path.abspath(os.path.expanduser(path))
    with readable(path):
        if not tf.io.gfile.exists(path):
            raise SourceError(f"There is no folder {path}: check the path.")
    root = resolution(path, image_size)
    class_file = _class_file(path, root)
    shards = {split: _index_split(root, split) for split in FOLDERS}
    shards = {split: found for split, found in shards.items() if found}
    labels = [label for found in shards.values() for shard in found for label in shard.labels]
    largest = max((label for label in labels if label is not None), default=0)
    if class_file:
        class_names = _read_names(class_file)
    elif largest < len(flower_names.petals104()):
        class_names, class_file = flower_names.petals104(), "Petals to the Metal"
        log.info("%s has no %s: the classes are those of %s", path, CLASS_FILES[0], class_file)
    else:
        raise SourceError(
            f"{path} has labels up to {largest} and no class names: put them into "
            f"{path}/{CLASS_FILES[0]}, one a line in label order."
        )
    splits = {
        split: _split(root, split, found, class_names, class_file, skip_bad)
        for split, found in shards.items()
    }
    for split, found in splits.items():
        if lacking := len(class_names) - len(np.unique(found.labels)):
            log.info("%s: %s has no photo of %d classes", root, split, lacking)
    name = os.path.basename(path)
    return Source(name=name, class_names=class_names, splits=splits, credits=f"Photos from {name}")


def index_shard(path: str) -> Shard:
    """Read a shard through once: where each record lies, its label, and what is wrong.

    Raises:
        SourceError: the shard cannot be read, or its name has no count.
    """
    named = SHARD.fullmatch(os.path.basename(path))
    if named is None:
        raise SourceError(f"{path} is not named NN-SIZE-COUNT.tfrec, as 00-224x224-462.tfrec is.")
    count = int(named[1])
    lengths: list[int] = []
    labels: list[int | None] = []
    faults: list[str] = []
    with readable(path):
        records = tf.data.TFRecordDataset(path, buffer_size=2**20).as_numpy_iterator()
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
                if len(lengths) != count:
                    what = f"holds {len(lengths)} records, {count} by its name"
                    faults.append(f"{path} {what}: copy the file once more.")
                break
            try:
                labels.append(_label(record))
            except ValueError as error:
                labels.append(None)
                faults.append(f"{place} {error}.")
            lengths.append(len(record))
    sizes = np.array(lengths, np.int64)
    offsets = np.cumsum(sizes + FRAMES) - sizes - FRAMES + FRAME
    return Shard(path, offsets, sizes, labels, faults, max(count, len(lengths)))


def _label(record: bytes) -> int:
    """The label of a record; ValueError where it cannot be used."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError("is no tf.train.Example: write image (JPEG) and class (int64)") from error
    if "image" not in features or len(features["image"].bytes_list.value) != 1:
        raise ValueError("has no photo: one is needed as the bytes feature 'image'")
    label = features["class"].int64_list.value if "class" in features else []
    if len(label) != 1:
        raise ValueError("has no label: one is needed as the int64 feature 'class'")
    return label[0]


def resolution(path: str, image_size: int | None) -> str:
    """The folder to read: `path` itself, or the resolution in it that suits the input."""
    found = entries(path)
    if FOLDERS["train"] in found:
        return path
    sides = {}
    for name in found:
        if fits := RESOLUTION.fullmatch(name):
            sides.setdefault(int(fits[1]) if fits[1] else math.inf, f"{path}/{name}")
    if not sides:
        raise SourceError(
            f"{path} has no TFRecords: it needs folders such as 224x224/ or "
            "tfrecords-jpeg-224x224/, or train/ and val/."
        )
    large_enough = [side for side in sides if image_size is not None and side >= image_size]
    chosen = sides[min(large_enough, default=max(sides))]
    log.info("reading %s", chosen)
    return chosen


def _index_split(root: str, split: str) -> list[Shard]:
    from train.pipeline import progress

    folder = f"{root}/{FOLDERS[split]}"
    paths = [f"{folder}/{name}" for name in entries(folder) if name.endswith(".tfrec")]
    if not paths:
        if split == "test":
            return []
        raise SourceError(f"{folder} has no *.tfrec files: put the shards of {split} there.")
    if split == "test" and _is_unlabelled(paths[0]):
        log.info("%s has no labels, so there is no test split", folder)
        return []
    with ThreadPoolExecutor(READERS) as pool:
        shards = pool.map(index_shard, paths)
        return list(progress(shards, f"indexing {split}", len(paths), "shards"))


def _is_unlabelled(path: str) -> bool:
    """Whether the first record has an `id` in the place of a `class`."""
    # `index_shard` says what is wrong with a bad one.
    with readable(path), contextlib.suppress(DecodeError, tf.errors.DataLossError):
        for record in tf.data.TFRecordDataset(path).take(1).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            return "class" not in features and "id" in features
    return False


def _split(
    root: str,
    split: str,
    shards: list[Shard],
    class_names: tuple[str, ...],
    class_file: str,
    skip_bad: bool,
) -> Split:
    folder, classes = f"{root}/{FOLDERS[split]}", range(len(class_names))
    faults = []
    for shard in shards:
        faults += shard.faults
        faults += [
            f"{shard.record(i)} has the class {label}: the classes of {class_file} are "
            f"0 to {len(classes) - 1}."
            for i, label in enumerate(shard.labels)
            if label is not None and label not in classes
        ]
    places = [
        (shard, i) for shard in shards for i, label in enumerate(shard.labels) if label in classes
    ]
    total = sum(shard.total for shard in shards)
    check_faults(faults, f"{total - len(places)} of {total} records of {folder}", skip_bad)
    if not places:
        raise SourceError(f"{folder} has no record that can be used: put photos there.")
    read_bytes = _reader()

    def read(i: int) -> bytes:
        shard, k = places[i]
        try:
            record = read_bytes(shard.path, int(shard.offsets[k]), int(shard.lengths[k]))
            image = tf.train.Example.FromString(record).features.feature["image"]
            return image.bytes_list.value[0]
        except tf.errors.OpError as error:
            raise OSError(f"{shard.record(k)} cannot be read: {_reason(error)}") from error
        except (DecodeError, IndexError) as error:
            raise OSError(f"{shard.record(k)} has changed since it was indexed") from error

    return Split(
        names=tuple(shard.record(i).removeprefix(f"{root}/") for shard, i in places),
        labels=np.array([shard.labels[i] for shard, i in places], np.int32),
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
        else:
            names = json.loads(text)
            if isinstance(names, dict):
                names = [names[str(label)] for label in range(len(names))]
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("neither a list nor an object of names")
        names = tuple(name.strip() for name in names)
    except (ValueError, KeyError) as error:
        what = 'write ["rose", "iris"], UTF-8' if path.endswith(".json") else "one a line, UTF-8"
        raise SourceError(f"{path} is no list of class names: {what}.") from error
    if len(names) < 2 or len(set(names)) < len(names) or "" in names:
        raise SourceError(f"{path} needs two class names or more, each once, none of them empty.")
    return names


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
