"""The network that an experiment describes."""

from __future__ import annotations

import keras

from flowers_model import network as networks
from train.experiment import Experiment


def build_network(experiment: Experiment, class_count: int, weights: str | None) -> keras.Model:
    """The network that an experiment describes, starting from `weights`."""
    return networks.build(
        experiment.backbone,
        class_count,
        experiment.image_size,
        weights=weights,
        alpha=experiment.alpha,
        filters=experiment.filters,
        head_units=experiment.head_units,
        dropout=experiment.dropout,
    )
