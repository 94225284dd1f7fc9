"""Trains in a process of its own: `python training_process.py FOLDER DEVICES SETTINGS`.

DEVICES is how many virtual CPU devices there are; SETTINGS, JSON, is a list of what to set in an
`Experiment`, one training after another. The n-th leaves FOLDER/n/weights.npz beside its run, and
under JAX FOLDER/n/facts.json: what is divided among devices, how far inference on 13 photos is from
Keras's on one device, and what is said to a layer of 5 channels.
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

import keras
import numpy as np

from flowers_model import network as networks
from flowers_model.errors import UserError
from train import distribution, job
from train.experiment import Experiment


def facts(experiment: Experiment) -> dict:
    photos = np.random.default_rng(0).integers(0, 256, (13, 24, 24, 3), np.uint8)  # a prime number
    with distribution.scope(experiment):
        network = networks.build("ConvNet", 3, 24, filters=experiment.filters)
        weights = distribution.whole_weights(network)
        predicted = distribution.predictor(network, 8)(photos)
        batch = distribution.place(photos[:8].astype("float32"))
        divided = {
            variable.path: variable.value.addressable_shards[0].data.shape
            for variable in network.variables
            if not variable.value.is_fully_replicated
        }
        rows = batch.addressable_shards[0].data.shape[0] if distribution.is_on() else len(batch)
        refused = ""
        try:
            networks.build("ConvNet", 3, 24, filters=(4, 5))
        except UserError as error:
            refused = str(error)
    plain = networks.build("ConvNet", 3, 24, filters=experiment.filters)
    plain.set_weights(weights)
    difference = np.abs(predicted - plain.predict(photos, verbose=0)).max()
    return {
        "rows": rows,
        "divided": divided,
        "difference": float(difference),
        "refused": refused,
    }


for number, values in enumerate(settings):
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    experiment = dataclasses.replace(Experiment(), **values)
    place = folder / str(number)
    place.mkdir(parents=True)
    weights = job.train(experiment, place).network.get_weights()
    np.savez(place / "weights.npz", *weights)
    if keras.backend.backend() == "jax":
        (place / "facts.json").write_text(json.dumps(facts(experiment)))
