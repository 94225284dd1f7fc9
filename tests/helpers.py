"""Tiny photos, networks and bundles that tests share."""

import contextlib
import functools
import http.server
import importlib.metadata
import io
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time
import types
from collections.abc import Callable, Iterator

import filelock
import httpx
import huggingface_hub
import numpy as np
import pytest
from hub_server import HubServer
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http
from packaging.requirements import Requirement
from PIL import Image

from flowers_model import FlowerClassifier, bundle
from flowers_model.export import export
from flowers_model.files import replacing
from flowers_model.grow import Head, write_head
from flowers_model.hub import client
from flowers_model.statistics import Statistics, measure_classes, write_statistics

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLOURS = {"blue iris": (60, 60, 220), "poppy": (220, 40, 30), "sunflower": (240, 200, 20)}


def photo(colour: tuple[int, int, int], seed: int = 0, size: tuple[int, int] = (48, 40)) -> bytes:
    """A JPEG, `size` (width, height) pixels, of one colour with a little noise."""
    noise = np.random.default_rng(seed).integers(-12, 13, (size[1], size[0], 3))
    pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return file.getvalue()


def write_photo_folder(folder: pathlib.Path, per_split: dict[str, int]) -> pathlib.Path:
    """A folder of photos, `per_split` photos a class under each split's folder ("" for none)."""
    for split, count in per_split.items():
        for number, (name, colour) in enumerate(COLOURS.items()):
            room = folder / split / name
            room.mkdir(parents=True)
            for i in range(count):
                seed = sum(split.encode()) * 1000 + number * 100 + i
                (room / f"{i:03}.jpg").write_bytes(photo(colour, seed))
    return folder


def once(name: str, make: Callable[[pathlib.Path], object]) -> pathlib.Path:
    """A folder written by `make` in the first pytest process that needs it.

    All tests share it, so a test that changes it must copy it first.
    """
    folder = pathlib.Path(os.environ["FLOWERS_TESTS_HOME"]) / name
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.exists():
            with replacing(folder) as temporary:
                temporary.mkdir()
                make(temporary)
    return folder


def write_tiny_bundle(folder: pathlib.Path) -> pathlib.Path:
    """A whole bundle with a tiny untrained network, three classes at 32 px."""
    shutil.copytree(once("tiny-bundle", _make_tiny_bundle), folder, dirs_exist_ok=True)
    return folder


def use_hub(server: HubServer, monkeypatch: pytest.MonkeyPatch, token: str | None = None) -> None:
    """Make the project use `server` as the Hub, and log in if a token is given."""
    assert constants.HF_HUB_DISABLE_XET, (
        "set HF_HUB_DISABLE_XET=1 before huggingface_hub is imported"
    )
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr(client, "PAUSES", (0, 0, 0))
    # huggingface_hub, too, pauses before it tries again.
    pauseless = types.SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    for module in (file_download, _http):
        monkeypatch.setattr(module, "time", pauseless)
    huggingface_hub.close_session()


def requirements(path: str) -> list[str]:
    """The lines of one of the project's requirements files, with those of the files it includes."""
    lines = []
    for line in (ROOT / path).read_text("utf-8").splitlines():
        if line.startswith("-r "):
            lines += requirements(os.path.join(os.path.dirname(path), line[3:]))
        elif line and not line.startswith("#"):
            lines.append(line)
    return lines


def link_distributions(room: pathlib.Path, lines: list[str]) -> None:
    """Link exactly what the requirements install, with all dependencies, into the folder `room`."""
    seen: set[str] = set()
    left = [Requirement(line) for line in lines]
    while left:
        one = left.pop()
        if one.name in seen or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(one.name)
        distribution = importlib.metadata.distribution(one.name)
        left += map(Requirement, distribution.requires or [])
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (room / name).exists():
                (room / name).symlink_to(distribution.locate_file(name))


def quicken_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure bundles on few generated pictures and resamples."""
    from train.data import outliers
    from train.evaluation import metrics

    monkeypatch.setattr(outliers, "DRAWN", 3)
    monkeypatch.setattr(metrics, "RESAMPLES", 10)


def shapes_of(build: Callable):
    """The network that `build` makes, with shapes only: initializing the weights is slow."""
    import jax

    built = []
    jax.eval_shape(lambda: built.append(build()))
    return built[0]


@contextlib.contextmanager
def page_process(
    command: list,
    environment: dict[str, str],
    room: pathlib.Path,
    cwd: pathlib.Path | None = None,
    host: str = "127.0.0.1",
) -> Iterator[str]:
    """Run a page on a free port until the end of the block; its address, once it responds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(room / "uploads")}
    log = room / "log.txt"
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment | places, stdout=output, stderr=subprocess.STDOUT
        )
    url = f"http://{host}:{port}"
    try:
        for _ in range(1200):
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url)
                break
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def launched(demo, **settings) -> Iterator[str]:
    """The address of a page (`gr.Blocks`) that is served by this process until the block ends."""
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **settings)
    try:
        yield url.rstrip("/")
    finally:
        demo.close(verbose=False)


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: pathlib.Path) -> Iterator[str]:
    """A folder on a web server; its address, which ends with a slash."""
    with http_server(functools.partial(Files, directory=folder)) as url:
        yield url


