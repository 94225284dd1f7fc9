"""Presets: each builds its network, trains on a few photos, and documents commands that work."""

import dataclasses
import functools
import re
import shlex

import numpy as np
import pytest
from helpers import shapes_of

from flowers_model import network as networks
from train import run
from train.experiment import Experiment, load_preset, preset_names
from train.loop import task
from train.loop.history import read_history
from train.loop.network import build_network
from train.loop.training import train

pytestmark = pytest.mark.usefixtures("float32_again")


def small(name: str) -> Experiment:
    """A preset with its own augmentation, head, loss, optimizers and schedules on a small backbone.

    XLA takes minutes to compile a large one.
    """
    experiment = load_preset(name).EXPERIMENT
    return dataclasses.replace(
        experiment,
        data="",
        image_size=32,
        serve_size=experiment.serve_size and 40,
        backbone="ConvNet",
        alpha=None,
        filters=(4,),
        weights=None,
        unfreeze=experiment.unfreeze and min(experiment.unfreeze, 2),
        epochs_head=min(experiment.epochs_head, 1),
        epochs_finetune=min(experiment.epochs_finetune, 1),
        batch_size=4,
    )


@functools.cache
def shapes(name: str):
    """A preset's own network for ten classes, with shapes only."""
    experiment = load_preset(name).EXPERIMENT
    return shapes_of(lambda: build_network(experiment, 10, weights=None))


# Of presets that differ in their backbones alone, one.
DISTINCT = {small(name): name for name in reversed(preset_names())}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", DISTINCT, ids=DISTINCT.get)
@pytest.mark.usefixtures("weights_by_numpy")
def test_a_preset_trains_every_stage(experiment, data, tmp_path):
    experiment = dataclasses.replace(experiment, data=data)
    train(experiment, tmp_path)
    history = read_history(tmp_path)
    assert [row["stage"] for row in history] == [stage.name for stage in task.stages(experiment)]
    assert all(np.isfinite([row["loss"], row["val_loss"]]).all() for row in history)


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names())
def test_a_presets_network_is_built_at_its_size(name):
    experiment = load_preset(name).EXPERIMENT
    if experiment.backbone.startswith("hub:"):
        pytest.skip("downloads a preset of keras-hub; see test_keras_hub_backbones.py")
    size = experiment.image_size
    assert shapes(name).input_shape == (None, size, size, 3)
    assert shapes(name).output_shape == (None, 10)


@pytest.mark.parametrize(
    ("name", "weights"), [("animals10", 2_274_698), ("animals10_mobilenetv2", 330_506)]
)
def test_as_many_weights_learn_as_in_the_original(name, weights):
    experiment = load_preset(name).EXPERIMENT
    network = shapes(name)
    networks.set_trainable(network, experiment.unfreeze, train_norms=experiment.train_norms)
    count = sum(np.prod(variable.shape) for variable in network.trainable_variables)
    assert count == weights + 2 * 256  # the hidden layer's BatchNormalization is ours


@pytest.mark.parametrize("name", preset_names())
def test_the_commands_in_a_docstring_are_good(name):
    preset = load_preset(name)
    text = preset.__doc__.replace("\\\n", " ")
    commands = re.findall(r"python train/run\.py(.*)", text)
    assert commands
    if name != "quickstart":
        assert f"--preset {name}" in commands[0]
    fields = {field.name for field in dataclasses.fields(Experiment)}
    for line in [*commands, *re.findall(r"`(--[^`]+)`", text)]:
        settings = vars(run._parser().parse_args(shlex.split(line)))
        known = {name: value for name, value in settings.items() if name in fields}
        dataclasses.replace(preset.EXPERIMENT, **known)
