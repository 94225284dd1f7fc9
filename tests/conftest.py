"""Every test runs offline, with caches, tokens and homes in a temporary folder."""

import os
import sys
import tempfile
import uuid

import pytest

# Libraries read these once, when they are imported, so they are set before any test module is.
_home = tempfile.mkdtemp(prefix="flowers-tests-")
os.environ.update(
    HOME=_home,
    HF_HOME=os.path.join(_home, "huggingface"),
    KERAS_HOME=os.path.join(_home, "keras"),
    FLOWERS_DATA=os.path.join(_home, "flowers"),
    GRADIO_ANALYTICS_ENABLED="False",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_XET="1",  # the tests' Hub server keeps large files by LFS
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TF_CPP_MIN_LOG_LEVEL="2",
    MPLBACKEND="Agg",
    JAX_COMPILATION_CACHE_DIR=os.path.join(_home, "jax"),
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
)
os.environ.setdefault("KERAS_BACKEND", "jax")
for _name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
    os.environ.pop(_name, None)
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> str:
    """A few photos, 18 to train on and 6 to choose by, for tests without photos of their own."""
    from helpers import write_photo_folder

    folder = write_photo_folder(tmp_path_factory.mktemp("data"), {"train": 6, "valid": 2})
    return f"folder:{folder}"


@pytest.fixture
def float32_again():
    """For tests that train in a preset's precision."""
    yield
    import keras

    keras.config.set_dtype_policy("float32")


@pytest.fixture
def repo_id() -> str:
    """A repo of its own for every test, for they share the Hub's cache."""
    return f"ada/flowers-{uuid.uuid4().hex[:8]}"
