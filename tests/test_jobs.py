"""A training on the Hub's machines, against the tests' own Hub."""

import shlex

import pytest
from helpers import use_hub
from hub_server import HubServer

from train import run

TRAINING = ["--preset", "quickstart", "--epochs-head", "2", "--push-to", "ada/flowers"]


@pytest.fixture
def server(monkeypatch):
    with HubServer() as server:
        server.add_token("hf_ada", user="ada", write=True)
        use_hub(server, monkeypatch, "hf_ada")
        yield server


@pytest.mark.slow
def test_a_training_becomes_a_job_whose_log_is_followed(server, capsys):
    arguments = [*TRAINING, "--on-hub", "t4-small", "--hours=2", "--optimizer", "adamw"]
    assert run.main(arguments) == 0
    [job] = server.jobs
    asked = job["asked"]
    said = capsys.readouterr().out
    assert "$0.40 an hour, at most $0.80 for 2 hours" in said
    assert said.endswith("epoch 1\nepoch 2\n")
    assert asked["flavor"] == "t4-small"
    assert asked["timeoutSeconds"] == 7200
    assert asked["secrets"] == {"HF_TOKEN": "hf_ada"}
    assert "hf_ada" not in said + shlex.join(asked["command"])
    training = shlex.join(["python", "train/run.py", *TRAINING, "--optimizer", "adamw"])
    assert asked["command"][:2] == ["bash", "-c"]
    assert asked["command"][2].endswith(f"-r requirements-gpu.txt && exec {training}")
    [volume] = asked["volumes"]
    repo = server.repo("ada/flowers-training", "dataset")
    assert repo.private
    assert volume["source"] == repo.id
    assert volume["revision"] == repo.head().sha
    files = repo.files()
    assert {"train/run.py", "train/loop/__init__.py", "requirements-gpu.txt"} < set(files)
    assert not [name for name in files if name.endswith((".h5", ".onnx", ".jpg"))]


def test_a_dry_run_says_what_would_be_asked_and_the_price(server, capsys):
    assert run.main([*TRAINING, "--on-hub", "cpu-basic", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "cpu-basic (2 vCPU, 16 GB), $0.01 an hour, at most $0.12 for 12 hours" in said
    assert "ada/flowers-training" in said
    assert "hf_ada" not in said
    assert server.jobs == []
    assert server.repos == {}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--on-hub", "gpu"], "the Hub has no machine 'gpu' for jobs: choose one of cpu-basic, t4"),
        (["--on-hub", "cpu-basic", "--epochs-head", "-1"], "--epochs-head must lie in 0..100000"),
        (
            ["--on-hub", "cpu-basic", "--output", "x"],
            "--output needs a folder of this machine: leave it out",
        ),
        (["--on-hub", "cpu-basic", "--data", "folder:/tmp"], "'/tmp' exists only on this machine"),
        (["--on-hub", "cpu-basic", "--hours", "0"], "--hours must be above 0"),
        (["--dry-run"], "--dry-run needs --on-hub FLAVOR"),
    ],
)
def test_what_a_job_cannot_be_is_said_beforehand(server, capsys, more, message):
    assert run.main([*TRAINING, *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert server.jobs == []


def test_a_job_publishes_or_is_not_begun(server, capsys):
    assert run.main(["--on-hub", "cpu-basic"]) == 2
    assert "--on-hub needs --push-to USER/MODEL" in capsys.readouterr().err


def test_without_credits_and_where_a_job_fails_one_line_says_so(server, capsys, monkeypatch):
    server.jobs_end = "ERROR"
    assert run.main([*TRAINING, "--on-hub", "cpu-basic"]) == 2
    assert "the job ended as ERROR" in capsys.readouterr().err
    server.add_token("hf_poor", user="ada", write=True, credits=False)
    monkeypatch.setenv("HF_TOKEN", "hf_poor")
    assert run.main([*TRAINING, "--on-hub", "cpu-basic"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: cannot start the job: ")
    assert "Pre-paid credit balance is insufficient" in error
