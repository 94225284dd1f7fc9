"""Merge several photo sources by class name."""

from __future__ import annotations

import dataclasses
import logging
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from train.sources.base import Source, SourceError, Split
from train.sources.splits import SHARE, some

log = logging.getLogger("flowers")

SPLITS = ("train", "valid", "test")


class _Part(NamedTuple):
    """Photos `indices` of a split, int64 (n,), and their labels in the merged source, (n,)."""

    title: str
    split: Split
    indices: np.ndarray
    labels: np.ndarray


def merge(sources: Sequence[Source], classes: str = "union", seed: int = 0) -> Source:
    """Merge several sources, and log a table of the photos that each contributes.

    Two classes are the same if their names differ only in case, accents, blanks, underscores,
    hyphens, apostrophes, or a plural ending (s, es, ies). The first source with a class determines
    its name and its position in the order.

    Args:
        sources: two or more.
        classes: `union` keeps all classes and `intersection` those that all sources have; splits
            are merged by name. `first` keeps the classes, valid and test of the first source; the
            other sources add photos to train, from all of their splits. `known` also keeps the
            classes of the first source, but merges splits by name, and holds out 15 % of a source
            that has neither valid nor test. Photos of other classes are left out.
        seed: random seed of these 15 %.

    Returns:
        A source whose photo names start with the name of the source that the photo comes from,
        which is also its origin.

    Raises:
        SourceError: if fewer than two classes are left, or a class has no photos in a split.
    """
    titles = _titles(sources)
    if classes == "known":
        sources = [sources[0], *(hold_back(source, seed) for source in sources[1:])]
    names, columns, matches = _match(sources, titles)
    if classes == "intersection":
        kept = [i for i in range(len(names)) if all(i in column for column in columns)]
    elif classes in ("first", "known"):
        kept = list(range(len(sources[0].class_names)))
    else:
        kept = list(range(len(names)))
    if len(kept) < 2:
        raise SourceError(
            f"{', '.join(titles)} have fewer than two classes in common: "
            "give --classes union or first, or rename the classes."
        )
    new_labels = np.full(len(names), -1, np.int32)
    new_labels[kept] = np.arange(len(kept))

    parts: dict[str, list[_Part]] = {}
    for number, (title, source, column) in enumerate(zip(titles, sources, columns, strict=True)):
        for name in SPLITS:
            if name in source.splits:
                split = source.splits[name]
                labels = new_labels[column][split.labels]
                indices = np.flatnonzero(labels >= 0)
                to = "train" if classes == "first" and number else name
                parts.setdefault(to, []).append(_Part(title, split, indices, labels[indices]))
    parts = {name: parts[name] for name in SPLITS if name in parts}
    class_names = tuple(names[i] for i in kept)

    lines = _table(sources, titles, parts, f"{len(kept)} classes ({classes})") + matches
    lines += _unmatched(titles, columns, names, kept)
    log.info("merged by class name:\n%s", textwrap.indent("\n".join(lines), "  "))
    _check(parts, class_names)
    return Source(
        name=" + ".join(titles),
        class_names=class_names,
        splits={name: _together(found) for name, found in parts.items()},
        credits="; ".join(dict.fromkeys(source.credits for source in sources)),
        datasets=tuple(dict.fromkeys(repo for source in sources for repo in source.datasets)),
    )


def _unmatched(
    titles: Sequence[str], columns: list[list[int]], names: list[str], kept: list[int]
) -> Iterator[str]:
    """A line for each source with classes that no other source has."""
    for title, column in zip(titles, columns, strict=True):
        others = set().union(*(set(other) for other in columns if other is not column))
        if lone := sorted(set(column) - others):
            what = "kept" if lone[0] in kept else "left out"
            listed = ", ".join(repr(names[i]) for i in lone)
            yield f"only in {title}, {what} ({len(lone)}): {listed}"


def hold_back(source: Source, seed: int) -> Source:
    """Move `SHARE` of the photos of a source that has only train to valid."""
    if source.splits.keys() != {"train"}:
        return source
    train = source.splits["train"]
    order = np.random.default_rng([seed, 0x5EED]).permutation(len(train))
    count = round(SHARE * len(train))
    splits = {"train": train.subset(np.sort(order[count:]))}
    if count:
        splits["valid"] = train.subset(np.sort(order[:count]))
    return dataclasses.replace(source, splits=splits)


