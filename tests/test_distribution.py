"""Training on many devices gives the same losses and weights as on one, and exact metrics."""

import itertools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from helpers import shapes_of, write_photo_folder

from flowers_model import bundle
from flowers_model import network as networks
from flowers_model.errors import UserError
from train.devices import distribution, processes
from train.experiment import Experiment
from train.loop import training
from train.loop.journal import Journal

HERE = pathlib.Path(__file__).resolve().parent
DATA, WEIGHTS = (os.environ.get(f"FLOWERS_TEST_{name}") for name in ("DATA", "WEIGHTS"))
DEVICES = 8
TINY = {
    "image_size": 24,
    "crop": 1.0,
    "backbone": "ConvNet",
    "weights": None,
    "filters": [4, 8],
    "dropout": 0.3,
    "epochs_head": 1,
    "epochs_finetune": 2,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "weight_decay": 1e-2,  # explicit, because the command's preset has another default
    "augment": "light,cutmix",
}
REAL = {
    "image_size": 64,
    "backbone": "MobileNet",
    "alpha": 0.75,
    "unfreeze": 20,  # halves the compile time
    "epochs_head": 0,
    "epochs_finetune": 1,
    "batch_size": 16,
    "measure_norms": False,
}
KINDS = ["none", "auto", "model"]
# The order of summation over a batch differs, and Adam divides by the roots of tiny squares.
TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """27 training photos and 15 validation photos: neither is a multiple of 8."""
    return write_photo_folder(tmp_path_factory.mktemp("data"), {"train": 9, "valid": 5, "test": 3})


def train(folder, devices: int, settings: list[dict], backend: str) -> list[tuple[list, dict]]:
    """Train with each of the settings, all in one process; their final weights and histories."""
    subprocess.run(
        [sys.executable, HERE / "training_process.py", folder, str(devices), json.dumps(settings)],
        env=os.environ | {"KERAS_BACKEND": backend},
        check=True,
    )
    return [result(folder / str(number)) for number in range(len(settings))]


def result(folder: pathlib.Path) -> tuple[list, dict]:
    with np.load(folder / "weights.npz") as file:
        weights = list(file.values())
    return weights, json.loads((folder / "history.json").read_text("utf-8"))


def assert_same(
    one: tuple[list, dict], other: tuple[list, dict], tolerance: float = TOLERANCE
) -> None:
    """The losses, and each variable by its norm."""
    for a, b in zip(one[0], other[0], strict=True):
        assert np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(a), 1)
    for a, b in zip(one[1], other[1], strict=True):
        for name in ("loss", "val_loss", "learning_rate"):
            assert a[name] == pytest.approx(b[name], abs=tolerance), name


@pytest.fixture(scope="module")
def on_jax(data, real_photos, tmp_path_factory):
    """Per kind of distribution: the run's folder, its weights and its history.

    `auto` means `data` here; its batch size of 13 is rounded down to 8 on 8 devices. `real none`
    and `real model` train on the real photos, if there are any.
    """
    folder = tmp_path_factory.mktemp("jax")
    runs = {kind: TINY | {"data": f"folder:{data}", "distribution": kind} for kind in KINDS}
    runs["auto"]["batch_size"] = 13
    if real_photos:
        for kind in ("none", "model"):
            runs[f"real {kind}"] = REAL | real_photos | {"distribution": kind}
    results = train(folder, DEVICES, [*runs.values()], "jax")
    return {name: (folder / str(i), results[i]) for i, name in enumerate(runs)}


@pytest.fixture(scope="module")
def real_photos(tmp_path_factory) -> dict[str, str]:
    """Settings: 60 training and 42 validation photos of Oxford 102, and ImageNet weights."""
    if not (DATA and WEIGHTS):
        return {}
    folder = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 10), ("valid", 7)):
        for name in sorted((pathlib.Path(DATA) / "oxford_flowers102" / split).iterdir())[:6]:
            (folder / split / name.name).mkdir(parents=True)
            for path in sorted(name.iterdir())[:count]:
                (folder / split / name.name / path.name).symlink_to(path)
    weights = pathlib.Path(WEIGHTS) / "mobilenet_0.75_224_imagenet_no_top.weights.h5"
    return {"data": f"folder:{folder}", "weights": str(weights)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["auto", "model"])
def test_eight_devices_train_as_one(on_jax, kind):
    assert_same(on_jax["none"][1], on_jax[kind][1])


def facts(on_jax, name: str) -> list:
    """The value of a fact for each of `KINDS`."""
    return [json.loads((on_jax[kind][0] / "facts.json").read_text())[name] for kind in KINDS]


