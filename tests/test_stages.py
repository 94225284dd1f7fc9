"""Training: which weights are trained, when it stops, and that an interruption loses nothing."""

import csv
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from helpers import COLOURS, write_photo_folder
from PIL import Image

from flowers_model.errors import UserError
from train import job
from train.experiment import MONITORS, Experiment
from train.loop import journal, task, training
from train.loop.history import best, plateau_rate, read_history
from train.loop.journal import Journal
from train.loop.task import Stage, TrainingError, finished

# The lengths and rates of most schedules become constants of the program that XLA compiles; of
# "constant" and "plateau" they do not, so runs with these share one program.
TINY = Experiment(
    image_size=24,
    crop=1.0,
    backbone="ConvNet",
    weights=None,
    filters=(4,),
    dropout=0.3,
    epochs_head=2,
    epochs_finetune=3,
    batch_size=4,
    learning_rate=1e-2,
    learning_rate_finetune=1e-3,
)


pytestmark = pytest.mark.usefixtures("float32_again")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder, the network and the history of TINY."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *train(data, folder)


@pytest.fixture(scope="module")
def head(data, tmp_path_factory):
    """The folder and the network of TINY's first stage."""
    folder = tmp_path_factory.mktemp("head")
    return folder, train(data, folder, epochs_finetune=0)[0]


def train(data, folder, **settings):
    """Train; the network and the history."""
    experiment = dataclasses.replace(TINY, data=data, **settings)
    folder.mkdir(exist_ok=True)
    return training.train(experiment, folder).network, read_history(folder)


@pytest.mark.slow
def test_history_spans_the_stages_with_the_learning_rate(whole):
    *_, history = whole
    assert [row["stage"] for row in history] == ["head"] * 2 + ["finetune"] * 3
    assert [row["epoch"] for row in history] == [0, 1, 0, 1, 2]
    for row in history:
        assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= row.keys()
    assert max(r["learning_rate"] for r in history[2:]) <= 1e-3 < history[0]["learning_rate"]


