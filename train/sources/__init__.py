"""Photo sources for training, opened by name: see `open_source`."""

from collections.abc import Callable, Sequence

from train.sources.base import Source, SourceError, Split, tell_alike, train_on_valid

__all__ = ["Source", "SourceError", "Split", "open_source", "open_sources", "train_on_valid"]


# A source is imported when it is opened, so that one does not wait for the others.
def _quickstart(path: str, seed: int, image_size: int | None, skip_bad: bool, cut: bool) -> Source:
    from train.sources.quickstart import quickstart

    if path:
        raise SourceError(f"quickstart draws its own photos and takes no path: drop ':{path}'.")
    return quickstart(seed)


def _folder(path: str, seed: int, image_size: int | None, skip_bad: bool, cut: bool) -> Source:
    from train.sources.folder import open_folder

    if not path:
        raise SourceError("folder needs the path of a folder of photos: write folder:PATH.")
    return open_folder(path, seed, cut)


def _oxford_flowers102(
    path: str, seed: int, image_size: int | None, skip_bad: bool, cut: bool
) -> Source:
    from train.sources.oxford_flowers102 import open_oxford_flowers102

    return open_oxford_flowers102(path or None)


def _tfrecord(path: str, seed: int, image_size: int | None, skip_bad: bool, cut: bool) -> Source:
    from train.sources.tfrecord import open_tfrecord

    if not path:
        raise SourceError("tfrecord needs the path of a folder of TFRecords: write tfrecord:PATH.")
    return open_tfrecord(path, seed, image_size, skip_bad)


def _hub(path: str, seed: int, image_size: int | None, skip_bad: bool, cut: bool) -> Source:
    from train.sources.hub import open_hub

    return open_hub(path, seed, skip_bad, cut)


SOURCES: dict[str, Callable[[str, int, int | None, bool, bool], Source]] = {
    "quickstart": _quickstart,
    "folder": _folder,
    "oxford_flowers102": _oxford_flowers102,
    "tfrecord": _tfrecord,
    "hub": _hub,
}


def open_source(
    spec: str,
    seed: int,
    image_size: int | None = None,
    skip_bad: bool = False,
    cut: bool = True,
) -> Source:
    """Open the photo source `spec`, written NAME or NAME:PATH.

    Known are `quickstart`, `folder:PATH`, `oxford_flowers102[:PATH]`, `tfrecord:PATH`, and
    `hub:USER/DATASET[@REVISION]` or `hub:PATH`. The seed decides what a source draws and every
    split that its photos do not bring along; the network's input size in pixels, which resolution
    is read where there are several (None: the largest). With `skip_bad`, records and rows that
    cannot be used are left out, counted in the log and the first three named there. Without `cut`,
    a folder or a data set of the Hub is taken as it is: it has the splits that it brings along, all
    train where it brings none, and a folder's splits need not have every class.

    Raises:
        SourceError: an unknown name, a path missing or too many, or photos that do not fit.
    """
    # Only the first colon: a Windows path has one of its own.
    name, _, path = spec.partition(":")
    if name not in SOURCES:
        raise SourceError(
            f"There is no photo source {name!r}: "
            "known are quickstart, folder:PATH, oxford_flowers102[:PATH], tfrecord:PATH "
            "and hub:USER/DATASET."
        )
    source = SOURCES[name](path, seed, image_size, skip_bad, cut)
    tell_alike(source)
    return source


def open_sources(
    specs: Sequence[str],
    classes: str,
    seed: int,
    image_size: int | None = None,
    skip_bad: bool = False,
    valid_share: float = 1.0,
) -> Source:
    """Open one photo source, or several as one: see `open_source` and `merge.merge`.

    Args:
        valid_share: what `train_on_valid` leaves of the first source's valid photos, before the
            others, which hold back little already, are merged with it.
    """
    from train.sources.merge import merge

    # Further sources of `first` and `known` may have few photos of a class, or none.
    added = ("first", "known")
    sources = [
        open_source(spec, seed, image_size, skip_bad, cut=number == 0 or classes not in added)
        for number, spec in enumerate(specs)
    ]
    sources[0] = train_on_valid(sources[0], valid_share, seed)
    return merge(sources, classes, seed) if len(sources) > 1 else sources[0]