@pytest.mark.slow
def test_batches_and_wide_layers_are_divided_as_asked(on_jax):
    assert facts(on_jax, "rows") == [8, 1, 2]  # the last is 4 groups of 2 devices
    assert facts(on_jax, "divided") == [
        {},
        {},
        {
            "conv_1/kernel": [3, 3, 3, 2],
            "conv_2/kernel": [3, 3, 4, 4],
            "logits/kernel": [4, 3],
        },
    ]


@pytest.mark.slow
def test_inference_is_exact_on_a_number_that_divides_by_nothing(on_jax):
    assert max(facts(on_jax, "difference")) < 1e-5


@pytest.mark.slow
def test_a_batch_is_rounded_down_to_the_devices(on_jax):
    assert facts(on_jax, "batch") == [13, 8, 12]  # the last is 4 groups of 2 devices


@pytest.mark.slow
def test_what_devices_cannot_divide_is_refused(on_jax):
    one, each, divided = facts(on_jax, "refused")
    assert one == each == ""
    assert divided.startswith("conv_2/kernel has 5 channels, which 2 devices cannot divide")


def test_groups_of_devices_have_to_come_out_even():
    with (
        pytest.raises(UserError, match="--model-devices 2 does not divide the 1 devices"),
        distribution.scope("model", 2, "MobileNetV2"),
    ):
        pass


@pytest.mark.slow
def test_eight_devices_train_a_real_backbone_on_real_photos_as_one(on_jax):
    """4 groups of 2 devices: the groups divide the photos, and the devices divide the layers."""
    if "real model" not in on_jax:
        pytest.skip("FLOWERS_TEST_DATA and FLOWERS_TEST_WEIGHTS do not say where real files are")
    folder, trained = on_jax["real model"]
    assert_same(on_jax["real none"][1], trained)
    found = json.loads((folder / "facts.json").read_text())
    assert found["rows"] == 2
    assert found["divided"]["conv_pw_13/kernel"] == [1, 1, 768, 384]
    assert found["divided"]["logits/kernel"] == [384, 3]
    assert len(found["divided"]) == 14


@pytest.mark.slow
def test_two_tensorflow_devices_train_as_one(data, tmp_path):
    settings = TINY | {"data": f"folder:{data}", "dropout": 0.0, "filters": [4]}
    kinds = [settings | {"distribution": kind} for kind in ("none", "auto")]
    assert_same(*train(tmp_path, 2, kinds, "tensorflow"))


# Several processes

# Long enough to be stopped; each of 1, 2 or 3 processes has an even number of a batch's rows.
LONG = {"filters": [4], "epochs_finetune": 20, "learning_rate": 1e-3, "batch_size": 12}


def command(data, settings: dict) -> list[str]:
    flags = ["--data", f"folder:{data}", "--gallery", "1"]
    for name, value in (TINY | settings).items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value or "none")
        flags += ["--" + name.replace("_", "-"), text]
    return flags


