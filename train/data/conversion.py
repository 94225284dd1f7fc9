"""Convert a photo source to TFRecords in the layout of "Petals to the Metal", or to folders."""

from __future__ import annotations

import io
import math
import pathlib
import re
from collections.abc import Iterator

import numpy as np
from PIL import Image

from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.photo import decode, fit
from train.data.decoding import decode_each
from train.devices.progress import progress
from train.sources import Source, Split

SIZE = 224
SHARD_SIZE = 150  # megabytes
QUALITY = 95  # of JPEG, 0..100
SAMPLE = 64  # photos whose mean size decides how many shards a split needs


def to_tfrecords(
    source: Source,
    output: pathlib.Path,
    *,
    size: int | None = SIZE,
    shards: int | None = None,
    shard_size: float = SHARD_SIZE,
    seed: int = 0,
) -> pathlib.Path:
    """Write a source as shuffled TFRecords; complete shards that exist are kept.

    Args:
        source: the photos.
        output: a folder, which may hold other resolutions of the same classes.
        size: photos are cropped and reduced to centre squares of this side in pixels; a JPEG of
            this size is copied unchanged. None: all JPEGs are copied unchanged.
        shards: files per split; None for as many as `shard_size` requires.
        shard_size: approximate size of a file in megabytes (10**6 bytes).
        seed: random seed of the order.

    Returns:
        The folder of the resolution, `output / "224x224"` or `output / "original"`.

    Raises:
        UserError: if a photo cannot be read, or `output` holds another conversion.
    """
    from train.sources.tfrecord import FOLDERS, ORIGINAL, entries, is_shard

    resolution = ORIGINAL if size is None else f"{size}x{size}"
    root = output / resolution
    _write_names(output / "classes.txt", source.class_names)
    for number, (title, split) in enumerate(source.splits.items()):
        order = np.random.default_rng([seed, number]).permutation(len(split))
        files = shards
        if files is None:
            sample = [len(photo) for photo in _encoded(split, order[:SAMPLE], size)]
            files = math.ceil(np.mean(sample) * len(split) / (shard_size * 1e6))
        parts = np.array_split(order, min(files, len(split)))
        folder = root / FOLDERS[title]
        paths = {
            folder / f"{k:02}-{resolution}-{len(part)}.tfrec": part for k, part in enumerate(parts)
        }
        there = [folder / name for name in entries(str(folder)) if is_shard(name)]
        if others := [path for path in there if path not in paths]:
            raise UserError(
                f"{others[0]} belongs to another conversion; give an --output without shards"
            )
        with progress(None, f"writing {title}", len(split), "photos") as bar:
            for path, part in paths.items():
                if path.exists():
                    _check_shard(path, split.labels[part])
                    bar.update(len(part))
                else:
                    _write_shard(path, split, part, size, bar)
    return root


def to_folder(source: Source, output: pathlib.Path, *, size: int | None = None) -> None:
    """Write a source as `output/SPLIT/CLASS/NUMBER.jpg`; a split that exists is kept.

    Arguments and errors are those of `to_tfrecords`.
    """
    for name in source.class_names:
        # Names that the source `folder` ignores, and names that would leave the folder.
        if re.match(r"[.@]|__", name) or re.search(r"[/\\\0]", name):
            raise UserError(f"the class name {name!r} cannot be the name of a folder; rename it")
    for title, split in source.splits.items():
        folder = output / title
        if folder.exists():
            if sum(1 for _ in folder.glob("*/*.jpg")) != len(split):
                raise UserError(f"{folder} holds other photos; give another --output")
            continue
        photos = _encoded(split, np.arange(len(split)), size)
        with replacing(folder) as room:
            for name in source.class_names:
                (room / name).mkdir(parents=True)
            bar = progress(photos, f"writing {title}", len(split), "photos")
            for i, photo in enumerate(bar):
                name = source.class_names[split.labels[i]]
                (room / name / f"{i:05}.jpg").write_bytes(photo)


def _write_shard(path: pathlib.Path, split: Split, part: np.ndarray, size: int | None, bar) -> None:
    import tensorflow as tf

    with replacing(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for i, photo in zip(part, _encoded(split, part, size), strict=True):
            image = tf.train.Feature(bytes_list=tf.train.BytesList(value=[photo]))
            label = tf.train.Feature(int64_list=tf.train.Int64List(value=[split.labels[i]]))
            features = tf.train.Features(feature={"image": image, "class": label})
            # The same photos give the same bytes, shard by shard.
            writer.write(tf.train.Example(features=features).SerializeToString(deterministic=True))
            bar.update()


def _check_shard(path: pathlib.Path, labels: np.ndarray) -> None:
    """Check that an existing shard is complete and has the labels of these photos."""
    from train.sources.tfrecord import index_shard

    shard = index_shard(str(path))
    if shard.faults:
        raise UserError(shard.faults[0])
    if shard.labels != labels.tolist():
        raise UserError(f"{path} belongs to another conversion; give an --output without shards")


def _encoded(split: Split, indices: np.ndarray, size: int | None) -> Iterator[bytes]:
    """The JPEGs of some photos, in order.

    Raises:
        UserError: if one cannot be read.
    """

    def encode(data: bytes) -> bytes:
        is_jpeg = data.startswith(b"\xff\xd8\xff")
        if is_jpeg and size is None:
            return data
        photo = decode(data)
        if is_jpeg and photo.shape[:2] == (size, size):
            return data
        file = io.BytesIO()
        square = photo if size is None else fit(photo, size)
        Image.fromarray(square).save(file, "JPEG", quality=QUALITY)
        return file.getvalue()

    for i, encoded, error in decode_each(split.read, indices, encode):
        if error is not None:
            raise UserError(f"{split.names[i]}: {error}") from error
        yield encoded


def _write_names(path: pathlib.Path, class_names: tuple[str, ...]) -> None:
    # Folder names may end in blanks, as `cyclamen ` does in some copies of Oxford 102.
    names = [name.strip() for name in class_names]
    text = "".join(f"{name}\n" for name in names)
    if text.splitlines() != names or len(set(names)) < len(names):
        raise UserError("class names differ only in blanks, or contain line breaks; rename them")
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8", newline="\n")
    elif path.read_text("utf-8") != text:
        raise UserError(f"{path} lists other classes; give another --output")
