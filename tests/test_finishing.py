"""Each step between the last epoch and the published bundle fails once, and nothing is lost."""

import contextlib
import errno
import json
import pathlib
import resource
import shutil
import signal
import sys

import jax
import keras
import pytest
from helpers import quicken_bundles, use_hub, write_photo_folder
from hub_server import HubServer

from flowers_model import bundle, files
from flowers_model.export import write_onnx
from train import job
from train.bundles import writer
from train.devices import distribution, processes
from train.experiment import Experiment, read_settings, write_settings
from train.loop import stages, tracking, training
from train.loop.history import best, read_history
from train.reports import report

TINY = Experiment(
    image_size=16,
    backbone="ConvNet",
    weights=None,
    filters=(4,),
    epochs_head=0,
    epochs_finetune=2,
    batch_size=8,
    augment="none",
    gallery=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that has ended, with its bundle."""
    data = write_photo_folder(tmp_path_factory.mktemp("data"), {"train": 6, "valid": 2})
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_settings(folder, "quickstart", TINY.changed({"data": (f"folder:{data}",)}), "train")
    return folder


@pytest.fixture(scope="module")
def trained(main, folder):
    """The result of training; its bundle has been written."""
    kept, train = [], training.train
    with pytest.MonkeyPatch.context() as patched:
        quicken_bundles(patched)
        patched.setattr(job, "train", lambda *words: kept.append(train(*words)) or kept[0])
        assert main(["--resume", str(folder)]) == 0
    return kept[0]


@pytest.fixture
def quick(quick_bundles, trained, folder, monkeypatch):
    """Training and export return their earlier results at once."""
    made = folder / "bundle/model.onnx"
    monkeypatch.setattr(job, "train", lambda *_: trained)
    monkeypatch.setattr(writer, "write_onnx", lambda room: shutil.copy(made, room))


@pytest.fixture
def at_once(quick, folder, monkeypatch):
    """Writing the bundle does nothing, because it exists already."""
    manifest = bundle.check(folder / "bundle")
    monkeypatch.setattr(job, "write_bundle", lambda *_, **__: manifest)


def failing(error: BaseException):
    def fail(*_, **__):
        raise error

    return fail


def no_memory_on_the_device(*_, **__):
    jax.numpy.zeros(1 << 45)


FULL = OSError(errno.ENOSPC, "No space left on device")
# What fails, how, and the message.
FAILURES = {
    "saving": (bundle, "save_network", failing(FULL), "saving the network failed ([Errno 28]"),
    "check": (writer, "ONNX_TOLERANCE", -1, "the check of the ONNX network failed (model.onnx di"),
    "history": (writer, "history_figure", failing(ValueError()), "the history failed (ValueError)"),
    "measuring": (writer, "measure", failing(MemoryError()), "measuring failed (MemoryError)"),
    "calibration": (writer, "calibrate", failing(ValueError("a")), "calibration failed (a)"),
    "report": (report, "write_report", failing(FULL), "the report failed ([Errno 28]"),
    "card": (writer, "write_card", failing(FULL), "the model card failed ([Errno 28]"),
    "move": (files.os, "rename", failing(FULL), "moving the bundle to its place failed ([Errno"),
}


def check_line(capsys, status, said, safe, command):
    shown = capsys.readouterr()
    line = shown.out.strip().splitlines()[-1]
    assert status == 1
    assert line.startswith(f"stopped: {said}")
    assert f"; {safe}; resume with: python train/run.py {command}" in line
    assert "Traceback" not in shown.out + shown.err


def network_in(folder):
    return f"the trained network is safe in {folder / 'checkpoints'}"


def bundle_in(folder):
    return f"the bundle in {folder / 'bundle'} is complete"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("case", FAILURES)
def test_what_fails_is_named_and_the_network_is_safe(case, main, folder, monkeypatch, capsys):
    place, name, instead, said = FAILURES[case]
    with monkeypatch.context() as patched:
        patched.setattr(place, name, instead)
        status = main(["--resume", str(folder), "--monitor", "last"])
    check_line(capsys, status, said, network_in(folder), f"--resume {folder} --monitor last")
    # The earlier bundle is as it was, and nothing half lies beside it.
    assert bundle.check(folder / "bundle")
    assert not [*folder.glob(".writing-*")]


@contextlib.contextmanager
def no_room_for_more_than(size: int):
    """No file can grow beyond `size` bytes; writing more fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("size", [1_000, 20_000, 40_000])
def test_a_disk_that_fills_while_the_bundle_is_written(size, main, folder, capsys):
    (folder / "run.log").write_text("")
    with no_room_for_more_than(size):
        status = main(["--resume", str(folder)])
    shown = capsys.readouterr()
    line = shown.out.strip().splitlines()[-1]
    assert status == 1
    assert " failed (" in line
    assert f"; {network_in(folder)}; resume with: python train/run.py --resume {folder} " in line
    assert line.endswith(" MB first)")
    assert "Traceback" not in shown.out + shown.err
    assert bundle.check(folder / "bundle")
    assert not [*folder.glob(".writing-*")]
    assert main(["--resume", str(folder)]) == 0


def test_an_export_that_fails(main, quick, folder, monkeypatch, capsys):
    monkeypatch.setattr(writer, "write_onnx", write_onnx)

    def damage(self, path: str, **_) -> None:
        pathlib.Path(path).write_bytes(b"cut")

    with monkeypatch.context() as patched:
        patched.setattr(keras.Model, "export", damage)
        status = main(["--resume", str(folder)])
    said = "the export to ONNX failed (Error parsing message"
    check_line(capsys, status, said, network_in(folder), f"--resume {folder}")

    # With TensorFlow or a GPU, the export runs in a process of its own.
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="status 1"):
        write_onnx(folder / "bundle")


