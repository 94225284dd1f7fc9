"""The split of each photo, by a digest of its bytes, so that it survives changes of the dataset.

Random splits depend on the seed and on the number of photos, so a single new photo changes all of
them, and training photos may become test photos. A run and its bundle therefore keep `splits.json`,
which is used when the run is resumed and when the bundle is evaluated.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import logging
import pathlib
from collections.abc import Sequence

import numpy as np

from flowers_model import bundle
from train.devices import processes
from train.devices.progress import progress
from train.sources import Source, SourceError, Split
from train.sources.base import picked

log = logging.getLogger("flowers")

READERS = 16
ORDER = ("train", "valid", "test")  # by decreasing influence on the network


def digests(split: Split, title: str) -> list[str | None]:
    """The digest of each photo in hexadecimal; None if it cannot be read.

    Collective: each process reads its share of the photos and gets all digests.
    """

    def one(i: int) -> bytes:
        try:
            return b"\1" + bundle.photo_digest(split.read(i))
        except OSError:  # counted and named when the photo is decoded
            return bytes(1 + bundle.DIGEST_BYTES)

    own = processes.share(len(split))
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        found = pool.map(one, own)
        found = list(progress(found, f"checking {title}", len(own), "photos"))
    rows = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 1 + bundle.DIGEST_BYTES)
    return [
        row[1:].tobytes().hex() if row[0] else None for row in processes.gather(rows, len(split))
    ]


def begin(source: Source, folder: pathlib.Path, begun: bool) -> Source:
    """The photos of a run, in the splits and in the order that it started with.

    Photos that were added to the dataset later are left out. Before anything is trained,
    `splits.json` is written.

    Args:
        folder: the folder of the run.
        begun: whether anything has been trained.

    Raises:
        UserError: if `splits.json` is damaged, if the dataset has other classes than when the run
            started, or if a split has no photos left.
    """
    if source.drawn:
        return source
    found = {name: digests(split, name) for name, split in source.splits.items()}
    kept = bundle.read_splits(folder) if begun else None
    if kept is not None:
        return _as_begun(source, found, kept)
    if processes.is_first():
        photos = {name: [one for one in found[name] if one] for name in found}
        bundle.write_json(
            folder / bundle.SPLITS, bundle.Splits(class_names=source.class_names, photos=photos)
        )
    return source


def _as_begun(source: Source, found: dict[str, list[str | None]], kept: bundle.Splits) -> Source:
    if changed := sorted(set(source.class_names) ^ set(kept.class_names)):
        raise SourceError(
            f"the classes of {source.name} have changed since the run started: {changed[0]!r} is "
            f"{'new' if changed[0] in source.class_names else 'gone'}; restore the classes, or "
            "start a new run"
        )
    places = collections.defaultdict(collections.deque)
    unreadable = collections.defaultdict(list)
    for name, split in source.splits.items():
        for i, digest in enumerate(found[name]):
            if digest is None:
                unreadable[name].append((split, i))
            else:
                places[digest].append((split, i))
    splits = {
        name: [places[digest].popleft() for digest in photos if places.get(digest)]
        for name, photos in kept.photos.items()
    }
    new = sum(map(len, places.values()))
    gone = sum(map(len, kept.photos.values())) - sum(map(len, splits.values()))
    if new or gone:
        log.warning(
            "%s has changed since the run started: %d photos are new and left out (a new run would "
            "use them), %d are gone; the others keep their splits",
            source.name,
            new,
            gone,
        )
    for name, photos in splits.items():
        if not photos:
            raise SourceError(
                f"{source.name} has none of the {name} photos left that the run started with: "
                "restore them, or start a new run"
            )
    return _with_splits(source, {name: splits[name] + unreadable[name] for name in splits})


def as_trained(source: Source, records: Sequence[bundle.Splits | None]) -> Source:
    """Move photos back into the split that they were in when a model was trained.

    Args:
        records: the splits of each model that is evaluated. With several models, a photo goes into
            its split in the model that learned most from it: train before valid before test.
    """
    known = [_splits_by_digest(record) for record in records if record is not None]
    if not known or source.drawn:
        return source
    splits = collections.defaultdict(list)
    moved = new = seen = 0
    for name, split in source.splits.items():
        for i, digest in enumerate(digests(split, name)):
            # If several splits have copies of a photo, each copy stays where it is.
            theirs = [of[digest] for of in known if digest in of]
            own = [name if name in of else min(of, key=ORDER.index) for of in theirs]
            to = min(own, key=ORDER.index, default=name)
            splits[to].append((split, i))
            moved += to != name
            new += digest is not None and not theirs
            seen += bool(theirs)
    if moved or (new and seen):
        log.warning(
            "%s: %d photos are moved back into the splits that they were in when the model was "
            "trained; %d are new to the model and stay where they are",
            source.name,
            moved,
            new,
        )
    return _with_splits(source, splits) if moved else source


def _splits_by_digest(record: bundle.Splits) -> dict[str, set[str]]:
    known = collections.defaultdict(set)
    for name in ORDER:
        for digest in record.photos.get(name, ()):
            known[digest].add(name)
    return dict(known)


def _with_splits(source: Source, splits: dict[str, list[tuple[Split, int]]]) -> Source:
    return dataclasses.replace(
        source, splits={name: picked(splits[name]) for name in ORDER if splits.get(name)}
    )
