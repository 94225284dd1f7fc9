"""Splits: their spellings, cutting missing ones, and checking that each has every class."""

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

SHARE = 0.15  # fraction of a class that each missing split gets; train keeps the rest


def split_named(name: str) -> str | None:
    """The split that `name` stands for, in any usual spelling; None for other names."""
    # "Training_set", "val images" and the like: the last word does not matter.
    spelling = re.sub(r"[ _-]?(set|data|images)$", "", name.strip().casefold())
    return SPLIT_SPELLINGS.get(spelling)


def add_missing_splits(
    splits: dict[str, Split], class_names: tuple[str, ...], seed: int
) -> dict[str, Split]:
    """Cut missing splits from train: valid and test if train is the only split, else valid.

    Raises:
        SourceError: if a class has too few photos.
    """
    if "valid" in splits:
        return splits
    parts = ("train", "valid") if "test" in splits else ("train", "valid", "test")
    others = {name: split for name, split in splits.items() if name != "train"}
    return _cut(splits["train"], parts, class_names, seed) | others


def check_classes(
    title: str | os.PathLike, class_names: tuple[str, ...], splits: dict[str, Split]
) -> None:
    """Check that there are two or more classes, and that each split has photos of each.

    Raises:
        SourceError: if not; the message starts with `title`.
    """
    if len(class_names) < 2:
        found = some(class_names) or "none"
        raise SourceError(f"{title}: a classifier needs two or more classes, not {found}.")
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
    """Cut a split into `parts`: all but the first get `SHARE` of each class, at least one photo.

    The stratified `train_test_split` of scikit-learn may leave a small class out of a split.
    """
    counts = np.bincount(split.labels, minlength=len(class_names))
    if few := [
        f"{name!r} with {n}" for name, n in zip(class_names, counts, strict=True) if n < len(parts)
    ]:
        raise SourceError(
            f"Too few photos to split into {', '.join(parts)}: {len(parts)} or more per class are "
            f"needed, but there is {some(few, quote=False)}."
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
    """The first five names, for a message; quoted, so that trailing blanks are visible."""
    names = [repr(name) if quote else name for name in names]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