def test_photos_that_are_gone(main, quick, folder, monkeypatch, capsys):
    [spec] = read_settings(folder)[1].data
    valid = pathlib.Path(spec.removeprefix("folder:")) / "valid"
    valid.rename(valid.parent / "gone")
    status = main(["--resume", str(folder)])
    (valid.parent / "gone").rename(valid)
    said = "the gallery failed ([Errno 2] No such file or directory"
    check_line(capsys, status, said, network_in(folder), f"--resume {folder}")


@pytest.mark.usefixtures("trained")
def test_a_device_without_memory_for_the_norms(main, folder, monkeypatch, capsys):
    monkeypatch.setattr(training, "measure_norms", no_memory_on_the_device)
    status = main(["--resume", str(folder)])
    said = "re-estimating BatchNorm failed (RESOURCE_EXHAUSTED: Out of memory"
    check_line(capsys, status, said, network_in(folder), f"--resume {folder}")
    assert "Traceback" in (folder / "run.log").read_text("utf-8")


@pytest.mark.usefixtures("trained")
def test_a_damaged_checkpoint_leaves_the_others(main, folder, tmp_path, capsys):
    copy = shutil.copytree(folder, tmp_path / "run")
    epoch = best(read_history(copy), "val_accuracy")["epoch"]
    path = copy / f"checkpoints/finetune-{epoch:04}.weights.h5"
    path.write_bytes(path.read_bytes()[:1000])
    assert main(["--resume", str(copy)]) == 1
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.startswith(f"stopped: {path} cannot be read (")
    assert line.endswith("choose another epoch with --resume and another --monitor")


