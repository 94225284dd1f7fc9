"""Optimizers: every name works, and rectified Adam does what its paper says."""

import inspect

import keras
import numpy as np
import pytest

from train.experiment import OPTIMIZERS
from train.optim.optimizers import RAdam, optimizer

WRAPPERS = {"optimizer", "lossscaleoptimizer", "multioptimizer", "optimizermap"}


def test_the_names_are_those_of_keras_and_radam():
    kinds = [kind for kind in vars(keras.optimizers).values() if inspect.isclass(kind)]
    assert set(OPTIMIZERS) == {kind.__name__.lower() for kind in kinds} - WRAPPERS | {"radam"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_makes_a_step_downhill(name):
    matrix = keras.Variable(np.eye(3, dtype="float32") + 1)
    bias = keras.Variable(np.ones(3, "float32"))
    made = optimizer(name, 0.01)
    made.apply([keras.ops.ones((3, 3)), keras.ops.ones(3)], [matrix, bias])
    assert float(keras.ops.sum(matrix)) < 12
    assert float(keras.ops.sum(bias)) < 3


def test_weight_decay_is_the_optimizers_own_unless_given():
    assert optimizer("adamw", 0.1).weight_decay == 0.004
    assert not optimizer("adam", 0.1).weight_decay
    assert not optimizer("radam", 0.1).weight_decay
    assert optimizer("radam", 0.1, 0.05).weight_decay == 0.05
    muon = optimizer("muon", 0.1, 0.05)
    assert (muon.weight_decay, muon.adam_weight_decay) == (0.05, 0.05)


def updates(made: keras.optimizers.Optimizer, gradients: np.ndarray) -> np.ndarray:
    """Where `(1, -2)` is after each of the gradients `(T, 2)`, as `(T, 2)`."""
    variable = keras.Variable([1.0, -2.0])
    places = []
    for gradient in gradients:
        made.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        places.append(np.array(keras.ops.convert_to_numpy(variable)))
    return np.stack(places)


def test_rectified_adam_by_hand():
    # beta_2 = 0.9: the longest average is 19 gradients. After 1, 2, ... gradients of 0.5, rho is
    # 1, 1.947, 2.860, 3.737, 4.581, 5.390. So the first five steps are the momentum, 0.5, and the
    # sixth is Adam's, 1, times sqrt(1.390 3.390 19 / (15 17 5.390)) = 0.2552.
    places = updates(RAdam(0.1, beta_2=0.9), np.full((6, 2), 0.5))
    np.testing.assert_allclose(np.diff(places[:5, 0]), -0.05, rtol=1e-5)
    np.testing.assert_allclose(places[5] - places[4], -0.02552, rtol=1e-3)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("beta_2", [0.999, 0.95])
def test_rectified_adam_agrees_with_torch(beta_2, weight_decay):
    torch = pytest.importorskip("torch", reason="torch, which has RAdam, is not installed")
    gradients = np.random.default_rng(0).normal(0.3, 1.0, (40, 2))
    parameter = torch.tensor([1.0, -2.0], dtype=torch.float64)
    theirs = torch.optim.RAdam(
        [parameter],
        lr=0.05,
        betas=(0.9, beta_2),
        weight_decay=weight_decay,
        decoupled_weight_decay=True,
    )
    expected = []
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        theirs.step()
        expected.append(parameter.numpy().copy())
    ours = updates(RAdam(0.05, beta_2=beta_2, weight_decay=weight_decay), gradients)
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_sgd_has_nesterovs_momentum():
    # Velocity after a gradient of 1: -rate, then 0.9 of it and -rate more; looking ahead, a step is
    # 0.9 of the velocity and -rate.
    ours = updates(optimizer("sgd", 0.1, weight_decay=0.0), np.ones((2, 2)))
    np.testing.assert_allclose(ours[1] - ours[0], -0.1 * (0.9 * 1.9 + 1), atol=1e-6)


def test_rectified_adam_is_saved_with_its_state(tmp_path):
    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.compile(optimizer("radam", 0.05), "mse")
        return model

    x, y = np.random.default_rng(0).normal(size=(2, 64, 4)).astype(np.float32)
    fit = {"batch_size": 8, "shuffle": False, "verbose": 0}
    whole, first, second = build(), build(), build()
    whole.fit(x, y[:, :3], **fit)
    first.fit(x[:32], y[:32, :3], **fit)
    first.save_weights(tmp_path / "half.weights.h5")
    second.optimizer.build(second.trainable_variables)
    second.load_weights(tmp_path / "half.weights.h5")
    second.fit(x[32:], y[32:, :3], **fit)
    for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    again = RAdam.from_config(whole.optimizer.get_config())
    assert again.beta_2 == whole.optimizer.beta_2
