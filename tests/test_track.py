"""Runs tracked by MLflow: on a server, in a local database, and with an unreachable server."""

import contextlib
import json
import logging
import os
import pathlib
import socket
import subprocess
import sys
import time

import httpx
import pytest
from helpers import write_tiny_bundle

from flowers_model import bundle
from flowers_model.errors import UserError
from train import job, sweep
from train.experiment import Experiment
from train.loop import tracking
from train.loop.finishing import UnfinishedError
from train.loop.history import read_history

AWAY = "http://127.0.0.1:9"  # nobody listens at the discard port


@pytest.fixture(scope="module")
def mlflow():
    return pytest.importorskip("mlflow", reason="pip install -r requirements-track.txt")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def server(mlflow, tmp_path_factory):
    """The address of an MLflow server."""
    room = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "server", "--port", port, "--workers", "1"]
    # Its jobs, which nothing here asks for, would be eight more processes.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(room / "log.txt", "w") as output:
        process = subprocess.Popen(command, cwd=room, env=environment, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            assert process.poll() is None, (room / "log.txt").read_text()
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{url}/health")
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def experiment(data) -> Experiment:
    return Experiment(
        data=data,
        image_size=16,
        backbone="ConvNet",
        weights=None,
        filters=(4, 8),
        epochs_head=1,
        epochs_finetune=2,
        batch_size=4,
        augment="light",
    )


def holding(word: bytes, folder: pathlib.Path) -> list[pathlib.Path]:
    """The files below a folder with a word in them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if word in path.read_bytes()]


class PowerCutError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.usefixtures("quick_bundles")
def test_a_resumed_run_goes_on_as_the_same_on_the_server(
    mlflow, server, data, tmp_path, monkeypatch
):
    def cut(self, history):
        epoch(self, history)
        if len(history) == 2:
            raise PowerCutError

    words = {"preset": "quickstart", "command": "python train/run.py"}
    folder = tmp_path / "run"
    epoch = tracking.Follower.epoch
    with monkeypatch.context() as patched:
        patched.setattr(tracking.Follower, "epoch", cut)
        with pytest.raises(PowerCutError):
            job.run(experiment(data), folder, **words, track=f"mlflow:{server}")
    client = mlflow.MlflowClient(server)
    name = json.loads((folder / tracking.TRACKING).read_text("utf-8"))["id"]
    assert client.get_run(name).info.status == "FAILED"
    assert len(client.get_metric_history(name, "val_loss")) == 2

    manifest = job.run(experiment(data), folder, **words)
    place = client.get_experiment_by_name("quickstart").experiment_id
    [found] = client.search_runs([place])
    assert (found.info.run_id, found.info.status) == (name, "FINISHED")
    assert found.info.run_name == "run"
    assert found.data.params["filters"] == "4,8"
    assert found.data.params["batch_size"] == "4"
    assert found.data.metrics["valid_top1"] == manifest.metrics["valid"].top1
    history = read_history(folder)
    for figure in ("loss", "val_accuracy", "learning_rate"):
        told = {m.step: m.value for m in client.get_metric_history(name, figure)}
        assert told == {i: row[figure] for i, row in enumerate(history, 1)}
    copy = tmp_path / "copy"
    copy.mkdir()
    client.download_artifacts(name, "bundle", str(copy))
    assert bundle.check(copy / "bundle") == manifest
    assert (copy / "bundle/report/history.png").is_file()


@pytest.mark.slow
def test_the_runs_of_a_sweep_are_followed_and_keep_no_password(
    mlflow, server, data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.replace("//", "//ada:opensesame@"))
    flags = ["--preset=folder_transfer", f"--data={data}", "--track=mlflow"]
    flags += ["--backbone=ConvNet", "--weights=none", "--image-size=16", "--vary=filters=4"]
    flags += ["--epochs-head=1", "--epochs-finetune=0", f"--output={tmp_path}"]
    assert sweep.main(flags) == 0, capsys.readouterr().err
    client = mlflow.MlflowClient(server)
    place = client.get_experiment_by_name("folder_transfer").experiment_id
    found = client.search_runs([place])
    assert [(run.data.params["filters"], run.info.status) for run in found] == [("4", "FINISHED")]
    assert not holding(b"opensesame", tmp_path)


def about(data) -> tracking.Run:
    return tracking.Run("run", "quickstart", "python train/run.py", experiment(data))


@pytest.mark.slow
def test_without_a_server_it_is_a_database_here(mlflow, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "run"
    with tracking.following(folder, about(data), "mlflow") as follower:
        follower.end([{"stage": "head", "epoch": 0, "loss": 1.5}], write_tiny_bundle(folder / "b"))
    assert (tmp_path / "mlflow.db").is_file()
    [found] = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert found.data.metrics["loss"] == 1.5
    assert list((tmp_path / "mlruns").rglob("bundle/model.onnx"))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_bundles")
def test_a_server_that_is_away_costs_a_warning_and_tells_no_password(
    mlflow, data, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY.replace("//", "//ada:opensesame@"))
    folder = tmp_path / "run"
    with caplog.at_level(logging.INFO), pytest.raises(UnfinishedError, match="not tracked"):
        job.run(experiment(data), folder, preset="quickstart", command="", track="mlflow")
    assert bundle.check(folder / "bundle")
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in warnings] == ["flowers"] * 2  # as it begins, as it ends
    for record in warnings:
        assert "mlflow does not track this run" in record.message
        assert "refused" in record.message
        assert "\n" not in record.message
    assert "opensesame" not in caplog.text
    assert not holding(b"opensesame", folder)


class Diary:
    """A tracker that is unreachable for a while."""

    def __init__(self, uri):
        self.lines, self.away = [], False

    def begin(self, run, earlier):
        return earlier or "new"

    def epoch(self, history):
        if self.away:
            raise OSError("away: http://ada:opensesame@diary?key=opensesame")
        self.lines += history[len(self.lines) :]

    def end(self, folder):
        self.lines.append(folder)


def test_another_tracker_is_told_in_the_end_what_it_missed(data, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(tracking.TRACKERS, "diary", Diary)
    rows = [{"stage": "head", "epoch": epoch, "loss": 1.0} for epoch in range(4)]
    with tracking.following(tmp_path, about(data), "diary:of/ada") as follower:
        diary = follower.tracker
        follower.epoch(rows[:1])
        diary.away = True
        follower.epoch(rows[:2])
        diary.away = False
        follower.epoch(rows[:3])
        assert diary.lines == rows[:1]
        follower.end(rows, tmp_path)
    assert diary.lines == [*rows, tmp_path]
    [warning] = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warning == "warning: diary:of/ada does not track this run: away: http://diary"

    with tracking.following(tmp_path, about(data), None) as follower:
        assert (follower.spec, follower.id) == ("diary:of/ada", "new")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("http://ada:opensesame@host", "--track does not know 'http'; give mlflow"),
        ("mlflow:http://ada:opensesame@host", "no passwords"),
        ("mlflow:https://host?token=opensesame", "no passwords"),
    ],
)
def test_what_cannot_follow_gets_one_line_that_tells_no_password(spec, says):
    with pytest.raises(UserError, match=says) as caught:
        tracking.tracker_spec(spec)
    assert "opensesame" not in str(caught.value)


def test_a_place_that_mlflow_does_not_know_gets_one_line(mlflow, data, tmp_path):
    with pytest.raises(UserError, match="cannot use htp://host: give http://HOST:PORT"):
        tracking.Follower(tmp_path, about(data), "mlflow:htp://host")
