"""Optimizers by name: those of Keras, and rectified Adam."""

from __future__ import annotations

import inspect
import math

import keras
from keras import ops


class RAdam(keras.optimizers.Optimizer):
    """Rectified Adam (Liu et al., 2019, https://arxiv.org/abs/1908.03265).

    Adam's step sizes have a large variance while they are based on a few gradients. Here, the first
    steps are plain momentum; later ones are those of Adam times a factor that rises to 1 as the
    variance settles.

    Args:
        learning_rate: a float or a schedule.
        beta_1, beta_2: decay rates of the means of gradients and of their squares, 0..1.
        epsilon: added to the denominator, so that it is never zero.
        options: further arguments of `keras.optimizers.Optimizer`, such as `weight_decay`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        **options,
    ):
        super().__init__(learning_rate=learning_rate, **options)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(
            variables, ["momentum", "velocity"]
        )

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign_add(momentum, (gradient - momentum) * (1 - self.beta_1))
        self.assign_add(velocity, (ops.square(gradient) - velocity) * (1 - self.beta_2))

        # 1 - beta^t with expm1: in float32, the plain difference is off by 1e-5 in the first steps.
        step = ops.cast(self.iterations + 1, "float32")
        rest_1 = -ops.expm1(step * math.log(self.beta_1))
        rest_2 = -ops.expm1(step * math.log(self.beta_2))
        longest = 2 / (1 - self.beta_2) - 1
        length = longest - 2 * step * (1 - rest_2) / rest_2  # of the simple moving average
        # The paper rectifies above 4, but the authors' code and later ones do so above 5.
        settled = ops.maximum(length, 5.0)
        variance = (settled - 4) * (settled - 2) / settled
        factor = ops.sqrt(variance * longest / ((longest - 4) * (longest - 2)) * rest_2)

        adaptive = ops.cast(factor, variable.dtype) / (ops.sqrt(velocity) + self.epsilon)
        scale = ops.where(length > 5, adaptive, ops.ones_like(adaptive))
        rate = ops.cast(ops.cast(learning_rate, "float32") / rest_1, variable.dtype)
        self.assign_sub(variable, rate * scale * momentum)

    def get_config(self):
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return super().get_config() | own


def optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer with one of the names in `train.experiment.OPTIMIZERS`.

    `sgd` has a Nesterov momentum of 0.9.

    Args:
        weight_decay: decoupled weight decay; None for the optimizer's default.
    """
    if name == "radam":
        kind = RAdam
    else:
        classes = {n.lower(): kind for n, kind in vars(keras.optimizers).items()}
        kind = classes[name]
    options = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    if weight_decay is not None:
        # Muon leaves biases and convolutions to Adam, which has a separate weight decay.
        takes = inspect.signature(kind).parameters
        own = [key for key in takes if key.endswith("weight_decay")] or ["weight_decay"]
        options |= dict.fromkeys(own, weight_decay)
    return kind(learning_rate, **options)
