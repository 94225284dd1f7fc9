"""Survey a photo collection before training: sizes, unreadable photos, duplicates."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from flowers_model.errors import UserError
from flowers_model.photo import PhotoError, decode
from train.data import duplicates
from train.data.decoding import decode_each
from train.data.duplicates import Pair
from train.devices.progress import progress
from train.sources import Source

TINY = 32  # pixels of the shorter side below which a photo counts as tiny


@dataclasses.dataclass(frozen=True)
class Photo:
    """One surveyed photo.

    Attributes:
        name, split, label: as in its source; label is an index into the class names.
        size: bytes of the file; 0 where it cannot be read.
        digest: SHA-256 of the file, hexadecimal; "" where it cannot be read.
        problem: why it cannot be decoded, else "" and what follows is there.
        width, height: of the upright photo, pixels.
        mode: Pillow's name for the pixel format in the file, as RGB or L.
        pixel_digest: the upright photo's shape and the SHA-256 of its pixels.
        perceptual_hash, thumbnail: see `train.data.duplicates`.
    """

    name: str
    split: str
    label: int
    size: int = 0
    digest: str = ""
    problem: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    pixel_digest: str = ""
    perceptual_hash: int = 0
    thumbnail: np.ndarray | None = None

    @property
    def status(self) -> str:
        """ok, tiny, or unreadable."""
        if self.problem:
            return "unreadable"
        return "tiny" if min(self.width, self.height) < TINY else "ok"


@dataclasses.dataclass(frozen=True)
class Survey:
    """A collection and what was found in it.

    Attributes:
        photos: split by split, in the order of the source.
        read: the encoded bytes of photo `i` of `photos`.
        pairs: duplicates, numbered as in `photos`; the gravest first.
    """

    source: Source
    photos: list[Photo]
    read: Callable[[int], bytes]
    pairs: list[Pair]

    def crosses_splits(self, pair: Pair) -> bool:
        return self.photos[pair.first].split != self.photos[pair.second].split

    def has_two_labels(self, pair: Pair) -> bool:
        return self.photos[pair.first].label != self.photos[pair.second].label

    def class_of(self, i: int) -> str:
        return self.source.class_names[self.photos[i].label]

    def counts(self) -> dict[str, np.ndarray]:
        """Photos per class in each split, int64 `(C,)`."""
        classes = len(self.source.class_names)
        return {
            name: np.bincount(split.labels, minlength=classes)
            for name, split in self.source.splits.items()
        }


def survey(source: Source) -> Survey:
    """Decode every photo of a source, in parallel, and find duplicates.

    Raises:
        UserError: no photo can be read.
    """
    places = [(name, i) for name, split in source.splits.items() for i in range(len(split))]

    def read(i: int) -> bytes:
        split, place = places[i]
        return source.splits[split].read(place)

    photos = []
    inspected = decode_each(read, range(len(places)), _inspect)
    for i, about, error in progress(inspected, "looking", len(places), "photos"):
        split, place = places[i]
        name, label = source.splits[split].names[place], int(source.splits[split].labels[place])
        if error is not None:
            about = {"problem": getattr(error, "strerror", None) or str(error)}
        photos.append(Photo(name, split, label, **about))
    readable = [i for i, photo in enumerate(photos) if not photo.problem]
    if not readable:
        raise UserError(
            f"none of the {len(photos)} photos of {source.name} can be read; the first, "
            f"{photos[0].name}: {photos[0].problem}"
        )
    found = [photos[i] for i in readable]
    pairs = [
        dataclasses.replace(pair, first=readable[pair.first], second=readable[pair.second])
        for pair in duplicates.find_pairs(
            [photo.digest for photo in found],
            [photo.pixel_digest for photo in found],
            np.array([photo.perceptual_hash for photo in found], np.uint64),
            [photo.thumbnail for photo in found],
        )
    ]
    unsorted = Survey(source, photos, read, pairs)

    def gravity(pair: Pair) -> tuple:
        grave = unsorted.has_two_labels(pair), unsorted.crosses_splits(pair)
        return *(not g for g in grave), -pair.correlation, pair.first, pair.second

    return dataclasses.replace(unsorted, pairs=sorted(pairs, key=gravity))


def kept_photos(found: Survey) -> tuple[list[int], dict[int, str]]:
    """The photos that a cleaned collection keeps, and why each of the others is dropped.

    Of duplicates, the first in test stays, else the first in valid, else in train. Unreadable
    photos are dropped. The last photo of a class in a split always stays, since every split needs
    every class.
    """
    photos = found.photos
    reasons = {i: "unreadable" for i, photo in enumerate(photos) if photo.problem}
    order = {"test": 0, "valid": 1, "train": 2}
    for group in duplicates.groups(found.pairs):
        best, *others = sorted(group, key=lambda i: (order[photos[i].split], i))
        reasons |= {i: f"same as {photos[best].name}" for i in others}
    left = collections.Counter((photo.split, photo.label) for photo in photos)
    dropped = {}
    for i, reason in reasons.items():
        place = photos[i].split, photos[i].label
        if left[place] > 1:
            left[place] -= 1
            dropped[i] = reason
    return [i for i in range(len(photos)) if i not in dropped], dropped


def _inspect(data: bytes) -> dict[str, Any]:
    """The fields of a `Photo` that its file says."""
    about = {"size": len(data), "digest": hashlib.sha256(data).hexdigest()}
    try:
        pixels = decode(data)
    except PhotoError as error:
        return about | {"problem": str(error)}
    with Image.open(io.BytesIO(data)) as header:
        mode = header.mode
    height, width = pixels.shape[:2]
    thumbnail = duplicates.thumbnail(pixels)
    return about | {
        "width": width,
        "height": height,
        "mode": mode,
        "pixel_digest": f"{width} {height} {hashlib.sha256(pixels).hexdigest()}",
        "perceptual_hash": duplicates.perceptual_hash(thumbnail),
        "thumbnail": thumbnail,
    }
