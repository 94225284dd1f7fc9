"""Initial weights drawn by NumPy instead of XLA, which compiles a program for each shape. That is
nine tenths of the time it takes to build a large network.
"""

import types

import keras
import numpy as np


def draw(patch) -> None:
    """Have Keras's initializers draw with NumPy, from the same distributions; zeros and ones, too.

    Args:
        patch: sets an attribute of a module, as `setattr` or pytest's `monkeypatch.setattr`.
    """
    from keras.src.initializers import constant_initializers, random_initializers

    for module, name, by_numpy in (
        (random_initializers, "random", (normal, truncated_normal, uniform)),
        (constant_initializers, "ops", (zeros, ones)),
    ):
        own = vars(getattr(module, name)) | {one.__name__: one for one in by_numpy}
        patch(module, name, types.SimpleNamespace(**own))


def normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    return _tensor(np.random.default_rng(seed).normal(mean, stddev, shape), dtype)


def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    random = np.random.default_rng(seed)
    values = random.normal(size=shape)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = random.normal(size=beyond.sum())
    return _tensor(mean + stddev * values, dtype)


def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
    return _tensor(np.random.default_rng(seed).uniform(minval, maxval, shape), dtype)


def zeros(shape, dtype=None):
    return _tensor(np.zeros(shape), dtype)


def ones(shape, dtype=None):
    return _tensor(np.ones(shape), dtype)


def _tensor(values: np.ndarray, dtype):
    values = values.astype(dtype)
    if keras.backend.backend() != "jax":
        return values
    import jax

    return jax.device_put(values)  # for jax.numpy.asarray, too, XLA compiles a program
