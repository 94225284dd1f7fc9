"""What every photo source provides: named splits of labelled photos."""

from __future__ import annotations

import logging
import os
import unicodedata
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flowers_model.errors import UserError
from flowers_model.files import expanded

log = logging.getLogger("flowers")


class SourceError(UserError):
    """A photo source cannot be used; the message, a single line, says how to correct it."""


@dataclass(frozen=True)
class Options:
    """How a source is opened.

    Attributes:
        seed: random seed of drawn photos and of random splits.
        image_size: side of the network's input in pixels, to choose among several resolutions;
            None for the largest.
        skip_bad: leave out bad records and rows; the log counts them and names the first three.
        cut: make missing splits at random. Without it, a source keeps the splits that it comes
            with, or has only train if it comes with none, and splits need not have every class:
            for sources that are merged into another, or that a model is evaluated on.
    """

    seed: int
    image_size: int | None = None
    skip_bad: bool = False
    cut: bool = True


@dataclass(frozen=True)
class Split:
    """The photos of one split, read only when asked for.

    Attributes:
        names: one per photo, unique within the source: its relative path if there is one.
        labels: int32 (N,), indices into `Source.class_names`.
        read: `read(i)` returns the encoded bytes of photo `i`, 0 <= i < N. It raises OSError if the
            file is gone or must not be read. Thread-safe.
        origins: for a merged source, the name of the source of each photo; else empty.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    read: Callable[[int], bytes]
    origins: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: np.ndarray) -> Split:
        """A split of the photos `indices`, int64 (n,), in that order."""
        return Split(
            names=tuple(self.names[i] for i in indices),
            labels=self.labels[indices],
            read=lambda i: self.read(int(indices[i])),
            origins=tuple(self.origins[i] for i in indices) if self.origins else (),
        )


def picked(photos: Sequence[tuple[Split, int]]) -> Split:
    """A split of photos from other splits, each given as its split and its index there."""
    labels = np.array([split.labels[i] for split, i in photos], np.int32)

    def read(i: int) -> bytes:
        split, number = photos[i]
        return split.read(number)

    merged = all(split.origins for split, _ in photos)
    origins = tuple(split.origins[i] for split, i in photos) if merged else ()
    return Split(tuple(split.names[i] for split, i in photos), labels, read, origins)


@dataclass(frozen=True)
class Source:
    """A labelled dataset.

    Every split has at least one photo of every class. Exceptions are TFRecords and sources opened
    without `Options.cut`.

    Attributes:
        name: its name in reports, such as `oxford_flowers102`.
        class_names: one per class, in label order.
        splits: always "train" and "valid", and "test" if the dataset has test photos.
        credits: one line with the photos' origin and terms.
        drawn: whether the photos are drawn by this project, so that the seed determines them.
        datasets: the dataset repos on the Hub that the photos come from, `USER/DATASET` each.
    """

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    credits: str
    drawn: bool = False
    datasets: tuple[str, ...] = ()


def split_options(text: str, known: Sequence[str], form: str) -> tuple[str, dict[str, str]]:
    """The place and the options of `PLACE?NAME=VALUE&NAME=VALUE`.

    Args:
        known: the names of the options.
        form: the right form, for the message.

    Raises:
        SourceError: if the form is another, or an option is unknown.
    """
    place, mark, query = text.rpartition("?")
    if not mark or os.path.exists(expanded(text)):
        return text, {}
    try:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        pairs = []
    options = dict(pairs)
    if not pairs or len(options) < len(pairs) or not all(options.values()):
        raise SourceError(f"{text!r}: ?{query} is not of the form {form}.")
    if unknown := [name for name in options if name not in known]:
        raise SourceError(
            f"{text!r}: no option is called {unknown[0]!r}; use {', '.join(map(repr, known))}."
        )
    return place, options


def train_on_valid(source: Source, share: float, seed: int) -> Source:
    """Keep a random `share` (0..1) of each class's valid photos, and move the rest to train.

    At least one photo per class stays in valid.
    """
    if share == 1:
        return source
    train, valid = source.splits["train"], source.splits["valid"]
    order = np.random.default_rng([seed, 0x7A11D]).permutation(len(valid))
    kept = []
    for label in np.unique(valid.labels):
        own = order[valid.labels[order] == label]
        kept.append(own[: max(round(share * len(own)), 1)])
    kept = np.sort(np.concatenate(kept))
    moved = np.setdiff1d(np.arange(len(valid)), kept)
    joined = picked([(train, i) for i in range(len(train))] + [(valid, int(i)) for i in moved])
    return replace(source, splits=source.splits | {"train": joined, "valid": valid.subset(kept)})


def plain_name(name: str) -> str:
    """A class name in Unicode's composed form (NFC); macOS decomposes letters such as é."""
    return unicodedata.normalize("NFC", name)


def tell_alike(source: Source) -> None:
    """Log classes whose names differ only in case or blanks: they may be meant as one."""
    alike: dict[str, list[str]] = {}
    for name in source.class_names:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            log.warning(
                "%s: the classes %s differ only in case or blanks: if they are the same, give them "
                "the same name",
                source.name,
                ", ".join(map(repr, names)),
            )


def nameless(name: str) -> str | None:
    """The reason why a text cannot be a class name; None if it can."""
    if not name.strip():
        return "is blank"
    try:
        name.encode()
    except UnicodeEncodeError:  # file names of other encodings
        return "is not UTF-8"
    return None


def check_faults(faults: Sequence[str], what: str, skip_bad: bool) -> None:
    """Raise the first fault in a source, or with `skip_bad` log what is left out.

    Args:
        faults: a sentence for each fault, which names the photo or file.
        what: what is left out, with the count, for the log.

    Raises:
        SourceError: the first fault, unless `skip_bad`.
    """
    if faults and not skip_bad:
        raise SourceError(f"{faults[0]} Or use the rest with --skip-bad.")
    if faults:
        log.warning("skipped: %s (%s)", what, " ".join(faults[:3]))
