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
    """A photo source that cannot be used; the message is one line that says what would be right."""


@dataclass(frozen=True)
class Options:
    """How a source is opened.

    Attributes:
        seed: decides what a source draws, and every split that its photos do not come with.
        image_size: side of the network's input, pixels, where there are several resolutions to
            choose from; None: the largest.
        skip_bad: leave out records and rows that cannot be used; they are counted in the log, and
            the first three named.
        cut: make the splits that are missing. Without it, a source is taken as it is, to be added
            to another or to be measured on: it has the splits that it comes with, only train if it
            comes with none, and splits need not have every class.
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
        read: `read(i)` gives the encoded bytes of photo `i`, 0 <= i < N; nothing is decoded. It
            raises OSError where the file has gone or must not be read. Threads may share it.
        origins: of a merged source, the name of the source that each photo comes from; else empty.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    read: Callable[[int], bytes]
    origins: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: np.ndarray) -> Split:
        """The photos `indices`, int64 (n,), in that order."""
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
    """A labelled photo collection.

    Every split has at least one photo of every class; TFRecords, and what is added to another
    source or only measured on, are only asked to have some.

    Attributes:
        name: what the collection is called in reports, e.g. `oxford_flowers102`.
        class_names: one per class, in label order.
        splits: "train" and "valid" always, "test" where the collection has test photos.
        credits: one line: where the photos come from, under what terms.
        drawn: whether the photos are drawn from the seed, so that they are always the same.
        datasets: the Hub repos that the photos come from, `USER/DATASET` each.
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
        known: the names that options may have.
        form: what would be right, for the message.

    Raises:
        SourceError: another form, or another name.
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
    """Keep `share` (0..1) of each class's valid photos, at least one, and append the rest to train.

    The seed decides which.
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
    """Log classes whose names differ in case or blanks alone, for they may be meant as one."""
    alike: dict[str, list[str]] = {}
    for name in source.class_names:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            log.warning(
                "%s: the classes %s differ in case or blanks alone: if they are one, give them one "
                "name",
                source.name,
                ", ".join(map(repr, names)),
            )


def nameless(name: str) -> str | None:
    """Why a text cannot be a class name; None if it can."""
    if not name.strip():
        return "is blank"
    try:
        name.encode()
    except UnicodeEncodeError:  # file names of other encodings
        return "is not UTF-8"
    return None


def check_faults(faults: Sequence[str], what: str, skip_bad: bool) -> None:
    """Refuse what is wrong in a source, or log it where the photos concerned are left out.

    Args:
        faults: a sentence each, that names the photo or the file.
        what: what is left out, with the count, for the log.
        skip_bad: whether it is left out.

    Raises:
        SourceError: the first fault, where there are some and `skip_bad` is off.
    """
    if faults and not skip_bad:
        raise SourceError(f"{faults[0]} With --skip-bad the rest is used.")
    if faults:
        log.warning("skipped: %s (%s)", what, " ".join(faults[:3]))
