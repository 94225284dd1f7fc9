"""Trains in a separate process: `python training_process.py FOLDER DEVICES SETTINGS`.

DEVICES is the number of virtual CPU devices; SETTINGS is a JSON list of `Experiment` settings, one
training after another. The n-th writes FOLDER/n/weights.npz beside its run and, on JAX,
FOLDER/n/facts.json: what is divided among the devices and, for a ConvNet, facts about inference.

Other networks than a ConvNet are compiled with XLA's optimizations: deep networks drift apart by
more than the tests' tolerance without them.
"""

import dataclasses
import json
import os
import pathlib
import sys

folder, devices, settings = pathlib.Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
if os.environ["KERAS_BACKEND"] == "jax":
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
else:
    import tensorflow as tf

    [cpu] = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, parts)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import keras
import numpy as np
import numpy_weights

from flowers_model import network as networks
from flowers_model.errors import UserError
from train.devices import distribution
from train.experiment import Experiment
from train.loop.network import build_network
from train.loop.training import train


def scope(experiment: Experiment):
    where = experiment.distribution, experiment.model_devices, experiment.backbone
    return distribution.scope(*where)


def layout(experiment: Experiment) -> dict:
    """The rows per device of a batch of 8, the batch size that 13 becomes, and the shapes of the
    weights that are divided among devices."""
    with scope(experiment):
        network = build_network(experiment, 3, weights=None)
        size = experiment.image_size
        batch = distribution.place(np.zeros((8, size, size, 3), np.float32))
        rows = batch.addressable_shards[0].data.shape[0] if distribution.is_on() else len(batch)
        whole = distribution.batch_size(13, 27)
    divided = {
        variable.path: variable.value.addressable_shards[0].data.shape
        for variable in network.variables
        if not variable.value.is_fully_replicated
    }
    return {"rows": rows, "batch": whole, "divided": divided}


def inference(experiment: Experiment) -> dict:
    """How much inference on 13 photos differs from Keras's, and the message for 5 channels."""
    photos = np.random.default_rng(0).integers(0, 256, (13, 24, 24, 3), np.uint8)  # a prime number
    with scope(experiment):
        network = build_network(experiment, 3, weights=None)
        weights = distribution.whole_weights(network)
        predicted = distribution.predictor(network, 8)(photos)
        refused = ""
        try:
            networks.build("ConvNet", 3, 24, filters=(4, 5))
        except UserError as error:
            refused = str(error)
    plain = build_network(experiment, 3, weights=None)
    plain.set_weights(weights)
    difference = np.abs(predicted - plain.predict(photos, verbose=0)).max()
    return {"difference": float(difference), "refused": refused}


numpy_weights.draw(setattr)
for number, values in enumerate(settings):
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    experiment = dataclasses.replace(Experiment(), **values)
    place = folder / str(number)
    place.mkdir(parents=True)
    if keras.backend.backend() == "jax":
        jax.config.update("jax_disable_most_optimizations", experiment.backbone == "ConvNet")
    weights = train(experiment, place).network.get_weights()
    np.savez(place / "weights.npz", *weights)
    if keras.backend.backend() == "jax":
        facts = layout(experiment)
        if experiment.backbone == "ConvNet":
            facts |= inference(experiment)
        (place / "facts.json").write_text(json.dumps(facts))
