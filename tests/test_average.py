"""Model soups: weights averaged over several networks."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from helpers import COLOURS, write_tiny_bundle

from flowers_model import bundle
from flowers_model import network as networks
from flowers_model.errors import UserError
from train.experiment import Experiment
from train.loop.training import Trained, train

pytestmark = pytest.mark.usefixtures("float32_again")


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> list[str]:
    """Two bundles whose networks differ."""
    first = write_tiny_bundle(tmp_path_factory.mktemp("first"))
    second = tmp_path_factory.mktemp("second") / "bundle"
    shutil.copytree(first, second)
    network = keras.saving.load_model(first)
    network.set_weights([2 * values + 0.5 for values in network.get_weights()])
    bundle.save_network(network, second)
    return [str(first), str(second)]


def experiment(data, **settings) -> Experiment:
    return Experiment(
        **{"data": data, "image_size": 32, "backbone": "ConvNet", "weights": None}
        | {"filters": (4, 8), "epochs_head": 0, "epochs_finetune": 1, "batch_size": 4}
        | settings
    )


def trained(folder, settings: Experiment) -> Trained:
    folder.mkdir(exist_ok=True)
    return train(settings, folder)


@pytest.mark.parametrize(
    ("serve_size", "measured"),
    [
        (None, True),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((40, True), (None, False))),
    ],
    ids=str,
)
def test_every_weight_is_the_mean_and_norms_are_those_of_the_photos_where_measured(
    others, data, tmp_path, serve_size, measured
):
    settings = experiment(data, serve_size=serve_size, measure_norms=measured)
    alone = trained(tmp_path / "run", settings).network
    # The run has ended: it is not trained again.
    together = trained(tmp_path / "run", dataclasses.replace(settings, average=others)).network
    theirs = [keras.saving.load_model(name) for name in others]
    assert together.input_shape[1] == (serve_size or 32)
    statistics = 0
    each = zip(together.weights, alone.weights, *(one.weights for one in theirs), strict=True)
    for mean, *members in each:
        expected = np.mean([np.asarray(one.value) for one in members], axis=0)
        if "moving" in mean.path:
            statistics += 1
        if "moving" in mean.path and measured:
            assert not np.allclose(mean.value, expected, rtol=1e-3, atol=1e-3)
        else:
            np.testing.assert_allclose(mean.value, expected, rtol=1e-5, atol=1e-7)
    assert statistics == 2 * sum(
        isinstance(layer, keras.layers.BatchNormalization)
        for layer in networks.backbone_of(together).layers
    )


def test_a_network_that_does_not_fit_is_refused_before_it_trains(others, data, tmp_path):
    renamed = tmp_path / "renamed"
    shutil.copytree(others[0], renamed)
    manifest = json.loads((renamed / bundle.MANIFEST).read_text("utf-8"))
    manifest["class_names"] = [*COLOURS][1:] + [*COLOURS][:1]
    (renamed / bundle.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    damaged = tmp_path / "damaged"
    shutil.copytree(others[0], damaged)
    (damaged / "config.json").write_text("{}")
    for name, settings, reason in (
        (str(damaged), {}, "no network can be read from .*damaged"),
        (others[0], {"filters": (4, 6)}, "does not have the architecture of the trained network"),
        (str(renamed), {}, "does not have the classes of --data"),
        ("/nowhere", {}, "nowhere"),
    ):
        with pytest.raises(UserError, match=reason):
            trained(tmp_path / "run", experiment(data, average=(name,), **settings))
    assert not (tmp_path / "run/history.json").exists()
