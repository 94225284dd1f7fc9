"""Duplicates: photos with the same bytes, the same pixels, or nearly the same content."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.fft
import scipy.sparse
from PIL import Image

# The perceptual hash proposes pairs that differ in at most this many of its 64 bits; the thumbnails
# confirm them. The limits were chosen by inspecting pairs in Oxford 102 Flowers: looser ones add
# white flowers on dark backgrounds, tighter ones miss other crops of the same photo.
MAX_DISTANCE = 8
MIN_CORRELATION = 0.7
THUMBNAIL = 64
_BLOCK = 16  # rows of the distance matrix at a time, few enough for a processor's cache


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two duplicates, by their numbers, `first < second`.

    Attributes:
        kind: "bytes" for identical files, "pixels" for files that decode to the same photo, "near"
            for nearly the same photos.
        distance: bits in which the perceptual hashes differ, 0..64.
        correlation: of the thumbnails, -1..1.
    """

    first: int
    second: int
    kind: str
    distance: int
    correlation: float


def perceptual_hash(photo: np.ndarray) -> int:
    """The 64-bit pHash of a photo, uint8 `(H, W, 3)`: a bit per low frequency above the median.

    Re-encoding, resizing and light changes of colour flip few of the 64 bits.
    """
    grey = Image.fromarray(photo).convert("L").resize((32, 32), Image.Resampling.BOX)
    low = scipy.fft.dctn(np.asarray(grey, np.float32), norm="ortho")[:8, :8]
    return int(np.packbits(low > np.median(low)).view(np.uint64)[0])


def thumbnail(photo: np.ndarray) -> np.ndarray:
    """The photo, uint8 `(H, W, 3)`, squeezed to uint8 `(64, 64, 3)`."""
    size = (THUMBNAIL, THUMBNAIL)
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX))


def find_pairs(
    byte_hashes: Sequence[str],
    pixel_hashes: Sequence[str],
    perceptual_hashes: np.ndarray,
    thumbnails: Sequence[np.ndarray],
) -> list[Pair]:
    """All duplicates among N photos.

    Identical photos are paired with the first of them, and only that one is compared with other
    photos, so a photo that exists a thousand times makes 999 pairs.

    Args:
        byte_hashes: N hashes of the files.
        pixel_hashes: N hashes of the decoded photos, including their shapes.
        perceptual_hashes: uint64 `(N,)`.
        thumbnails: N photos made by `thumbnail`.
    """
    pairs = []
    rest: Iterable[int] = range(len(byte_hashes))
    for kind, hashes in (("bytes", byte_hashes), ("pixels", pixel_hashes)):
        first: dict[str, int] = {}
        for i in rest:
            if (original := first.setdefault(hashes[i], i)) != i:
                pairs.append(Pair(original, i, kind, 0, 1.0))
        rest = first.values()
    # A photo of a single colour has no shape to compare.
    rest = np.array([i for i in rest if thumbnails[i].std(axis=(0, 1)).max() > 2], np.int64)
    hashes = perceptual_hashes[rest]
    for start in range(0, len(rest), _BLOCK):
        distances = np.bitwise_count(hashes[start : start + _BLOCK, None] ^ hashes[None, start:])
        for row, column in np.argwhere(distances <= MAX_DISTANCE):
            if column <= row:
                continue
            a, b = int(rest[start + row]), int(rest[start + column])
            correlation = _correlation(thumbnails[a], thumbnails[b])
            if correlation >= MIN_CORRELATION:
                pairs.append(Pair(a, b, "near", int(distances[row, column]), correlation))
    return pairs


def groups(pairs: Iterable[Pair]) -> list[list[int]]:
    """Groups of duplicates, sorted: photos that are connected by pairs."""
    edges = np.array([(pair.first, pair.second) for pair in pairs], np.int64).reshape(-1, 2)
    numbers, places = np.unique(edges, return_inverse=True)
    first, second = places.reshape(-1, 2).T
    graph = scipy.sparse.coo_array((np.ones(len(first)), (first, second)), (len(numbers),) * 2)
    count, group = scipy.sparse.csgraph.connected_components(graph, directed=False)
    return [numbers[group == k].tolist() for k in range(count)]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation over all pixels and colours."""
    a, b = (x.astype(np.float32).ravel() - x.mean() for x in (a, b))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
