"""From the last epoch to the published bundle: whatever fails there, nothing trained is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from train.devices.processes import GroupError, Preempted

_step = ""


class UnfinishedError(Exception):
    """Something failed after the last epoch; the line says what, why, and what is safe where."""


def step(name: str) -> None:
    """Say what is done from here on, for the case that it fails."""
    global _step
    _step = name


@contextlib.contextmanager
def finishing(safe: str) -> Iterator[None]:
    """Inside, whatever fails is an `UnfinishedError` that names the last `step` and what is `safe`.

    What is said of several processes and of SIGTERM goes through.
    """
    try:
        yield
    except (GroupError, Preempted, UnfinishedError):
        raise
    except Exception as error:
        raise UnfinishedError(f"{_step} failed ({reason(error)}); {safe}") from error


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
