"""Photo sources for training, opened by name: see `open_source`.

Each source is a module of this package with `open_source(path, options)`, and a line of `FORMS`.
"""

import importlib
import re
from collections.abc import Sequence

from train.sources.base import Options, Source, SourceError, Split, tell_alike, train_on_valid

__all__ = [
    "Options",
    "Source",
    "SourceError",
    "Split",
    "forms",
    "open_source",
    "open_sources",
    "train_on_valid",
]

# How each source is written after `--data`: the name of its module, and the path that it takes,
# in brackets if the path may be left out.
FORMS = (
    "quickstart",
    "folder:PATH",
    "oxford_flowers102[:PATH]",
    "tfrecord:PATH",
    "hub:USER/DATASET[@REVISION]",
)


def forms() -> str:
    """The sources as `--data` takes them, for messages and help."""
    return f"{', '.join(FORMS[:-1])} or {FORMS[-1]}"


def open_source(
    spec: str,
    seed: int,
    image_size: int | None = None,
    skip_bad: bool = False,
    cut: bool = True,
) -> Source:
    """Open the photo source `spec`, written as one of `FORMS`.

    Args:
        seed, image_size, skip_bad, cut: see `train.sources.base.Options`.

    Raises:
        SourceError: an unknown name, a path that is missing or not wanted, or photos that cannot
            be used.
    """
    # Only the first colon: a Windows path has one of its own.
    name, _, path = spec.partition(":")
    form = next((form for form in FORMS if re.match(r"\w+", form)[0] == name), None)
    if form is None:
        raise SourceError(f"There is no photo source {name!r}: known are {forms()}.")
    if form == name and path:
        raise SourceError(f"{name} takes no path: drop ':{path}'.")
    if form.startswith(f"{name}:") and not path:
        raise SourceError(f"{name} needs a path: write {form}.")
    # A source is imported when it is opened: some of them need TensorFlow or pyarrow.
    module = importlib.import_module(f"{__name__}.{name}")
    source = module.open_source(path, Options(seed, image_size, skip_bad, cut))
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
        valid_share: as in `train_on_valid`, for the first source, before the others are merged
            with it, which hold out few photos anyway.
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