def _titles(sources: Sequence[Source]) -> list[str]:
    """The names of the sources, numbered if they repeat."""
    names = [source.name for source in sources]
    again = [names[:i].count(name) + 1 for i, name in enumerate(names)]
    return [f"{name}#{n}" if n > 1 else name for name, n in zip(names, again, strict=True)]


def _match(
    sources: Sequence[Source], titles: Sequence[str]
) -> tuple[list[str], list[list[int]], list[str]]:
    """Match the classes of all sources.

    Two classes of the same source are never matched: if both fit the same name, the one with the
    closer spelling is matched.

    Returns:
        All class names, the index among them of each source's classes, and a line for the log for
        each match of different spellings.
    """
    names: list[str] = []
    columns: list[list[int]] = []
    said: list[str] = []
    for source, title in zip(sources, titles, strict=True):
        column: dict[int, int] = {}  # the source's label -> the number of the name
        before = len(names)
        for same in (_same_name, _same_spelling, _same_but_plural):
            for label, name in enumerate(source.class_names):
                if label in column:
                    continue
                free = (i for i in range(before) if i not in column.values())
                number = next((i for i in free if same(name, names[i])), None)
                if number is not None:
                    column[label] = number
                    if name != names[number]:
                        said.append(f"same class: {names[number]!r} and {name!r} of {title}")
        for label, name in enumerate(source.class_names):
            if label not in column:
                column[label] = len(names)
                names.append(name)
        columns.append([column[label] for label in range(len(source.class_names))])
    return names, columns, said


def _same_name(a: str, b: str) -> bool:
    return a == b


def _same_spelling(a: str, b: str) -> bool:
    return _spelling(a) == _spelling(b)


def _same_but_plural(a: str, b: str) -> bool:
    a, b = _spelling(a), _spelling(b)
    return a in _plurals(b) or b in _plurals(a)


def _spelling(name: str) -> str:
    """The name in lower case, without accents, apostrophes and different separators."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(c for c in letters if not unicodedata.combining(c) and c not in "'`\u2019")
    return re.sub("[\\s_\\-\u2010\u2013]+", " ", letters).strip()


def _plurals(name: str) -> set[str]:
    return {f"{name}s", f"{name}es"} | ({f"{name[:-1]}ies"} if name.endswith("y") else set())


def _table(
    sources: Sequence[Source], titles: Sequence[str], parts: dict[str, list[_Part]], what: str
) -> list[str]:
    """Photos by source and split, as lines of text."""
    rows = [["source", *parts, "left out", "classes"]]
    for title, source in zip(titles, sources, strict=True):
        counts = [
            sum(len(p.indices) for p in found if p.title == title) for found in parts.values()
        ]
        left_out = sum(map(len, source.splits.values())) - sum(counts)
        rows.append([title, *map(str, (*counts, left_out, len(source.class_names)))])
    sums = [sum(int(row[i]) for row in rows[1:]) for i in range(1, len(parts) + 2)]
    rows.append(["together", *map(str, sums), what])
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows), strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:-1], widths[1:]), row[-1]])
        for row in rows
    ]


def _check(parts: dict[str, list[_Part]], class_names: tuple[str, ...]) -> None:
    for name, found in parts.items():
        labels = np.concatenate([part.labels for part in found])
        counts = np.bincount(labels, minlength=len(class_names))
        if lacking := [class_names[i] for i in np.flatnonzero(counts == 0)]:
            given = ", ".join(dict.fromkeys(part.title for part in found))
            raise SourceError(
                f"merged, {name} has no photos of {some(lacking)}, because only {given} has {name} "
                "photos: give --classes first or intersection, or add such photos to every source."
            )


def _together(parts: Sequence[_Part]) -> Split:
    splits = [part.split for part in parts]
    owners = np.repeat(np.arange(len(parts)), [len(part.indices) for part in parts])
    indices = np.concatenate([part.indices for part in parts])

    def read(i: int) -> bytes:
        return splits[owners[i]].read(int(indices[i]))

    return Split(
        names=tuple(f"{part.title}/{part.split.names[i]}" for part in parts for i in part.indices),
        labels=np.concatenate([part.labels for part in parts]).astype(np.int32),
        read=read,
        origins=tuple(part.title for part in parts for _ in part.indices),
    )
