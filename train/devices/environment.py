"""Environment variables for malloc, XLA and JAX, and a warning about an unused GPU."""

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

# On CPUs, XLA replaces its own convolutions with those of YNNPACK, which are slower for the few
# channels of photos and first layers. `benchmarks/training.py` measures it.
_XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-INDIVIDUAL_CONVOLUTION"
# XLA allocates and frees gigabytes in each step. With pages of 2 MB instead of 4 kB, the kernel
# allocates them several times faster.
_MALLOC = "glibc.malloc.hugetlb=1"


# Flags that every version of XLA knows: JAX itself and `prepare` set them.
_KNOWN_FLAGS = ("--xla_force_host_platform_device_count=", _XLA_FLAG)


def check() -> None:
    """Check the environment variables of Keras and XLA before they are imported.

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
        # XLA aborts the process at an unknown flag.
        done = subprocess.run(
            [sys.executable, "-c", "import jax; jax.devices()"],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        said = [line for line in done.stderr.splitlines() if "XLA_FLAGS" in line]
        if done.returncode and said:
            raise UserError(
                f"XLA does not accept XLA_FLAGS={os.environ['XLA_FLAGS']!r} "
                f"({said[0].partition('] ')[2]}): correct it, or unset it"
            )


def check_devices() -> None:
    """Check that JAX finds the devices that JAX_PLATFORMS names, if it is set.

    Raises:
        UserError: if JAX does not find them.
    """
    platforms = os.environ.get("JAX_PLATFORMS")
    if not platforms or os.environ.get("KERAS_BACKEND", BACKENDS[0]) != "jax":
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter without CUDA
        reason = f" ({str(error).strip().splitlines()[0]})" if str(error).strip() else ""
        raise UserError(
            f"JAX_PLATFORMS is {platforms!r}, which JAX cannot use here{reason}: unset it to use "
            "the devices that exist"
        ) from error


def prepare() -> None:
    """Set variables that the user has not set; restart the program if malloc requires it."""
    if os.environ.get("KERAS_BACKEND", BACKENDS[0]) == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        if "ynn_fusion_type" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {_XLA_FLAG}".strip()
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "jax"))
        # By default, JAX allocates three quarters of a GPU's memory at once.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = _MALLOC
        os.execv(sys.executable, sys.orig_argv)


def unused_card(backend: str) -> str | None:
    """A message for training on the CPU of a machine with an NVIDIA GPU; None without a GPU.

    There is no message if the GPU is hidden on purpose.

    Args:
        backend: the Keras backend.
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
