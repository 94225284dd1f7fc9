"""A sweep runs a grid of settings, repeats no run, and reports the results."""

import contextlib
import csv
import subprocess
import types

import pytest
from helpers import write_photo_folder

from train import sweep
from train.experiment import Experiment
from train.plans import grid
from train.plans.grid import runs
from train.reports.leaderboard import _telling

FLAGS = (
    "--backbone ConvNet --weights none --image-size 16 --filters 4 --epochs-head 0 "
    "--epochs-finetune 1 --batch-size 4 --augment light"
)


@pytest.fixture
def runs_here(main, quick_bundles, monkeypatch):
    """Runs train in this process; tests/test_track.py has one in a process of its own."""

    def run(command: list[str], stdout, stderr) -> subprocess.CompletedProcess:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            return subprocess.CompletedProcess(command, main(command[2:]))

    monkeypatch.setattr(grid, "subprocess", types.SimpleNamespace(run=run))


@pytest.mark.slow
@pytest.mark.usefixtures("runs_here")
def test_a_grid_is_run_once_and_summed_up(tmp_path, capsys):
    data = write_photo_folder(tmp_path / "data", {"train": 4, "valid": 2})
    command = [f"--data=folder:{data}", "--vary", "augment=light;light,cutmix", *FLAGS.split()]
    command += ["--output", str(tmp_path / "sweep")]
    assert sweep.main(command) == 0, capsys.readouterr().err
    with open(tmp_path / "sweep/results.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["augment"] for row in rows] == ["light", "light,cutmix"]
    for row in rows:
        assert int(row["parameters"]) > 0
        assert float(row["mb"]) > 0
        assert float(row["latency_ms"]) > 0
        assert 0 <= float(row["valid_top1"]) <= 1
        assert "--augment=" + row["augment"] in row["command"]
    board = (tmp_path / "sweep/leaderboard.md").read_text("utf-8")
    assert board.index("| augment |") < board.index("| light")
    for name in ("accuracy", "parallel", "accuracy_by_mb", "accuracy_by_latency_ms"):
        assert (tmp_path / f"sweep/{name}.png").stat().st_size > 1000
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.onnx")}
    assert sweep.main(command) == 0
    assert "2 of them done" in capsys.readouterr().out
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.onnx")}


def test_all_combinations_with_all_seeds(tmp_path):
    grid = {"learning-rate": ["1e-3", "1e-4"], "dropout": ["0", "0.5"]}
    found = runs(tmp_path, "quickstart", ["--seed", "7"], grid, seeds=2)
    settings = [
        (r.experiment.learning_rate, r.experiment.dropout, r.experiment.seed) for r in found
    ]
    assert settings == [(a, b, c) for a in (1e-3, 1e-4) for b in (0, 0.5) for c in (7, 8)]
    assert len({run.folder for run in found}) == 8
    assert isinstance(found[0].experiment, Experiment)


def test_a_presets_size_to_serve_at_goes_with_its_size_to_train_at(tmp_path):
    def sizes(*flags):
        (found,) = runs(tmp_path, "oxford_flowers102", flags, {"seed": ["0"]}, seeds=1)
        return found.experiment.image_size, found.experiment.serve_size

    assert sizes() == (224, 256)
    assert sizes("--image-size=96") == (96, None)
    assert sizes("--image-size=96", "--serve-size=112") == (96, 112)
    assert sizes("--serve-size=224") == (224, 224)


def test_settings_that_vary_together(tmp_path):
    grid = {
        "backbone+alpha+weights": ["MobileNet+0.75+a/b.h5", "MobileNetV2+1.0+none"],
        "head-units": ["none", "64"],
    }
    found = [r.experiment for r in runs(tmp_path, "quickstart", [], grid, seeds=1)]
    assert [(e.backbone, e.alpha, e.weights, e.head_units) for e in found] == [
        ("MobileNet", 0.75, "a/b.h5", ()),
        ("MobileNet", 0.75, "a/b.h5", (64,)),
        ("MobileNetV2", 1.0, None, ()),
        ("MobileNetV2", 1.0, None, (64,)),
    ]


def test_pictures_name_what_tells_combinations_apart():
    rows = [
        {"backbone": backbone, "weights": weights, "dropout": dropout, "seed": seed}
        for backbone, weights in (("A", "a.h5"), ("B", "b.h5"))
        for dropout in ("0", "0.5")
        for seed in (0, 1)
    ]
    assert _telling(rows, ["backbone", "weights", "dropout"]) == ["backbone", "dropout"]
    assert _telling(rows[:1], ["dropout"]) == ["dropout"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--vary", "augment"], "must be NAME=A,B"),
        (["--vary", "colour=1,2"], "there is no --colour"),
        (["--vary", "dropout=0.1", "--epoch-head", "3"], "did you mean --epochs-head"),
        (["--vary", "dropout=0.1,7"], "--dropout must lie in"),
        (["--vary", "backbone+weights=A"], "'A' is not 2 values joined by +"),
        (["--vary", "dropout=0.1", "--preset", "tulips"], "no preset is called"),
        ([], "--vary"),
    ],
)
def test_bad_grids_get_one_line(tmp_path, capsys, arguments, says):
    assert sweep.main([*arguments, "--output", str(tmp_path / "sweep")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "sweep").exists()
