"""Learning rates: their values at the steps where they turn."""

import keras
import numpy as np
import pytest

from train.experiment import SCHEDULES
from train.optim import schedules

SETTINGS = {"total": 100, "warmup": 0.1, "period": 20, "factor": 0.5}


def values(name: str, peak: float = 1.0, low: float = 0.0, **settings) -> np.ndarray:
    """The rate at each of 101 steps, which are integer tensors, as in the optimizer."""
    made = schedules.learning_rate(name, peak, low, **SETTINGS | settings)
    rate = made if callable(made) else lambda step: made
    steps = [keras.ops.convert_to_tensor(step, "int32") for step in range(101)]
    return np.array([float(rate(step)) for step in steps])


def test_cosine_rises_to_the_peak_and_falls_to_zero():
    rates = values("cosine")
    assert rates[[0, 5, 10, 55, 100]] == pytest.approx([0, 0.5, 1, 0.5, 0], abs=1e-6)


def test_constant_and_plateau_begin_at_the_peak():
    assert set(values("constant")) == set(values("plateau")) == {1.0}


def test_cyclical_is_a_triangle():
    rates = values("cyclical", peak=3e-3, low=5e-8)
    assert rates[[0, 20, 100]] == pytest.approx(5e-8, abs=1e-9)
    assert rates[[10, 30, 90]] == pytest.approx(3e-3)
    assert rates[[5, 15]] == pytest.approx((3e-3 + 5e-8) / 2)


def test_step_halves_at_the_end_of_each_period():
    rates = values("step", low=0.2)
    assert rates[[0, 5, 10, 29, 30, 49, 50]] == pytest.approx([0.2, 0.6, 1, 1, 0.6, 0.6, 0.4])


def test_exponential_halves_within_each_period():
    rates = values("exponential", low=0.2)
    assert rates[[0, 5, 10, 20, 30, 50]] == pytest.approx(
        [0.2, 0.6, 1, 0.2 + 0.8 * 0.5**0.5, 0.6, 0.4]
    )
    assert (np.diff(rates[10:]) < 0).all()


@pytest.mark.parametrize("name", ["step", "exponential"])
def test_there_need_be_no_warm_up(name):
    assert values(name, warmup=0.0)[[0, 20, 40]] == pytest.approx([1, 0.5, 0.25])


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_drives_training(name):
    rate = schedules.learning_rate(name, 0.1, 0.0, total=4, warmup=0.25, period=2, factor=0.5)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), batch_size=1, verbose=0)
    assert np.isfinite(float(model.optimizer.learning_rate))


def test_a_range_test_suggests_a_tenth_of_the_best_rate():
    rates = schedules.range_rates(81)
    assert rates[[0, 40, 80]] == pytest.approx([1e-7, 1e-3, 10])
    losses = list((np.log10(rates) + 2) ** 2)  # lowest at 1e-2, which smoothing puts later
    assert 1e-3 <= schedules.suggested_rate(list(rates), losses) <= 1e-2
    assert schedules.suggested_rate([1.0, 10.0, 100.0], [3.0, 1.0, np.nan]) == 1.0


def test_a_range_test_ends_where_the_loss_has_grown_by_far():
    assert not schedules.diverged([2.0, 1.0, 1.5])
    assert schedules.diverged([2.0, 1.0, 100.0])
    assert schedules.diverged([2.0, np.nan])
