"""Decode the photos of a split once, in parallel, with the functions that serving uses."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from flowers_model.photo import PhotoError, decode, fit
from train.devices import processes
from train.devices.progress import progress
from train.sources import SourceError, Split

log = logging.getLogger("flowers")

UNREADABLE_LIMIT = 0.05  # fraction of a split's photos that may be skipped
MARGIN = 1.25  # training keeps photos this much larger than the input, for random crops
CHUNK = 64  # photos that are decoded ahead
IN_MEMORY = 4 * 2**30  # bytes of a split's decoded photos that are kept in memory, at most
# The memory limit of a container, for control groups v2 and v1.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclasses.dataclass(frozen=True)
class Photos:
    """The readable photos of a split, decoded.

    Attributes:
        labels: int32 `(N,)`, -1 for an outlier.
        names: one per photo, those of the split.
        read: `read(i)` returns photo i, uint8 `(H, W, 3)`.
        array: for evaluation, all photos at the network's input size, uint8 `(N, S, S, 3)`.
        origins: those of the split, for photos of a merged source.
    """

    names: list[str]
    labels: np.ndarray
    read: Callable[[int], np.ndarray]
    array: np.ndarray | None = None
    origins: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


def decode_each(
    read: Callable[[int], bytes | str],
    indices: Sequence[int],
    make: Callable[[Any], Any] = decode,
) -> Iterator[tuple[int, Any, PhotoError | OSError | None]]:
    """Read and decode photos on all cores; errors are yielded, not raised.

    Args:
        read: returns the bytes or the path of photo `i`.
        indices: the photos, in order.
        make: decodes a photo, from what `read` returned.

    Yields:
        The index, what `make` returned, and None; or the index, None, and the error.
    """

    def one(i: int) -> tuple[int, Any, PhotoError | OSError | None]:
        try:
            return i, make(read(i)), None
        except (PhotoError, OSError) as error:
            return i, None, error

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        # In chunks, because photos that are decoded ahead wait in memory.
        for start in range(0, len(indices), CHUNK):
            yield from pool.map(one, indices[start : start + CHUNK])


def evaluation_photos(
    split: Split, title: str, size: int, crop: float, skip_bad: bool = False
) -> Photos:
    """Decode a split exactly as serving does.

    Raises:
        SourceError: if no photo can be read or, without `skip_bad`, more than 5 % cannot.
    """
    array = allocate((len(split), size, size, 3))

    def fitted(data: bytes) -> np.ndarray:
        return fit(decode(data), size, crop)

    kept = _decode(split, title, fitted, array.__setitem__, skip_bad)
    if processes.processes() > 1:
        done = set(processes.share(len(split)))
        array = _OnDemand(array, np.array(kept), lambda i: fitted(split.read(i)), done)
    elif len(kept) < len(split):
        array = array[kept]
    origins = tuple(split.origins[i] for i in kept) if split.origins else ()
    names = [split.names[i] for i in kept]
    return Photos(names, split.labels[kept], array.__getitem__, array, origins)


def training_photos(split: Split, title: str, size: int, skip_bad: bool = False) -> Photos:
    """Decode a split without cropping; photos much larger than the input are reduced.

    They stay in memory if they fit; otherwise each is decoded again whenever it is read.

    Raises:
        SourceError: as `evaluation_photos`.
    """
    side = round(MARGIN * size)
    photos: dict[int, np.ndarray] = {}
    fits = len(split) * 4 * side**2 <= in_memory()  # 3 channels at 4:3
    keep = photos.__setitem__ if fits else lambda i, photo: None

    def reduced(data: bytes) -> np.ndarray:
        return _reduce(decode(data, at_least=side), side)

    kept = _decode(split, title, reduced, keep, skip_bad)

    def read(i: int) -> np.ndarray:
        i = kept[i]
        if i in photos:
            return photos[i]
        photo = reduced(split.read(i))
        if fits:  # it is in the share of another process, which has checked it
            photos[i] = photo
        return photo

    return Photos([split.names[i] for i in kept], split.labels[kept], read)


def together(first: Photos, second: Photos) -> Photos:
    """The photos of both, in that order."""
    count = len(first)
    return Photos(
        first.names + second.names,
        np.concatenate([first.labels, second.labels]),
        lambda i: first.read(i) if i < count else second.read(i - count),
    )


def readable(split: Split, title: str) -> Split:
    """The photos of a split that can be decoded; the number of the others is logged.

    Raises:
        SourceError: if none can be decoded.
    """
    kept = _decode(split, title, decode, lambda i, photo: None, skip_bad=True)
    return split.subset(np.array(kept))


def _decode(
    split: Split,
    title: str,
    make: Callable[[bytes], np.ndarray],
    keep: Callable[[int, np.ndarray], None],
    skip_bad: bool,
) -> list[int]:
    """Read and decode every photo; returns the indices of the readable ones.

    With several processes, each reads its share, and all get the same indices.
    """
    own = processes.share(len(split))
    reasons = {}
    decoded = decode_each(split.read, own, make)
    for i, photo, error in progress(decoded, f"reading {title}", len(own), "photos"):
        if error is None:
            keep(i, photo)
        else:
            reasons[i] = f"{split.names[i]}: {error}"
    failed = processes.gather(np.array([i in reasons for i in own]), len(split))
    failures = {i: reasons.get(i, split.names[i]) for i in np.flatnonzero(failed)}
    if failures:
        some = "; ".join(list(failures.values())[:3])
        what = f"{len(failures)} of {len(split)} {title} photos cannot be read ({some})"
        if len(failures) == len(split):
            raise SourceError(f"{what}, so none is left: repair the dataset first")
        if len(failures) > UNREADABLE_LIMIT * len(split) and not skip_bad:
            raise SourceError(
                f"{what}, more than {UNREADABLE_LIMIT:.0%}: repair the dataset first, or use the "
                "rest with --skip-bad"
            )
        log.info("skipped: %s", what)
    return [i for i in range(len(split)) if i not in failures]


class _OnDemand:
    """Decoded photos `array[kept]`; those not in `done` are decoded when they are first read."""

    def __init__(
        self,
        array: np.ndarray,
        kept: np.ndarray,
        make: Callable[[int], np.ndarray],
        done: set[int],
    ):
        self.array, self.kept, self.make, self.done = array, kept, make, done

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        rows = self.kept[index]
        missing = [i for i in np.atleast_1d(rows) if i not in self.done]
        if missing:
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
                for i, photo in zip(missing, pool.map(self.make, missing), strict=True):
                    self.array[i] = photo
                    self.done.add(i)
        return self.array[rows]


def _reduce(photo: np.ndarray, short_side: int) -> np.ndarray:
    height, width = photo.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return photo
    shape = (max(round(width * scale), short_side), max(round(height * scale), short_side))
    return np.asarray(Image.fromarray(photo).resize(shape, Image.Resampling.BILINEAR))


def in_memory() -> int:
    """The limit, in bytes, up to which a split's decoded photos are kept in memory.

    A sixth of the memory of the machine or container, because up to three splits are in memory
    together with the network and its training; at most `IN_MEMORY`.
    """
    memory = [6 * IN_MEMORY]
    if hasattr(os, "sysconf"):  # not on Windows
        memory.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in map(pathlib.Path, LIMITS):
        if path.is_file() and (text := path.read_text("ascii").strip()).isdigit():  # else "max"
            memory.append(int(text))
    return min(memory) // 6


def allocate(shape: tuple[int, ...]) -> np.ndarray:
    """Space for decoded photos: memory, or a temporary file if they would fill it."""
    if np.prod(shape) <= in_memory():
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)
