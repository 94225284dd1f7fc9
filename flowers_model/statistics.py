"""`statistics.npz` of a bundle: statistics of embeddings, which teaching uses instead of photos.

Photos cannot be reconstructed from these arrays.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import zipfile

import numpy as np

from flowers_model.bundle import STATISTICS, BundleError
from flowers_model.files import replacing


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of the embeddings of a network with C classes, D numbers each.

    Attributes:
        means: mean over the training photos of each class, float32 `(C, D)`.
        counts: number of training photos of each class, int `(C,)`.
        covariance: covariance of training photos within their classes, float32 `(D, D)`.
        held_out: embeddings of validation photos, float32 `(N, D)`.
        held_out_labels: their labels, int `(N,)`.
        held_out_sources: the number of the source of each, int `(N,)`.
        strangers: embeddings of out-of-distribution photos, float32 `(M, D)`.
        stranger_kinds: the number of the kind of each, int `(M,)`.
        taught: embeddings of the photos that classes were taught from, float32 `(T, D)`.
        taught_labels: their labels, int `(T,)`.
    """

    means: np.ndarray
    counts: np.ndarray
    covariance: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray
    held_out_sources: np.ndarray
    strangers: np.ndarray
    stranger_kinds: np.ndarray
    taught: np.ndarray
    taught_labels: np.ndarray


def measure_classes(
    embeddings: np.ndarray, labels: np.ndarray, class_count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means `(C, D)`, counts `(C,)` and shared covariance `(D, D)` of embeddings `(N, D)`.

    Every class must have at least one photo.
    """
    counts = np.bincount(labels, minlength=class_count)
    rows = np.asarray(embeddings, np.float64)
    means = np.zeros((class_count, rows.shape[1]))
    np.add.at(means, labels, rows)
    means /= counts[:, None]
    apart = rows - means[labels]
    covariance = apart.T @ apart / max(len(rows) - class_count, 1)
    return means.astype(np.float32), counts, covariance.astype(np.float32)


def write_statistics(folder: str | os.PathLike, statistics: Statistics) -> None:
    """Write `statistics.npz`: embeddings in float16, and the upper triangle of the covariance."""
    arrays = dataclasses.asdict(statistics)
    covariance = arrays.pop("covariance")
    arrays["covariance"] = covariance[np.triu_indices(len(covariance))].astype(np.float32)
    for name in ("means", "held_out", "strangers", "taught"):
        arrays[name] = arrays[name].astype(np.float16)
    for name in ("counts", "held_out_labels", "held_out_sources", "stranger_kinds"):
        arrays[name] = arrays[name].astype(np.int32)
    arrays["taught_labels"] = arrays["taught_labels"].astype(np.int32)
    with replacing(pathlib.Path(folder) / STATISTICS) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_statistics(folder: str | os.PathLike) -> Statistics | None:
    """Read `statistics.npz`; None if there is none, as in older bundles.

    Raises:
        BundleError: if it does not contain plain arrays, or these do not fit together.
    """
    path = pathlib.Path(folder) / STATISTICS
    if not path.exists():
        return None
    names = [field.name for field in dataclasses.fields(Statistics)]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        raise BundleError(f"{STATISTICS} is damaged, or does not contain plain arrays") from None
    triangle = arrays["covariance"]
    if arrays["means"].ndim != 2:
        raise BundleError(f"{STATISTICS}: means must have one row per class")
    count, depth = arrays["means"].shape
    # Lengths are checked for each array, so that a short one is not read beyond its end.
    rows = {"counts": count, "held_out": len(arrays["held_out_labels"])}
    rows |= {"held_out_sources": rows["held_out"], "strangers": len(arrays["stranger_kinds"])}
    rows |= {"taught": len(arrays["taught_labels"]), "covariance": depth * (depth + 1) // 2}
    for name, length in rows.items():
        wide = name in ("held_out", "strangers", "taught")
        if arrays[name].shape != ((length, depth) if wide else (length,)):
            raise BundleError(f"{STATISTICS}: {name} does not fit the others")
    for name in ("held_out_labels", "taught_labels"):
        labels = arrays[name]
        if labels.ndim != 1 or (len(labels) and not 0 <= labels.min() <= labels.max() < count):
            raise BundleError(f"{STATISTICS}: {name} are not indices of classes")
    covariance = np.zeros((depth, depth), np.float32)
    covariance[np.triu_indices(depth)] = triangle
    arrays["covariance"] = covariance + np.triu(covariance, 1).T
    for name in ("means", "held_out", "strangers", "taught"):
        arrays[name] = arrays[name].astype(np.float32)
    return Statistics(**arrays)