def test_the_head_stage_leaves_the_backbone_alone(head, data):
    from flowers_model import network as networks

    _, trained = head
    experiment = dataclasses.replace(TINY, data=data)
    fresh = training.make_task(experiment, training.open_data(experiment), None).network
    for a, b in zip(
        networks.backbone_of(fresh).get_weights(),
        networks.backbone_of(trained).get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    before, after = (n.get_layer("logits").get_weights()[0] for n in (fresh, trained))
    assert not np.allclose(before, after)


@pytest.mark.slow
def test_cached_features_train_the_same_head(data, tmp_path):
    settings = {"epochs_finetune": 0, "dropout": 0.0}
    cached, one = train(data, tmp_path / "cached", **settings)
    plain, two = train(data, tmp_path / "plain", cache_features=False, **settings)
    for a, b in zip(cached.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert [r["val_loss"] for r in one] == pytest.approx([r["val_loss"] for r in two], abs=1e-3)


@pytest.mark.slow
def test_fine_tuning_a_few_layers_leaves_the_others_alone(head, data, tmp_path):
    from flowers_model import network as networks

    folder, head_only = head
    shutil.copytree(folder, tmp_path / "tuned")
    tuned, _ = train(data, tmp_path / "tuned", unfreeze=2)
    one, two = networks.backbone_of(head_only), networks.backbone_of(tuned)
    same = [
        np.array_equal(one.get_layer(layer).weights[0], two.get_layer(layer).weights[0])
        for layer in ("conv_1", "norm_1")
    ]
    assert same == [True, False]


def test_a_network_serves_at_another_size_than_it_trained_at(whole, data, tmp_path):
    from flowers_model import network as networks

    folder, as_trained, _ = whole
    shutil.copytree(folder, tmp_path / "larger")
    larger, _ = train(data, tmp_path / "larger", serve_size=40)
    assert larger.input.shape == (None, 40, 40, 3)
    one, two = (networks.backbone_of(net) for net in (as_trained, larger))
    for a, b in zip(one.trainable_weights, two.trainable_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    means = [net.get_layer("norm_1").moving_mean for net in (one, two)]
    assert not np.allclose(*means)


@pytest.mark.slow
def test_rare_classes_are_trained_for_in_each_way(tmp_path):
    folder = write_photo_folder(tmp_path / "data", {"train": 6, "valid": 2})
    for name in list(COLOURS)[:2]:
        for path in sorted((folder / "train" / name).iterdir())[2:]:
            path.unlink()
    settings = {"epochs_head": 1, "epochs_finetune": 1, "schedule": "constant"}
    settings |= {"augment": "light,cutmix"}
    for number, way in enumerate(
        (
            {"class_weights": "balanced", "loss": "focal"},
            {"oversample": True, "augment_rare_below": 3},
        )
    ):
        _, history = train(f"folder:{folder}", tmp_path / str(number), **settings, **way)
        assert len(history) == 2


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize(
    "after", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 4))]
)
def test_an_interrupted_run_goes_on_to_the_same_result(whole, data, tmp_path, monkeypatch, after):
    _, network, history = whole
    ended = []
    journal_epoch_end = Journal.on_epoch_end

    def interrupt(self, epoch, logs=None):
        if len(ended) == after:
            raise PowerCutError  # at the end of an epoch, before anything of it is saved
        journal_epoch_end(self, epoch, logs)
        ended.append(epoch)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "on_epoch_end", interrupt)
        with pytest.raises(PowerCutError):
            train(data, tmp_path / "cut")
    assert len(read_history(tmp_path / "cut")) == after
    resumed, again = train(data, tmp_path / "cut")
    assert len(again) == len(history)
    for a, b in zip(network.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for name in ("loss", "val_loss", "learning_rate"):
        assert [r[name] for r in history] == pytest.approx([r[name] for r in again], abs=1e-5)


@pytest.mark.slow
def test_a_cut_checkpoint_is_gone_back_from(data, tmp_path, caplog):
    train(data, tmp_path / "run", epochs_head=1, monitor="last", schedule="constant")
    folder = tmp_path / "run"
    last = folder / "checkpoints/finetune-0002.weights.h5"
    last.write_bytes(last.read_bytes()[:1000])
    saved = json.loads((folder / "history.json").read_text("utf-8"))
    longer = dict(epochs_head=1, epochs_finetune=4, monitor="last", schedule="constant")
    _, again = train(data, folder, **longer)
    assert "finetune-0002.weights.h5 in" in caplog.text
    assert "resuming after epoch 2 of finetune" in caplog.text
    assert [row["epoch"] for row in again] == [0, 0, 1, 2, 3]
    assert again[:3] == saved[:3]
    for file in (folder / "checkpoints").glob("finetune-*"):
        file.write_bytes(b"")
    _, anew = train(data, folder, **longer | {"epochs_finetune": 5})
    assert [row["epoch"] for row in anew] == [0, 0, 1, 2, 3, 4]


CUT = ['{"stage": "head", "epo', "", "3", "[]", '{"stage": "head", "epoch": 0, "batch": 4}', "\xff"]


@pytest.mark.parametrize("text", CUT)
def test_a_damaged_point_of_interruption_begins_the_epoch_anew(tmp_path, caplog, text):
    (tmp_path / journal.INTERRUPTED).write_text(text, "latin-1")
    [stage, _] = task.stages(TINY)
    assert journal.read_interrupted(tmp_path, stage, 0, 4) is None
    assert "interrupted.json is damaged; the epoch starts over" in caplog.text


@pytest.mark.slow
def test_an_optimizer_of_another_precision_is_not_left_behind_in_silence(data, tmp_path):
    """As when a run that started on a GPU with scaled losses is resumed on a CPU."""
    began = dict(epochs_head=0, epochs_finetune=1, schedule="constant", precision="mixed_float16")
    train(data, tmp_path / "run", **began)
    with pytest.raises(TrainingError, match=r'set "precision": "mixed_float16" in .*experiment'):
        train(data, tmp_path / "run", **began | {"epochs_finetune": 2, "precision": "float32"})
    _, history = train(data, tmp_path / "run", **began | {"epochs_finetune": 2})
    assert len(history) == 2


def test_a_damaged_history_is_one_line(data, tmp_path):
    for text in ('[{"stage": "head",', "3", "null", '[{"stage": "head"}]', "\xff"):
        (tmp_path / "history.json").write_text(text, "latin-1")
        with pytest.raises(UserError, match=r"history\.json is damaged: restore it"):
            read_history(tmp_path)


@pytest.mark.slow
def test_the_last_checkpoint_stays_and_the_best_by_either_figure_which_the_network_gets(
    data, tmp_path
):
    settings = {"epochs_head": 0, "epochs_finetune": 5, "schedule": "constant"}
    settings["learning_rate_finetune"] = 0.05
    trained, history = train(data, tmp_path / "run", **settings)
    epochs = {3, 4, *(best(history, monitor)["epoch"] for monitor in MONITORS)}
    kept = {path.name for path in (tmp_path / "run/checkpoints").iterdir()}
    assert kept == {f"finetune-{epoch:04}.weights.h5" for epoch in epochs}

    # The network has the weights of the best epoch, both after training and when it is read again.
    chosen = [
        (monitor, train(data, tmp_path / "run", **settings, monitor=monitor)[0])
        for monitor in (*MONITORS, "last")
    ]
    for monitor, network in [(TINY.monitor, trained), *chosen]:
        other = keras.models.clone_model(network)
        epoch = best(history, monitor)["epoch"]
        other.load_weights(tmp_path / f"run/checkpoints/finetune-{epoch:04}.weights.h5")
        for a, b in zip(network.trainable_variables, other.trainable_variables, strict=True):
            np.testing.assert_array_equal(a, b)


def test_fine_tuning_has_its_own_optimizer_and_schedule_where_set():
    same, other = (
        task.stages(TINY),
        task.stages(
            dataclasses.replace(TINY, optimizer_finetune="radam", schedule_finetune="cyclical")
        ),
    )
    assert [(s.optimizer, s.schedule) for s in same] == [("adamw", "cosine")] * 2
    assert [(s.optimizer, s.schedule) for s in other] == [
        ("adamw", "cosine"),
        ("radam", "cyclical"),
    ]


@pytest.mark.slow
def test_cycles_go_on_where_an_interrupted_run_ended(data, tmp_path):
    settings = {
        "epochs_head": 0,
        "epochs_finetune": 3,
        "optimizer": "radam",
        "schedule": "cyclical",
        "learning_rate_finetune": 1e-2,
        "rate_low": 1e-4,
        "rate_period": 1.25,  # 5 steps, so that the epochs end at different places of a cycle
    }
    whole, history = train(data, tmp_path / "whole", **settings)
    rates = [row["learning_rate"] for row in history]
    low, span = 1e-4, 1e-2 - 1e-4
    assert rates == pytest.approx([low + 0.4 * span, low + 0.8 * span, low + 0.8 * span])
    train(data, tmp_path / "cut", **settings | {"epochs_finetune": 2})
    resumed, _ = train(data, tmp_path / "cut", **settings)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param(
            {"epochs_head": 0, "class_weights": "balanced", "loss": "focal"}, marks=pytest.mark.slow
        ),
    ],
)
def test_a_range_test_leaves_its_curve_and_a_suggestion(data, tmp_path, settings):
    rate = job.find_learning_rate(dataclasses.replace(TINY, data=data, **settings), tmp_path, 30)
    assert 1e-8 <= rate <= 1
    with open(tmp_path / "learning_rate.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert 10 < len(rows) <= 30
    assert float(rows[0]["learning_rate"]) == pytest.approx(1e-7)
    assert list(rows[0]) == ["step", "learning_rate", "loss", "smoothed_loss"]
    assert Image.open(tmp_path / "learning_rate.png").size[0] > 500
    assert not read_history(tmp_path)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_with_advice(data, tmp_path):
    rate = {"learning_rate_finetune": 1e30, "schedule": "constant"}
    with pytest.raises(TrainingError, match="lower --learning-rate"):
        train(data, tmp_path / "run", epochs_head=0, **rate)
    assert not read_history(tmp_path / "run")


def rows(values, name="val_accuracy"):
    return [
        {"epoch": i, name: value, "val_loss": 1.0} | {name: value} for i, value in enumerate(values)
    ]


def test_the_best_epoch_is_the_first_of_the_best():
    assert best(rows([0.1, 0.7, 0.5, 0.7]), "val_accuracy")["epoch"] == 1
    assert best(rows([3.0, 1.0, 2.0], "val_loss"), "val_loss")["epoch"] == 1


def test_a_stage_stops_early_when_it_gets_no_better():
    stage, patient = (
        Stage("head", 10, 0.1, "adamw", "cosine"),
        dataclasses.replace(TINY, patience=2),
    )
    assert not finished(rows([0.1, 0.5, 0.4]), stage, patient)
    assert finished(rows([0.1, 0.5, 0.4, 0.5]), stage, patient)
    assert not finished(rows([0.1, 0.5, 0.4, 0.5]), stage, TINY)
    assert finished(rows([0.1] * 10), stage, TINY)


def test_the_rate_falls_where_the_figure_stands_still():
    assert plateau_rate(rows([0.1, 0.2, 0.3]), 1.0, "val_accuracy") == 1.0
    assert plateau_rate(rows([0.3, 0.2, 0.3, 0.1]), 1.0, "val_accuracy") == pytest.approx(0.3)
    falling = rows([1.0, 1.1, 1.1, 1.1, 1.2, 1.2, 1.3], "val_loss")
    assert plateau_rate(falling, 1.0, "val_loss") == pytest.approx(0.09)


def test_the_plateau_schedule_is_followed(data, tmp_path):
    _, history = train(
        data,
        tmp_path / "run",
        epochs_head=0,
        epochs_finetune=5,
        schedule="plateau",
        learning_rate=1e-12,
        learning_rate_finetune=None,  # so that it is the same
    )
    rates = [row["learning_rate"] for row in history]
    assert rates == pytest.approx([1e-12] * 4 + [3e-13], rel=1e-3)


def test_early_stopping_ends_the_stage(data, tmp_path):
    _, history = train(
        data,
        tmp_path / "run",
        epochs_head=50,
        epochs_finetune=0,
        schedule="constant",
        learning_rate=0.0,
        patience=2,
    )
    assert len(history) == 3