def start(arguments: list, count: int, devices: int = 1) -> list[subprocess.Popen]:
    """`train/run.py` in `count` processes of so many devices each, on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"KERAS_BACKEND": "jax", "XLA_FLAGS": flags}
    return [
        subprocess.Popen(
            [
                *(sys.executable, HERE.parent / "train/run.py", *arguments),
                *("--coordinator", coordinator, "--processes", str(count)),
                *("--process-id", str(number)),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(count)
    ]


def finish(group: list[subprocess.Popen], seconds: float = 120) -> tuple[list[int], list[str]]:
    try:
        outputs = [process.communicate(timeout=seconds)[0] for process in group]
    finally:
        for process in group:
            process.kill()
    return [process.returncode for process in group], outputs


def wait_for_rows(folder: pathlib.Path, count: int, group: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + 120
    path = folder / "history.json"
    while not (path.exists() and len(json.loads(path.read_text("utf-8"))) >= count):
        if time.monotonic() > deadline or any(p.poll() is not None for p in group):
            pytest.fail(f"no {count} epochs: {finish(group)}")
        time.sleep(0.02)


def assert_bundle_is_of(one: tuple[list, dict], folder: pathlib.Path) -> None:
    """The bundle is complete, and has the weights and the history of a single-process run."""
    weights = keras.saving.load_model(folder / "bundle").get_weights()
    history = json.loads((folder / "history.json").read_text("utf-8"))
    assert_same(one, (weights, history))
    splits = bundle.check(folder / "bundle").provenance.splits
    assert splits == {"train": 27, "valid": 15, "test": 9}


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """The weights and the history of a run of one process."""
    return train_here(data, tmp_path_factory.mktemp("alone"), **LONG)


@pytest.mark.slow
def test_a_group_that_loses_one_stops_and_another_group_goes_on_to_the_same_end(
    data, alone, tmp_path
):
    """On 6 devices in 3 processes, then on 2 in 2."""
    group = start([*command(data, LONG), "--output", str(tmp_path)], 3, devices=2)
    wait_for_rows(tmp_path, 3, group)
    group[1].kill()
    started = time.monotonic()
    status, outputs = finish(group)
    assert time.monotonic() - started < 60
    for number in (0, 2):
        assert status[number] not in (0, None)
        assert "another process has died" in outputs[number], outputs[number]
        assert f"--resume {tmp_path}" in outputs[number]

    status, outputs = finish(start(["--resume", str(tmp_path)], 2))
    assert status == [0, 0], outputs
    assert "test top-1" in outputs[0]
    assert "top-1" not in outputs[1]
    assert_bundle_is_of(alone, tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_bundles")
def test_a_group_that_is_told_to_stop_is_resumed_by_one_process(main, data, alone, tmp_path):
    group = start([*command(data, LONG), "--output", str(tmp_path)], 2)
    wait_for_rows(tmp_path, 1, group)
    group[1].send_signal(signal.SIGTERM)
    status, outputs = finish(group)
    assert status == [143, 143], outputs
    assert not (tmp_path / "bundle").exists()

    assert main(["--resume", str(tmp_path)]) == 0
    assert_bundle_is_of(alone, tmp_path)


# SIGTERM


def train_here(data, folder, **settings) -> tuple[list, dict]:
    folder.mkdir(exist_ok=True)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in (TINY | settings).items()}
    experiment = Experiment(data=(f"folder:{data}",), **values)
    weights = training.train(experiment, folder).network.get_weights()
    return weights, json.loads((folder / "history.json").read_text("utf-8"))


@pytest.mark.slow
def test_sigterm_keeps_the_steps_of_an_epoch_and_resume_goes_on(data, tmp_path, monkeypatch):
    settings = {"batch_size": 1, "cache_features": False}
    whole = train_here(data, tmp_path / "whole", **settings)
    count = itertools.count()
    batch_end = Journal.on_train_batch_end

    def terminate(self, batch, logs=None):
        if next(count) == 27 + 10:  # within the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        batch_end(self, batch, logs)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "on_train_batch_end", terminate)
        with pytest.raises(processes.Preempted):
            train_here(data, tmp_path / "cut", **settings)
    point = json.loads((tmp_path / "cut/interrupted.json").read_text("utf-8"))
    assert (point["stage"], point["epoch"]) == ("finetune", 0)
    assert 10 <= point["step"] < 27
    cut = train_here(data, tmp_path / "cut", **settings)
    assert_same(whole, cut, 1e-4)
    assert [row["accuracy"] for row in whole[1]] == [row["accuracy"] for row in cut[1]]


@pytest.mark.slow
def test_ctrl_c_counts_though_it_comes_while_an_object_is_deleted(data, tmp_path, monkeypatch):
    begin, count, reported = Journal.on_train_batch_begin, itertools.count(), []

    class Deleted:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)
            next(count)  # not reached: Python ignores exceptions raised in `__del__`

    def delete(self, batch, logs=None):
        if next(count) == 5:
            Deleted()
        begin(self, batch, logs)

    monkeypatch.setattr(Journal, "on_train_batch_begin", delete)
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    # Run in the background, the tests may ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_here(data, tmp_path / "run", cache_features=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert next(count) == 6
    assert not reported  # no traceback of an interrupt that still stops the training


# Messages, and what is divided among devices


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (("127.0.0.1:1", None, None), "needs --processes N and --process-id I"),
        ((None, 2, 0), "need --coordinator"),
        (("127.0.0.1:1", 2, 2), "--process-id must lie in 0..1, not 2"),
        (("nowhere", 2, 0), "--coordinator must be HOST:PORT or auto"),
    ],
)
def test_a_group_that_cannot_be_is_refused(group, words):
    with pytest.raises(UserError, match=re.escape(words)):
        processes.join(*group)


@pytest.mark.parametrize(
    "backbone",
    [
        *("ConvNet", "MobileNet"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ConvNeXtTiny", "MobileNetV3Small", "EfficientNetB0")
        ),
    ],
)
def test_every_pattern_of_a_family_names_wide_layers(backbone):
    built = shapes_of(lambda: networks.build(backbone, 6, 64, head_units=(16,)))
    mesh = keras.distribution.DeviceMesh((1, 1), ("batch", "model"))
    layouts = distribution.layout_map(mesh, backbone)
    paths = {variable.path: variable for variable in built.variables}
    for pattern in layouts:
        found = [path for path in paths if re.fullmatch(pattern, path)]
        assert found, pattern
        for path in found:
            assert len(layouts[path].axes) == len(paths[path].shape)
    kernels = [v for v in built.trainable_variables if len(v.shape) > 1]
    widest = max(kernels, key=lambda v: v.shape[-1])
    assert layouts[widest.path] is not None