def test_a_hub_that_forbids_to_publish(main, at_once, folder, monkeypatch, capsys, repo_id):
    with HubServer() as server:
        server.add_token("hf_writer", user="ada", write=True)
        server.put(repo_id, {"README.md": b""})  # public, which --private does not change
        use_hub(server, monkeypatch, token="hf_writer")
        arguments = ["--resume", str(folder), "--push-to", repo_id, "--private"]
        assert main(arguments) == 2  # a user's mistake
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.startswith("stopped: publishing failed (cannot publish")
    again = " ".join(["--resume", str(folder), "--push-to", repo_id, "--private"])
    assert line.endswith(f"; {bundle_in(folder)}; resume with: python train/run.py {again}")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["experiment"].update(ema_decay=0.99), "has the setting 'ema_decay', which"),
        (lambda s: s["experiment"].update(seed="x"), "has a value of the wrong type"),
        (lambda s: s.pop("preset"), "is damaged: restore it from a copy"),
        (None, "is damaged: restore it from a copy"),
    ],
)
def test_settings_of_another_time_or_hand(main, tmp_path, capsys, change, said):
    write_settings(tmp_path, "quickstart", TINY, "train")
    path = tmp_path / "experiment.json"
    saved = json.loads(path.read_text("utf-8"))
    if change:
        change(saved)
    path.write_text(json.dumps(saved)[: None if change else 50], "utf-8")
    assert main(["--resume", str(tmp_path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path} {said}")


def test_a_disk_that_is_nearly_full_is_told_before_training(
    main, folder, tmp_path, monkeypatch, capsys
):
    write_settings(tmp_path, "quickstart", read_settings(folder)[1], "train")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    monkeypatch.setattr(stages, "train", failing(AssertionError("trained")))
    assert main(["--resume", str(tmp_path)]) == 2
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.startswith(f"error: the disk of {tmp_path} has 0 MB left, but the run needs about")


class Away(tracking.Mlflow):
    """A tracker that is never reachable."""

    def __init__(self, uri):
        pass

    def begin(self, run, earlier):
        raise OSError("refused")


def test_a_tracker_that_is_away_to_the_end(main, at_once, folder, monkeypatch, capsys):
    monkeypatch.setitem(tracking.TRACKERS, "mlflow", Away)
    status = main(["--resume", str(folder), "--track", "mlflow"])
    check_line(capsys, status, "mlflow has not tracked", bundle_in(folder), f"--resume {folder}")


def test_ctrl_c(main, quick, folder, monkeypatch, capsys):
    monkeypatch.setattr(writer, "calibrate", failing(KeyboardInterrupt()))
    assert main(["--resume", str(folder)]) == 130
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line == f"interrupted; resume with: python train/run.py --resume {folder}"


def test_sigterm_between_the_last_epoch_and_the_bundle(main, quick, folder, monkeypatch, capsys):
    monkeypatch.setattr(writer, "calibrate", lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, processes.stop)
    try:
        assert main(["--resume", str(folder)]) == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
    line = capsys.readouterr().out.strip().splitlines()[-1]
    again = f"python train/run.py --resume {folder}"
    assert line == f"stopped by SIGTERM, all is saved; resume with: {again}"
    assert bundle.check(folder / "bundle")
    assert not [*folder.glob(".writing-*")]


def test_a_device_without_memory_for_a_step(main, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(keras.Model, "fit", no_memory_on_the_device)
    settings = read_settings(folder)[1]
    write_settings(tmp_path / "run", "quickstart", settings, "train")
    assert main(["--resume", str(tmp_path / "run")]) == 1
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert "out of memory for steps of 8 photos at 16 px (RESOURCE_EXHAUSTED" in line
    assert "try --batch-size 4" in line


def test_a_full_disk_amid_training(main, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(distribution, "save_weights", failing(FULL))
    write_settings(tmp_path / "run", "quickstart", read_settings(folder)[1], "train")
    assert main(["--resume", str(tmp_path / "run")]) == 1
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert line.startswith("stopped: [Errno 28] No space left on device; resume with: python train")


def test_a_hub_that_forbids_to_publish_is_told_before_training(
    main, folder, monkeypatch, capsys, repo_id
):
    monkeypatch.setattr(job, "train", failing(AssertionError("trained")))
    with HubServer() as server:
        server.add_token("hf_reader", user="ada")
        server.add_token("hf_bob", user="bob", write=True)
        for token, said in (("hf_reader", "the token may only read"), ("hf_bob", "repos of bob")):
            use_hub(server, monkeypatch, token=token)
            assert main(["--resume", str(folder), "--push-to", repo_id]) == 2
            line = capsys.readouterr().out.strip().splitlines()[-1]
            assert line.startswith(f"error: cannot publish to {repo_id}: ")
            assert said in line
