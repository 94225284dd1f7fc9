"""Progress bars on the terminal of the first process."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import tqdm

from train.devices import processes


def progress(
    values: Iterable | None, title: str, total: int, unit: str, done: int = 0
) -> tqdm.tqdm:
    """A progress bar; where nobody watches, a line every 20 seconds."""
    watched = sys.stderr.isatty()
    return tqdm.tqdm(
        values,
        title,
        total,
        initial=done,
        unit=f" {unit}",
        leave=False,
        disable=not processes.is_first(),
        mininterval=0.1 if watched else 20,
        file=sys.stderr,
    )
