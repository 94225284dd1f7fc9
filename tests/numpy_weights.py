"""Initial weights drawn by NumPy instead of XLA, which compiles a program for each shape. That is
nine tenths of the time it takes to build a large network.
"""

import types

import numpy as np


def draw(patch) -> None:
    """Have Keras's initializers draw with NumPy, from the same distributions.

    Args:
        patch: sets an attribute of a module, as `setattr` or pytest's `monkeypatch.setattr`.
    """
    from keras.src.initializers import random_initializers

    drawing = {"normal": normal, "truncated_normal": truncated_normal, "uniform": uniform}
    own = types.SimpleNamespace(**vars(random_initializers.random) | drawing)
    patch(random_initializers, "random", own)


def normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, stddev, shape).astype(dtype)


def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(size=shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = random.normal(size=beyond.sum())
    return (mean + stddev * values).astype(dtype)


def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None) -> np.ndarray:
    return np.random.default_rng(seed).uniform(minval, maxval, shape).astype(dtype)
