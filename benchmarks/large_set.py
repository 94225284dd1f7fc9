"""Photos per second and peak memory when training on more photos than fit in memory.

    KERAS_BACKEND=… python benchmarks/large_set.py [--photos 100000] [--few 2000]
        [train/run.py's settings]

Generates photos of 500 px, writes them as TFRecords, and trains for four epochs on a few and for
one on all. Decoded, the few stay in memory; the many are decoded again in every epoch. The bytes of
every record are unique, but there are only 200 pictures. To simulate a small machine, run it in a
container with limited memory (`docker run --memory 4g`).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from PIL import Image

from train.data.conversion import to_tfrecords
from train.sources import Source, Split
from train.sources.quickstart import draw_photo

RUN = pathlib.Path(__file__).resolve().parent.parent / "train" / "run.py"
SIDE, DRAWN, CLASSES, HELD_OUT = 500, 200, 10, 100


def drawn() -> list[bytes]:
    """JPEGs of 500 px, 20 per class."""
    photos = []
    for i in range(DRAWN):
        file = io.BytesIO()
        picture = Image.open(io.BytesIO(draw_photo(0, 0, i % CLASSES, i)))
        picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
        photos.append(file.getvalue())
    return photos


def source(photos: list[bytes], count: int) -> Source:
    def split(title: str, count: int) -> Split:
        def read(i: int) -> bytes:
            comment = f"{title} {i}".encode()
            photo = photos[i % DRAWN]
            return photo[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + photo[2:]

        labels = np.arange(count, dtype=np.int32) % CLASSES
        return Split(tuple(f"{title} {i}" for i in range(count)), labels, read)

    counts = {"train": count, "valid": HELD_OUT, "test": HELD_OUT}
    splits = {title: split(title, many) for title, many in counts.items()}
    return Source("drawn", tuple(f"kind {k}" for k in range(CLASSES)), splits, "")


def train(data: pathlib.Path, epochs: int, settings: list[str]) -> tuple[list[float], float]:
    """Train; the seconds of each epoch, including validation, and the peak memory in GiB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(RUN), "--data", f"tfrecord:{data}"]
        command += ["--output", f"{folder}/run", "--epochs-head", str(epochs), "--gallery", "0"]
        started = subprocess.Popen([*command, *settings])
        _, status, usage = os.wait4(started.pid, 0)
        if status:
            sys.exit(f"the training ended with status {os.waitstatus_to_exitcode(status)}")
        rows = json.loads(pathlib.Path(folder, "run/history.json").read_text("utf-8"))
    return [row["seconds"] for row in rows], usage.ru_maxrss / 2**20  # kB on Linux


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--few", type=int, default=2_000)
    arguments, settings = parser.parse_known_args()
    photos = drawn()
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, count in (("few", arguments.few), ("many", arguments.photos)):
            root = to_tfrecords(source(photos, count), pathlib.Path(folder, name), size=None)
            epochs = 4 if name == "few" else 1
            seconds, peak = train(root.parent, epochs, settings)
            # The first epoch includes compilation, a small part of the only epoch on the many.
            rates[name] = count / min(seconds)
            print(f"{count:8} photos  {rates[name]:8.1f} photos per second  peak {peak:.2f} GiB")
    print(f"many / few: {rates['many'] / rates['few']:.2f}")


main()
