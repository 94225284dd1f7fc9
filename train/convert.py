"""Convert photos to TFRecords, or back to folders: `python -m train.convert --help`.

```
python -m train.convert --data oxford_flowers102 --output petals        # petals/224x224/train/…
python -m train.convert --data tfrecord:petals --output photos --to folder
```

TFRecords are laid out as in Kaggle's "Petals to the Metal"; see `train.sources.tfrecord`. What an
interrupted conversion has written stays, and the same command goes on with the rest.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import logging
import math
import os
import pathlib
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from PIL import Image

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import check_output, replacing
from flowers_model.photo import PhotoError, decode, fit
from train.data.pipeline import progress, readable
from train.sources import Source, Split, open_source

T = TypeVar("T", int, float)

SIZE = 224
SHARD_SIZE = 150  # megabytes
QUALITY = 95  # of JPEG, 0..100
CHUNK = 256  # photos
SAMPLE = 64  # photos whose mean size tells how many shards a split needs


def to_tfrecords(
    source: Source,
    output: pathlib.Path,
    *,
    size: int | None = SIZE,
    shards: int | None = None,
    shard_size: float = SHARD_SIZE,
    seed: int = 0,
) -> pathlib.Path:
    """Write a source as TFRecords, shuffled by the seed; shards that are there whole are kept.

    Args:
        source: the photos.
        output: a folder, which may hold other resolutions of the same classes.
        size: side in pixels of the centre squares that photos are reduced to; a JPEG that has
            this size stays as it is. None: all JPEGs stay as they are.
        shards: files a split; None: as many as `shard_size` takes.
        shard_size: about how large a file may become, in megabytes (10**6 bytes).
        seed: of the order of the photos.

    Returns:
        The folder of the resolution, `output / "224x224"` or `output / "original"`.

    Raises:
        UserError: a photo cannot be read, or `output` holds something else.
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
                f"{others[0]} is of another conversion; give an --output without shards"
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
    """Write a source as `output/SPLIT/CLASS/NUMBER.jpg`; a split that is there is kept.

    The arguments and what is raised are those of `to_tfrecords`.
    """
    for name in source.class_names:
        # What open_folder passes over, and what would not stay in its folder.
        if re.match(r"[.@]|__", name) or re.search(r"[/\\\0]", name):
            raise UserError(f"the class name {name!r} cannot be the name of a folder; change it")
    for title, split in source.splits.items():
        folder = output / title
        if folder.exists():
            if sum(1 for _ in folder.glob("*/*.jpg")) != len(split):
                raise UserError(f"{folder} holds something else; give another --output")
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
    """A shard that stays must be whole and of these photos, as far as its labels tell."""
    from train.sources.tfrecord import index_shard

    shard = index_shard(str(path))
    if shard.faults:
        raise UserError(shard.faults[0])
    if shard.labels != labels.tolist():
        raise UserError(f"{path} is of another conversion; give an --output without shards")


def _encoded(split: Split, indices: np.ndarray, size: int | None) -> Iterator[bytes]:
    """The JPEGs of some photos, in order, made on all cores.

    Raises:
        UserError: one cannot be read.
    """

    def one(i: int) -> bytes:
        try:
            data = split.read(i)
            is_jpeg = data.startswith(b"\xff\xd8\xff")
            if is_jpeg and size is None:
                return data
            photo = decode(data)
        except (OSError, PhotoError) as error:
            raise UserError(f"{split.names[i]}: {error}") from error
        if is_jpeg and photo.shape[:2] == (size, size):
            return data
        file = io.BytesIO()
        square = photo if size is None else fit(photo, size)
        Image.fromarray(square).save(file, "JPEG", quality=QUALITY)
        return file.getvalue()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # By the chunk, since what is made ahead waits in memory.
        for start in range(0, len(indices), CHUNK):
            yield from pool.map(one, indices[start : start + CHUNK])


def _write_names(path: pathlib.Path, class_names: tuple[str, ...]) -> None:
    # Names of folders may end in blanks, as `cyclamen ` of some copies of Oxford 102 does.
    names = [name.strip() for name in class_names]
    text = "".join(f"{name}\n" for name in names)
    if text.splitlines() != names or len(set(names)) < len(names):
        raise UserError("the class names differ in blanks alone or hold line breaks; rename them")
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8", newline="\n")
    elif path.read_text("utf-8") != text:
        raise UserError(f"{path} names other classes; give another --output")


def _side(text: str) -> int | None:
    return None if text == "original" else _count(text)


def _count(text: str) -> int:
    return _number(text, int, least=1)


def _megabytes(text: str) -> float:
    return _number(text, float, least=0.001)


def _seed(text: str) -> int:
    return _number(text, int, least=0)


def _number(text: str, kind: type[T], least: float) -> T:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of {least} or more")
    return value


def _parser() -> Parser:
    parser = Parser(
        prog="python -m train.convert",
        description="Convert photos to TFRecords in Kaggle's Petals layout, or back to folders.",
    )
    parser.add_argument("--data", metavar="SPEC", required=True, help="as of train/run.py")
    parser.add_argument("--output", metavar="DIR", type=pathlib.Path, required=True)
    parser.add_argument("--to", choices=("tfrecord", "folder"), default="tfrecord")
    parser.add_argument(
        "--size",
        metavar="N|original",
        type=_side,
        default=argparse.SUPPRESS,
        help=f"side of the centre squares, pixels, or JPEGs as they are (tfrecord: {SIZE}; "
        "folder: original)",
    )
    files = parser.add_mutually_exclusive_group()
    files.add_argument(
        "--shard-size-mb",
        metavar="MB",
        type=_megabytes,
        default=SHARD_SIZE,
        help=f"about how large a file may become ({SHARD_SIZE})",
    )
    files.add_argument(
        "--shards", metavar="N", type=_count, help="files a split, in the place of a size"
    )
    parser.add_argument(
        "--seed", metavar="N", type=_seed, default=0, help="of splits and of the photos' order (0)"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out, count and name what is bad in the data; every photo is decoded to know",
    )
    return parser


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    try:
        options = _parser().parse_args(arguments)
        check_output(options.output / "classes.txt")
        source = open_source(options.data, options.seed, skip_bad=options.skip_bad)
        if options.skip_bad:
            # Before the first shard is written, as the shards' names hold their counts.
            whole = {name: readable(split, name) for name, split in source.splits.items()}
            source = dataclasses.replace(source, splits=whole)
        resize = {"size": options.size} if "size" in options else {}
        if options.to == "folder":
            to_folder(source, options.output, **resize)
        else:
            to_tfrecords(
                source,
                options.output,
                shards=options.shards,
                shard_size=options.shard_size_mb,
                seed=options.seed,
                **resize,
            )
    except OSError as error:
        raise UserError(f"{options.output} cannot be written: {error}") from error
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    counts = ", ".join(f"{name} {len(split)}" for name, split in source.splits.items())
    print(f"{options.output}: {len(source.class_names)} classes; photos in {counts}")
    return 0


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    logging.getLogger("flowers").setLevel(logging.INFO)
    sys.exit(main(sys.argv[1:]))
