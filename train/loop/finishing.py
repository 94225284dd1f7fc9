"""Errors between the last epoch and the published bundle, where no training is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from train.devices.processes import GroupError, Preempted

_step = ""


class UnfinishedError(Exception):
    """A step after the last epoch failed; the message says which, why, and what has been saved."""


def step(name: str) -> None:
    """Name the step that begins here, for the message if it fails."""
    global _step
    _step = name


@contextlib.contextmanager
def finishing(safe: str) -> Iterator[None]:
    """Turn any failure into an `UnfinishedError` that names the last `step` and what is `safe`.

    Errors of other processes and SIGTERM pass unchanged.
    """
    try:
        yield
    except (GroupError, Preempted, UnfinishedError):
        raise
    except Exception as error:
        raise UnfinishedError(f"{_step} failed ({reason(error)}); {safe}") from error


def reason(error: BaseException) -> str:
    """The message of an error, in one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
