"""Model soups: a network whose weights are the mean of those of several trained networks.

Networks that were fine-tuned from the same weights are so close to one another that averaging their
weights is about as good as averaging their answers, at the cost of a single network (Wortsman et
al., 2022, https://arxiv.org/abs/2203.05482). BatchNorm statistics are best re-estimated for the
mean (`--measure-norms`); for a network and one that was fine-tuned from it, the mean of the
statistics is good enough.
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
        HubError, BundleError: if one cannot be downloaded, or is not a bundle.
        NetworkError: if a bundle has no network that Keras can read.
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
    """Check that networks can be averaged with `network`, whose classes are `class_names`.

    Raises:
        UserError: if one has another architecture or other classes.
    """
    shapes = [variable.shape for variable in network.weights]
    for one in finished:
        if one.class_names != list(class_names):
            raise UserError(
                f"--average {one.name} does not have the classes of --data, in their order"
            )
        if [values.shape for values in one.weights] != shapes:
            raise UserError(
                f"--average {one.name} does not have the architecture of the trained network"
            )


def mean(weights: list[np.ndarray], finished: Sequence[Finished]) -> list[np.ndarray]:
    """The mean of a network's weights and those of the finished ones."""
    each = zip(weights, *(one.weights for one in finished), strict=True)
    return [np.mean(values, axis=0, dtype=values[0].dtype) for values in each]
