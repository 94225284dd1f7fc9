"""The environment that malloc, XLA and JAX start in, and the card that it leaves unused."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

from flowers_model.errors import UserError
from flowers_model.files import cache_folder
from flowers_model.installation import install_line

BACKENDS = ("jax", "tensorflow")

# The convolutions of YNNPACK, with which XLA replaces its own on CPUs, are slower for the few
# channels that photos and first layers have. `benchmarks/training.py` measures it.
_XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-INDIVIDUAL_CONVOLUTION"
# XLA asks for gigabytes at each step and gives them back. In pages of 2 MB instead of 4 kB, the
# kernel hands them out several times faster.
_MALLOC = "glibc.malloc.hugetlb=1"


# Which JAX itself asks for; XLA knows it in all versions.
_KNOWN_FLAGS = ("--xla_force_host_platform_device_count=", _XLA_FLAG)


def check() -> None:
    """Check what the environment says to Keras and XLA, before they start.

    Raises:
        UserError: for a backend that cannot train, and for flags that XLA does not know.
    """
    backend = os.environ.get("KERAS_BACKEND", BACKENDS[0])
    if backend not in BACKENDS:
        raise UserError(
            f"KERAS_BACKEND must be {' or '.join(BACKENDS)} for training, not {backend}"
        )
    flags = os.environ.get("XLA_FLAGS", "").split()
    if backend == "jax" and not all(flag.startswith(_KNOWN_FLAGS) for flag in flags):
        # At a flag that it does not know, XLA aborts the process.
        done = subprocess.run(
            [sys.executable, "-c", "import jax; jax.devices()"],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        said = [line for line in done.stderr.splitlines() if "XLA_FLAGS" in line]
        if done.returncode and said:
            raise UserError(
                f"XLA does not take XLA_FLAGS={os.environ['XLA_FLAGS']!r} "
                f"({said[0].partition('] ')[2]}): correct it, or unset it"
            )


def check_devices() -> None:
    """Check that JAX finds the devices that JAX_PLATFORMS asks for, where it asks for some.

    Raises:
        UserError: where it does not.
    """
    platforms = os.environ.get("JAX_PLATFORMS")
    if not platforms or os.environ.get("KERAS_BACKEND", BACKENDS[0]) != "jax":
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where CUDA is not there
        reason = f" ({str(error).strip().splitlines()[0]})" if str(error).strip() else ""
        raise UserError(
            f"JAX_PLATFORMS is {platforms!r}, and JAX cannot use that here{reason}: unset it to "
            "use what there is"
        ) from error


def prepare() -> None:
    """Set what the user has not set; restart the program if malloc's settings need it."""
    if os.environ.get("KERAS_BACKEND", BACKENDS[0]) == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        if "ynn_fusion_type" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {_XLA_FLAG}".strip()
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "jax"))
        # As it comes, JAX takes three quarters of a card at once, whoever else uses it.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = _MALLOC
        os.execv(sys.executable, sys.orig_argv)


def unused_card(backend: str) -> str | None:
    """What to tell who computes on the CPU of a machine with an NVIDIA card; None without a card.

    Nothing is said where the card was hidden on purpose.

    Args:
        backend: Keras's.
    """
    if os.environ.get("JAX_PLATFORMS") == "cpu" or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return None
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    card = re.match(r"GPU 0: ([^(\n]+)", listed.stdout)
    if listed.returncode or card is None:
        return None
    name = card[1].strip()
    if backend != "jax":
        return f"{name} is not used: KERAS_BACKEND=jax trains on it, after {install_line('gpu')}"
    if importlib.util.find_spec("jax_cuda12_plugin"):
        return f"{name} is not used: JAX needs a newer NVIDIA driver, or another program holds it"
    return f"{name} is not used; to train on it: {install_line('gpu')}"
