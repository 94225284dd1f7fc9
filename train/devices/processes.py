"""Several processes, one a host, that train together under JAX.

Each makes its own rows of every batch, and so reads its share of the photos. Process 0 alone writes
files. Whatever is called "collective" waits for the other processes, so all of them have to call
it, in the same order. A process by itself is a group of one.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from flowers_model.errors import UserError

HEARTBEAT = 20  # seconds after which a process that does not answer counts as dead


class GroupError(Exception):
    """Another process of the group is gone, so training cannot continue."""


class Preempted(Exception):  # noqa: N818  a request, not a mistake
    """SIGTERM: the run has saved what it needs to resume."""


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Become one of the processes that train together; to be called before any computation.

    Args:
        coordinator: HOST:PORT at which process 0 can be reached, or `auto` where JAX finds the
            others by itself, as on TPU pods and under Slurm.
        processes: how many there are.
        process: which one this is, 0 to `processes - 1`.

    Raises:
        UserError: for settings that do not fit together, or where the others do not come.
    """
    if coordinator is None:
        if processes is not None or process is not None:
            raise UserError("--processes and --process-id need --coordinator HOST:PORT")
        return
    import keras

    if keras.backend.backend() != "jax":
        raise UserError("several processes train together under KERAS_BACKEND=jax alone")
    address, count = (None, None) if coordinator == "auto" else (coordinator, processes)
    if address is not None:
        if processes is None or process is None:
            raise UserError("--coordinator HOST:PORT needs --processes N and --process-id I")
        if not 0 <= process < processes:
            raise UserError(f"--process-id must lie in 0..{processes - 1}, not {process}")
        if not address.rpartition(":")[2].isdecimal():
            raise UserError(f"--coordinator must be HOST:PORT or auto, not {address!r}")
    import jax

    # keras.distribution.initialize does the same, but waits 100 seconds for a dead process.
    try:
        jax.distributed.initialize(address, count, process, heartbeat_timeout_seconds=HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the processes do not find each other at {coordinator}: {reason}"
        ) from error


def leave() -> None:
    """Collective: wait for the others and go on alone."""
    if processes() > 1:
        import jax

        with together():
            jax.distributed.shutdown()
        signal.signal(signal.SIGTERM, stop)  # JAX had it tell the others


def give_up(status: int) -> None:
    """End this process at once where others wait for it, so that they notice."""
    if processes() > 1:
        end_at_once(status)


def end_at_once(status: int) -> NoReturn:
    """End this process without taking the interpreter down, under threads that still work."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def processes() -> int:
    """How many processes train together."""
    if "jax" not in sys.modules:
        return 1
    import jax

    return jax.process_count() if jax.distributed.is_initialized() else 1


def process() -> int:
    """Which of them this is; process 0 writes the files."""
    if processes() == 1:
        return 0
    import jax

    return jax.process_index()


def is_first() -> bool:
    """Whether this process writes the files."""
    return process() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Inside, it is a GroupError where the other processes are gone."""
    if processes() == 1:
        yield
        return
    import jax

    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # What JAX's runtime says comes as either, and begins with a code such as UNAVAILABLE.
        reason = str(error).strip().partition("\n")[0]
        if not re.match("[A-Z_]+: ", reason):
            raise
        raise GroupError(f"the processes cannot go on together ({reason})") from error


def share(count: int) -> np.ndarray:
    """Which of `count` photos are this process's own, int64."""
    return np.arange(count)[process() :: processes()]


def own_rows(batches: np.ndarray, size: int) -> np.ndarray:
    """Of batches one after another, each of `size` rows, those that this process makes."""
    parted = batches.reshape(-1, processes(), size // processes(), *batches.shape[1:])
    return parted[:, process()].reshape(-1, *batches.shape[1:])


def gather(rows: np.ndarray, count: int) -> np.ndarray:
    """Collective: from each process's rows, those of its `share(count)`, to all `count` of them."""
    if processes() == 1:
        return rows
    from jax.experimental import multihost_utils

    longest = math.ceil(count / processes())
    every = multihost_utils.process_allgather(padded(rows, longest))  # (processes, longest, ...)
    return np.swapaxes(every, 0, 1).reshape(-1, *rows.shape[1:])[:count]


def whole(value) -> np.ndarray:
    """Collective: a tensor as an array, also where no process has all of it."""
    if processes() == 1 or value.is_fully_addressable or value.is_fully_replicated:
        return np.asarray(value)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(value, tiled=True)


def wait() -> None:
    """Collective: until all processes are here."""
    if processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("wait")


def most(value: int) -> int:
    """Collective: the largest of the processes' numbers."""
    return int(gather(np.array([value]), processes()).max())


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    """The rows, and zeros behind them up to `count` rows."""
    return np.concatenate([rows, np.zeros((count - len(rows), *rows.shape[1:]), rows.dtype)])


_STEPS = itertools.count()  # JAX wants the steps of a whole run numbered one after another
_ASKED = threading.Event()
_INTERRUPTED = threading.Event()


@contextlib.contextmanager
def preemption() -> Iterator[None]:
    """Inside, SIGTERM ends nothing; `preempted` says that it came. Ctrl-C is never lost.

    Raises:
        Preempted: at the end, where it came too late for a step to ask.
        KeyboardInterrupt: so, too.
    """
    _ASKED.clear()
    _INTERRUPTED.clear()
    # Of several processes, JAX listens itself, and tells the others.
    own = processes() == 1
    before = signal.signal(signal.SIGTERM, lambda *_: _ASKED.set()) if own else None
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heeded:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        if own:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if heeded:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    raise_interrupt()
    if preempted():
        raise Preempted


def stop(*_: object) -> NoReturn:
    """For SIGTERM where no step has to be saved: leave at once, and in order.

    Raises:
        Preempted: always.
    """
    raise Preempted


def raise_interrupt() -> None:
    """Interrupt where Ctrl-C came and Python dropped it, as it does with what a `__del__` raises.

    Raises:
        KeyboardInterrupt: where it came.
    """
    if _INTERRUPTED.is_set():
        raise KeyboardInterrupt


def _interrupt(*_: object) -> NoReturn:
    _INTERRUPTED.set()
    raise KeyboardInterrupt


def preempted() -> bool:
    """Whether to save and to leave at this step.

    All processes ask at every step, and get the same answer, whichever of them the signal came to.
    """
    if processes() == 1:
        return _ASKED.is_set()
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(next(_STEPS))
