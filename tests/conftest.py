"""Every test runs offline, with caches, tokens and homes in a temporary folder.

Shared fixtures and helpers; what they make is made once for all of pytest's processes:

- `data`: a dataset of 24 photos, as a value for `--data`;
- `main`: `train/run.py`, run within the test's process; with `quick_bundles`, writing its bundle
  takes two seconds instead of five;
- `helpers.write_tiny_bundle(folder)`: a bundle, untrained;
- `helpers.once(name, make)`: a folder that is slow to make.

A test that takes more than about two seconds on one core is marked `slow`. Files with such tests
run first, so that no process is still busy with one while the others are done.
"""

import atexit
import functools
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Callable

import pytest

# The workers of pytest-xdist inherit the home of the process that starts them.
_home = os.environ.get("FLOWERS_TESTS_HOME")
if _home is None:
    _home = tempfile.mkdtemp(prefix="flowers-tests-")
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
# Libraries read these once, on import, so they are set before any test module is imported.
os.environ.update(
    FLOWERS_TESTS_HOME=_home,
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
    GLIBC_TUNABLES="",  # set, so that commands need not start anew to set it
    JAX_COMPILATION_CACHE_DIR=os.path.join(_home, "jax"),
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    JAX_DISABLE_MOST_OPTIMIZATIONS="1",  # tiny networks compile for longer than they run
)
os.environ.setdefault("KERAS_BACKEND", "jax")
# Behind a proxy, too, tests ask their own servers directly.
os.environ.update(dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1"))
for _name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
    os.environ.pop(_name, None)
_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [_root, os.path.join(_root, "spaces")]
# httpx reads all root certificates for each client, also for `httpx.get` of a plain http address,
# which takes longer than most of the tests' requests.
ssl.create_default_context = functools.cache(ssl.create_default_context)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # stable: a file's tests keep their order


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> str:
    """A small dataset, 18 training and 6 validation photos, for tests without their own photos."""
    from helpers import write_photo_folder

    folder = write_photo_folder(tmp_path_factory.mktemp("data"), {"train": 6, "valid": 2})
    return f"folder:{folder}"


@pytest.fixture(scope="session")
def main() -> Callable[[list[str]], int]:
    """`python train/run.py` in this process, without its changes to `sys.path`."""
    sys.path.insert(0, "")
    from train import run

    sys.path.pop(0)
    return run.main


@pytest.fixture
def quick_bundles(monkeypatch) -> None:
    """Measure bundles on few generated pictures and resamples."""
    from helpers import quicken_bundles

    quicken_bundles(monkeypatch)


@pytest.fixture
def weights_by_numpy(monkeypatch) -> None:
    """For tests that build large networks."""
    import numpy_weights

    numpy_weights.draw(monkeypatch.setattr)


@pytest.fixture
def float32_again():
    """For tests that train in a preset's precision."""
    yield
    import keras

    keras.config.set_dtype_policy("float32")


@pytest.fixture
def repo_id() -> str:
    """A unique repo for each test, because the tests share the Hub's cache."""
    return f"ada/flowers-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def axe(pytestconfig) -> Callable[[object], list[str]]:
    """Serious findings of axe-core (fetched once from the npm registry) on a page at the widths of
    a desktop and a phone, in light and dark, and whether the page is too wide for them. It leaves
    the phone's width and light colours.
    """
    with tarfile.open(npm_package(pytestconfig, "axe-core", "4.10.3")) as opened:
        script = opened.extractfile("package/axe.min.js").read().decode()

    # Once the page has heard of its new colours, buttons change to theirs little by little.
    settled = """async () => {
        await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        for (const one of document.getAnimations()) {
            if (one instanceof CSSTransition) one.finish();
        }
    }"""

    def findings(page) -> list[str]:
        if page.evaluate("!('axe' in window)"):
            page.evaluate(script)
        found = []
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "dark"), (390, "light")):
            page.set_viewport_size({"width": width, "height": 844})
            page.emulate_media(color_scheme=scheme)
            page.evaluate(settled)
            assert (page.locator(".dark").count() > 0) == (scheme == "dark")
            result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            for one in result["violations"]:
                if one["impact"] in ("serious", "critical"):
                    places = [node["html"][:200] for node in one["nodes"]]
                    found.append(json.dumps([width, scheme, one["id"], one["help"], places]))
            if page.evaluate("document.documentElement.scrollWidth") > width:
                found.append(f"the page is wider than {width} pixels")
        return found

    return findings


@pytest.fixture(scope="session")
def web_runtime(pytestconfig) -> str:
    """The folder with onnxruntime-web, fetched once from the npm registry, for `FLOWERS_DATA`."""
    import static_site

    return str(npm_package(pytestconfig, static_site.RUNTIME, static_site.VERSION).parent)


def npm_package(pytestconfig, name: str, version: str) -> pathlib.Path:
    room = pathlib.Path(pytestconfig.cache.mkdir(name))
    archive = room / f"{name}-{version}.tgz"
    if not archive.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(f"npm is not installed, which fetches {name}")
        fetched = subprocess.run(
            [npm, "pack", f"{name}@{version}", "--silent", "--pack-destination", room],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=room,
        )
        if fetched.returncode:
            pytest.skip(f"{name} cannot be fetched: {fetched.stderr.strip()[:200]}")
    return archive
