"""Photo sources, opened by name with `open_source`.

Each source is a module of this package with a function `open_source(path, options)`, and an entry
of `FORMS`.
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

# The forms of `--data`: the name of a module, and its path, in brackets if it is optional.
FORMS = (
    "quickstart",
    "folder:PATH",
    "oxford_flowers102[:PATH]",
    "tfrecord:PATH",
    "hub:USER/DATASET[@REVISION]",
)


def forms() -> str:
    """The forms of `--data`, for messages and help."""
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
        SourceError: if the name is unknown, a path is missing or superfluous, or the photos cannot
            be used.
    """
    # Only at the first colon: Windows paths have another.
    name, _, path = spec.partition(":")
    form = next((form for form in FORMS if re.match(r"\w+", form)[0] == name), None)
    if form is None:
        raise SourceError(f"There is no photo source {name!r}: known are {forms()}.")
    if form == name and path:
        raise SourceError(f"{name} takes no path: drop ':{path}'.")
    if form.startswith(f"{name}:") and not path:
        raise SourceError(f"{name} needs a path: write {form}.")
    # A source is imported only when it is opened: some need TensorFlow or pyarrow.
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
    """Open one photo source, or merge several: see `open_source` and `merge.merge`.

    Args:
        valid_share: see `train_on_valid`; applies only to the first source, because the others
            hold out few photos anyway.
    """
    from train.sources.merge import merge

    # With `first` and `known`, further sources may have few photos of a class, or none.
    added = ("first", "known")
    sources = [
        open_source(spec, seed, image_size, skip_bad, cut=number == 0 or classes not in added)
        for number, spec in enumerate(specs)
    ]
    sources[0] = train_on_valid(sources[0], valid_share, seed)
    return merge(sources, classes, seed) if len(sources) > 1 else sources[0]