@contextlib.contextmanager
def http_server(handler: Callable) -> Iterator[str]:
    """A server whose requests are answered by a `BaseHTTPRequestHandler`; its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def _make_tiny_bundle(folder: pathlib.Path) -> None:
    import keras

    from flowers_model import network

    keras.utils.set_random_seed(7)
    net = network.build("ConvNet", len(COLOURS), 32, filters=(4, 8))
    bundle.save_network(net, folder)
    export(folder)
    photos = []
    for i, (name, colour) in enumerate(COLOURS.items()):
        (folder / "gallery").mkdir(exist_ok=True)
        (folder / "gallery" / f"{i}.jpg").write_bytes(photo(colour, i, (80, 60)))
        photos.append(bundle.GalleryPhoto(file=f"{i}.jpg", label=name))
    bundle.write_json(
        folder / "gallery/index.json", bundle.Gallery(credits="Drawn for tests.", photos=photos)
    )
    figures = bundle.Metrics(top1=0.912, top5=1.0, loss=0.3, count=4141)
    manifest = bundle.Manifest(
        class_names=list(COLOURS),
        input=bundle.Input(size=32, crop=0.9),
        calibration=bundle.Calibration(temperature=1.5, fitted_on="valid"),
        metrics={"test": figures},
        onnx_difference=0.0,
        provenance=bundle.Provenance(
            preset="tiny",
            command="python train/run.py --preset tiny",
            seed=0,
            created="2026-01-01T00:00:00+00:00",
            seconds=1.0,
            data="tests",
            credits="Drawn for tests.",
            splits={"train": 3, "test": 4141},
            backbone="ConvNet",
            weights="none",
            parameters=net.count_params(),
            backend=keras.backend.backend(),
            versions={"keras": keras.__version__},
        ),
    )
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    bundle.write_json(folder / "report/metrics.json", {"test": figures.model_dump()})
    (folder / "README.md").write_text("---\nlibrary_name: keras\n---\n# tiny\n", "utf-8")


def measure_statistics(classifier: FlowerClassifier) -> Statistics:
    """Statistics for teaching a model, computed on photos of the three classes of `COLOURS`."""

    def embedded(colours, count, start):
        those = [photo(colour, start + i) for colour in colours for i in range(count)]
        inputs = np.stack([classifier.prepare(one) for one in those])
        return classifier.engine.run(inputs, ("embedding",))[0]

    labels = np.repeat(np.arange(3), 8)
    means, counts, covariance = measure_classes(embedded(COLOURS.values(), 8, 0), labels, 3)
    return Statistics(
        *(means, counts, covariance),
        held_out=embedded(COLOURS.values(), 8, 100),
        held_out_labels=labels,
        held_out_sources=np.zeros(24, int),
        strangers=embedded([(0, 0, 0), (255, 255, 255)], 6, 200),
        stranger_kinds=np.repeat([0, 1], 6),
        taught=np.zeros((0, means.shape[1]), np.float32),
        taught_labels=np.zeros(0, int),
    )


def write_teachable_bundle(folder: pathlib.Path) -> pathlib.Path:
    """A tiny bundle that tells its three colours apart and can be taught."""
    write_tiny_bundle(folder)
    statistics = measure_statistics(FlowerClassifier.from_pretrained(folder))
    means = statistics.means
    scale = 20 / np.ptp(means, axis=0).max() ** 2
    write_head(folder, Head(2 * scale * means.T, -scale * np.square(means).sum(axis=1)))
    write_statistics(folder, statistics)
    manifest = bundle.read_manifest(folder)
    refusal = {"score": "energy", "center": -5.0, "threshold": 0.0, "keeps": 0.95}
    manifest.calibration = bundle.Calibration(
        temperature=1.0,
        refusal=bundle.Refusal(**refusal, auroc={"energy": 0.5}),
        label_sets=bundle.LabelSets(coverage=0.9, limit=0.1),
    )
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    return folder
