"""Model soups: one network whose weights are the mean of those of several trained networks.

Fine-tuned from the same start, networks lie close enough together that their mean is about as good
as the mean of their answers, at the cost of one (Wortsman et al., 2022,
https://arxiv.org/abs/2203.05482). BatchNormalization's statistics are best measured anew for the
mean (`--measure-norms`); of networks as close as one and what it was fine-tuned to, the mean of
the statistics does, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from flowers_model import hub
from flowers_model import network as networks
from flowers_model.bundle import read_manifest
from flowers_model.errors import UserError


@dataclasses.dataclass(frozen=True)
class Finished:
    """The weights of a trained network."""

    name: str
    class_names: list[str]
    weights: list[np.ndarray]


def read_finished(names: Sequence[str]) -> list[Finished]:
    """Read the networks of bundles, folders or Hub repos.

    Raises:
        HubError, BundleError: one cannot be fetched, or is not a bundle.
        NetworkError: a bundle has no network that Keras can read.
    """
    finished = []
    for name in names:
        folder = hub.fetch(name)
        weights = networks.load(folder).get_weights()
        finished.append(Finished(name, read_manifest(folder).class_names, weights))
    return finished


def check_alike(
    finished: Sequence[Finished], network: keras.Model, class_names: Sequence[str]
) -> None:
    """Check that networks can be averaged with `network`, which knows `class_names`.

    Raises:
        UserError: another architecture, or other classes.
    """
    shapes = [variable.shape for variable in network.weights]
    for one in finished:
        if one.class_names != list(class_names):
            raise UserError(f"--average {one.name} knows other classes than the data has")
        if [values.shape for values in one.weights] != shapes:
            raise UserError(
                f"--average {one.name} has another architecture than the trained network"
            )


def mean(weights: list[np.ndarray], finished: Sequence[Finished]) -> list[np.ndarray]:
    """The mean of a network's weights and those of the finished ones."""
    each = zip(weights, *(one.weights for one in finished), strict=True)
    return [np.mean(values, axis=0, dtype=values[0].dtype) for values in each]
