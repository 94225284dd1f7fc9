"""Helpers for every source: names of splits, missing splits, and classes that each split needs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import numpy as np

from train.sources.base import SourceError, Split

SPLIT_SPELLINGS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}

# The share of a class that each missing split gets; train keeps the rest.
SHARE = 0.15


def split_named(name: str) -> str | None:
    """The split that is meant by `name`, in whatever spelling; None for what is no split."""
    # "Training_set", "val images" and the like: the last word says nothing.
    spelling = re.sub(r"[ _-]?(set|data|images)$", "", name.strip().casefold())
    return SPLIT_SPELLINGS.get(spelling)


def add_missing_splits(
    splits: dict[str, Split], class_names: tuple[str, ...], seed: int
) -> dict[str, Split]:
    """Cut what is missing from train: valid and test where it is alone, else valid.

    Raises:
        SourceError: a class of train has too few photos for that.
    """
    if "valid" in splits:
        return splits
    parts = ("train", "valid") if "test" in splits else ("train", "valid", "test")
    others = {name: split for name, split in splits.items() if name != "train"}
    return _cut(splits["train"], parts, class_names, seed) | others


def check_classes(
    title: str | os.PathLike, class_names: tuple[str, ...], splits: dict[str, Split]
) -> None:
    """Check that there are two classes or more, and photos of each in each split.

    Raises:
        SourceError: see above; the message begins with `title`.
    """
    if len(class_names) < 2:
        found = some(class_names) or "none"
        raise SourceError(f"{title}: a classifier needs two classes or more, not {found}.")
    said = []
    for name, split in splits.items():
        counts = np.bincount(split.labels, minlength=len(class_names))
        if lacking := [class_names[i] for i in np.flatnonzero(counts == 0)]:
            said.append(f"{name!r} lacks {some(lacking)}")
    if said:
        raise SourceError(f"{title}: every split needs every class, but {' and '.join(said)}.")


def _cut(
    split: Split, parts: tuple[str, ...], class_names: tuple[str, ...], seed: int
) -> dict[str, Split]:
    """Cut one split into `parts`: `SHARE` of each class for all but the first.

    Class by class and with at least one photo each, where scikit-learn's stratified
    `train_test_split` may leave a small class out of a split.
    """
    counts = np.bincount(split.labels, minlength=len(class_names))
    if few := [
        f"{name!r} with {n}" for name, n in zip(class_names, counts, strict=True) if n < len(parts)
    ]:
        raise SourceError(
            f"Too few photos to cut {', '.join(parts)} from, which takes {len(parts)} or more a "
            f"class: {some(few, quote=False)}."
        )
    rng = np.random.default_rng(seed)
    chosen: dict[str, list[np.ndarray]] = {part: [] for part in parts}
    for label, count in enumerate(counts):
        photos = rng.permutation(np.flatnonzero(split.labels == label))
        size = max(1, round(SHARE * count))
        for part in parts[1:]:
            chosen[part].append(photos[:size])
            photos = photos[size:]
        chosen[parts[0]].append(photos)
    return {
        part: split.subset(np.sort(np.concatenate(indices))) for part, indices in chosen.items()
    }


def some(names: Iterable[str], quote: bool = True) -> str:
    """The first names of many, for a message; quoted, so that a trailing blank shows."""
    names = [repr(name) if quote else name for name in names]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
