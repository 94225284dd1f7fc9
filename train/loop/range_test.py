"""The learning rate range test (Smith, 2015, https://arxiv.org/abs/1506.01186)."""

from __future__ import annotations

import dataclasses

from train.devices.progress import progress
from train.loop.stages import compile_part, stage_batches, trained_part
from train.loop.task import Task, stages
from train.optim.schedules import diverged, range_rates


def range_test(task: Task, steps: int) -> list[dict[str, float]]:
    """Train the first stage at increasing learning rates, which ruins the network.

    Args:
        steps: the maximal number of steps; the test ends when the loss diverges.

    Returns:
        The `step`, `learning_rate` and `loss` of each step.
    """
    # Every epoch has at least one step, so this many epochs suffice.
    stage = dataclasses.replace(stages(task.experiment)[0], epochs=steps)
    batches, *_ = stage_batches(task, stage)
    data = batches(first_epoch=0, epochs=steps)
    part = trained_part(task.network, stage, task.experiment)
    rates = range_rates(steps)
    compile_part(part, stage, task.experiment, float(rates[0]))
    rows = []
    with progress(None, "range test", steps, "steps") as bar:
        for step, (rate, batch) in enumerate(zip(rates, data.as_numpy_iterator(), strict=False)):
            part.optimizer.learning_rate = rate
            loss = float(part.train_on_batch(*batch, return_dict=True)["loss"])
            rows.append({"step": step, "learning_rate": float(rate), "loss": loss})
            bar.update(1)
            if diverged([row["loss"] for row in rows]):
                break
    return rows
