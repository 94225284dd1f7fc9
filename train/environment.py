"""What has to stand in the environment before malloc, XLA and JAX start."""

from __future__ import annotations

import os
import sys

from flowers_model.files import cache_folder

# The convolutions of YNNPACK, with which XLA replaces its own on CPUs, are slower for the few
# channels that photos and first layers have. `benchmarks/training.py` measures it.
_XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-INDIVIDUAL_CONVOLUTION"
# XLA asks for gigabytes at each step and gives them back. In pages of 2 MB instead of 4 kB, the
# kernel hands them out several times faster.
_MALLOC = "glibc.malloc.hugetlb=1"


def prepare() -> None:
    """Set what the user has not set; where malloc needs it, start this process's program anew."""
    if os.environ["KERAS_BACKEND"] == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        if "ynn_fusion_type" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} {_XLA_FLAG}".strip()
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "jax"))
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = _MALLOC
        os.execv(sys.executable, sys.orig_argv)
