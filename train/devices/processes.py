"""Multi-host training under JAX, with one process per host.

Each process makes its own rows of every batch, so it reads only its share of the photos. Only
process 0 writes files. A function called "collective" waits for the other processes: all of them
must call it, in the same order. A single process is a group of one.
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

HEARTBEAT = 20  # seconds without an answer after which a process counts as dead


class GroupError(Exception):
    """Another process of the group has died, so training cannot continue."""


class Preempted(Exception):  # noqa: N818  a request, not a mistake
    """SIGTERM arrived, and the run has saved what it needs to resume."""


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Join the group of processes that train together; must precede any computation.

    Args:
        coordinator: HOST:PORT of process 0, or `auto` where JAX finds the other processes by
            itself, as on TPU pods and under Slurm; None to train alone.
        processes: size of the group.
        process: index of this process, 0 to `processes - 1`.

    Raises:
        UserError: if the settings do not fit together, or the other processes do not appear.
    """
    if coordinator is None:
        if processes is not None or process is not None:
            raise UserError("--processes and --process-id need --coordinator HOST:PORT")
        return
    import keras

    if keras.backend.backend() != "jax":
        raise UserError("several processes can train together only with KERAS_BACKEND=jax")
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
            f"the processes cannot find each other at {coordinator}: {reason}"
        ) from error


def leave() -> None:
    """Collective: wait for the other processes, then leave the group."""
    if processes() > 1:
        import jax

        with together():
            jax.distributed.shutdown()
        signal.signal(signal.SIGTERM, stop)  # in place of JAX's handler, which told the others


def give_up(status: int) -> None:
    """End this process at once if other processes wait for it, so that they notice."""
    if processes() > 1:
        end_at_once(status)


def end_at_once(status: int) -> NoReturn:
    """End this process without shutting down the interpreter, whose threads may still work."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def processes() -> int:
    """The number of processes that train together."""
    if "jax" not in sys.modules:
        return 1
    import jax

    return jax.process_count() if jax.distributed.is_initialized() else 1


def process() -> int:
    """The index of this process."""
    if processes() == 1:
        return 0
    import jax

    return jax.process_index()


def is_first() -> bool:
    """Whether this is process 0, which writes the files."""
    return process() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """A context in which the death of another process raises `GroupError`."""
    if processes() == 1:
        yield
        return
    import jax

    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # JAX's runtime raises either, with a message that starts with a code like UNAVAILABLE.
        reason = str(error).strip().partition("\n")[0]
        if not re.match("[A-Z_]+: ", reason):
            raise
        raise GroupError(f"another process has died ({reason})") from error


def share(count: int) -> np.ndarray:
    """The indices of this process's share of `count` photos, int64."""
    return np.arange(count)[process() :: processes()]


def own_rows(batches: np.ndarray, size: int) -> np.ndarray:
    """The rows of consecutive batches, each of `size` rows, that this process makes."""
    parted = batches.reshape(-1, processes(), size // processes(), *batches.shape[1:])
    return parted[:, process()].reshape(-1, *batches.shape[1:])


def gather(rows: np.ndarray, count: int) -> np.ndarray:
    """Collective: join each process's rows, those of its `share(count)`, to all `count` rows."""
    if processes() == 1:
        return rows
    from jax.experimental import multihost_utils

    longest = math.ceil(count / processes())
    every = multihost_utils.process_allgather(padded(rows, longest))  # (processes, longest, ...)
    return np.swapaxes(every, 0, 1).reshape(-1, *rows.shape[1:])[:count]


def whole(value) -> np.ndarray:
    """Collective: a tensor as an array, even if no process holds all of it."""
    if processes() == 1 or value.is_fully_addressable or value.is_fully_replicated:
        return np.asarray(value)
    from jax.experimental import multihost_utils

    return multihost_utils.process_allgather(value, tiled=True)


def wait() -> None:
    """Collective: wait for all processes."""
    if processes() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("wait")


def most(value: int) -> int:
    """Collective: the maximum of the processes' values."""
    return int(gather(np.array([value]), processes()).max())


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    """The rows, padded with zeros to `count` rows."""
    return np.concatenate([rows, np.zeros((count - len(rows), *rows.shape[1:]), rows.dtype)])


_STEPS = itertools.count()  # JAX wants the steps of a run numbered consecutively
_TERMINATED = threading.Event()  # SIGTERM arrived
_INTERRUPTED = threading.Event()  # Ctrl-C arrived


@contextlib.contextmanager
def preemption() -> Iterator[None]:
    """A context in which SIGTERM only makes `preempted` true, and Ctrl-C is never lost.

    Raises:
        Preempted: at the end, if SIGTERM arrived after the last step had called `preempted`.
        KeyboardInterrupt: at the end, if Python dropped one.
    """
    _TERMINATED.clear()
    _INTERRUPTED.clear()
    # With several processes, JAX itself listens to SIGTERM and tells the others.
    alone = processes() == 1
    before = signal.signal(signal.SIGTERM, lambda *_: _TERMINATED.set()) if alone else None
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    report = sys.unraisablehook
    if interruptible:
        signal.signal(signal.SIGINT, _interrupt)
        # Python prints the traceback of what it drops, and this is not lost.
        sys.unraisablehook = lambda dropped: (
            None if issubclass(dropped.exc_type, KeyboardInterrupt) else report(dropped)
        )
    try:
        yield
    finally:
        if alone:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.unraisablehook = report
    raise_interrupt()
    if preempted():
        raise Preempted


def stop(*_: object) -> NoReturn:
    """The handler of SIGTERM outside of training, where nothing needs to be saved.

    Raises:
        Preempted: always.
    """
    raise Preempted


def raise_interrupt() -> None:
    """Raise the interrupt of Ctrl-C again if Python dropped it, as it does inside a `__del__`.

    Raises:
        KeyboardInterrupt: if there was one.
    """
    if _INTERRUPTED.is_set():
        raise KeyboardInterrupt


def _interrupt(*_: object) -> NoReturn:
    _INTERRUPTED.set()
    raise KeyboardInterrupt


def preempted() -> bool:
    """Collective: whether to save and stop at this step.

    All processes get the same answer, whichever of them received SIGTERM.
    """
    if processes() == 1:
        return _TERMINATED.is_set()
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(next(_STEPS))
