"""Environment variables set before malloc, XLA and JAX start; the user's own values are kept."""

import json
import os
import subprocess
import sys

import pytest

from flowers_model.errors import UserError
from train.devices import environment

SCRIPT = """
import json, os
os.environ.setdefault("KERAS_BACKEND", "jax")
from train.devices import environment
environment.prepare()
print(json.dumps(dict(os.environ)))
"""
NAMES = (
    "XLA_FLAGS",
    "GLIBC_TUNABLES",
    "JAX_COMPILATION_CACHE_DIR",
    "KERAS_BACKEND",
    "XLA_PYTHON_CLIENT_PREALLOCATE",
)


def prepared(**given: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=kept | given, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_jax_gets_its_flags_and_a_compilation_cache(tmp_path):
    after = prepared(FLOWERS_DATA=str(tmp_path))
    assert after["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "jax")
    assert after["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    flags = after["XLA_FLAGS"]
    check = [sys.executable, "-c", "import jax; print(jax.jit(lambda x: x + 1)(1))"]
    done = subprocess.run(check, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True)
    assert done.returncode == 0, f"the installed JAX does not know {flags}"


def test_what_the_user_has_set_stays():
    given = {
        "XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type=-REDUCE",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
        "JAX_COMPILATION_CACHE_DIR": "elsewhere",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "true",
    }
    assert prepared(**given).items() >= given.items()
    after = prepared(XLA_FLAGS="--xla_force_host_platform_device_count=8")
    assert after["XLA_FLAGS"].startswith("--xla_force_host_platform_device_count=8 ")


def test_tensorflow_gets_no_xla_flags():
    after = prepared(KERAS_BACKEND="tensorflow")
    assert "XLA_FLAGS" not in after
    assert "JAX_COMPILATION_CACHE_DIR" not in after


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has these settings")
def test_the_program_starts_anew_with_malloc_set():
    after = prepared()
    assert after["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    # The process was started with it: glibc reads the variable only at the start.
    script = SCRIPT + "print(open('/proc/self/environ').read().count('GLIBC_TUNABLES'))"
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run([sys.executable, "-c", script], env=kept, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "1"


@pytest.fixture
def card(tmp_path, monkeypatch):
    """A machine with an NVIDIA GPU, according to the output of nvidia-smi."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: Tesla T4 (UUID: GPU-1)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.skipif(sys.platform == "win32", reason="the driver's program is a shell script here")
@pytest.mark.usefixtures("card")
def test_a_card_that_is_not_used_is_named_with_the_command(monkeypatch):
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    said = environment.unused_card("jax")
    assert said == "Tesla T4 is not used; to train on it: pip install -r requirements-gpu.txt"
    assert "KERAS_BACKEND=jax" in environment.unused_card("tensorflow")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert environment.unused_card("jax") is None


def test_a_machine_without_a_card_hears_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.unused_card("jax") is None


@pytest.mark.parametrize("backend", ["torch", "Jax", ""])
def test_a_backend_that_cannot_train_is_told(monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(UserError, match=f"^KERAS_BACKEND must be jax or tensorflow .* {backend}$"):
        environment.check()


def test_a_flag_that_xla_does_not_know_is_told(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_another_version=1")
    with pytest.raises(UserError, match=r"XLA_FLAGS.*xla_of_another_version") as caught:
        environment.check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_devices_that_are_not_here_are_told(platform):
    script = (
        "from train.devices import environment\n"
        "from flowers_model.errors import UserError\n"
        "try: environment.check_devices()\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": platform},
        capture_output=True,
        text=True,
        check=True,
    )
    if not done.stdout:
        pytest.skip(f"this machine has {platform}")
    assert done.stdout.startswith(f"JAX_PLATFORMS is '{platform}', which JAX cannot use here")
    assert done.stdout.count("\n") == 1
