"""Search for the largest batch that fits into memory, by compiling steps."""

from __future__ import annotations

import math
from collections.abc import Callable

from flowers_model.errors import UserError
from train.devices.progress import progress
from train.experiment import Experiment
from train.plans.step import MEMORY, Step, abstract_part, chips_of, compile_step, compiled_settings

MOST = 2**16  # photos per chip, the upper end of the search


def largest(memory_of: Callable[[int], float | None], guess: int, limit: float) -> int:
    """The largest number of photos per chip that fits, up to 65,536 and within 1/16; 0 if none.

    Memory grows nearly linearly, so the search extrapolates a line to just below the limit, and
    bisects after a number that does not fit.

    Args:
        memory_of: the memory of a step with that many photos, None if it cannot be compiled.
        guess: where to start.
        limit: the available memory; the search ends when less than 1/16 of it is left.
    """
    low, high, number = 0, math.inf, min(guess, MOST)
    before, less = 0, 0.0
    while high - low > max(low // 16, 1):
        memory = memory_of(number)
        if memory is None or memory > limit:
            high = number
            number = (low + high) // 2
            continue
        slope = max(memory - less, 1) / (number - before)
        low = before = number
        less = memory
        if memory > limit * 15 / 16 or low == MOST:
            break
        # A little below the limit, because a step that does not fit does not tell its memory.
        number = max(low + int((0.98 * limit - memory) / slope), low + max(low // 16, 1))
        number = min(number, MOST if high == math.inf else (low + high) // 2)
    return low


def plan(
    experiment: Experiment, classes: int, topology: str, batch: int | None, quick: bool
) -> tuple[list[Step], list[Step]]:
    """Compile steps of an experiment; returns those to report, and all that were compiled.

    Args:
        batch: photos per step on all chips; None for the batch of the experiment, and for the
            largest one that fits.

    Raises:
        UserError: if there is no such topology, the batch is smaller than the number of chips, or
            no step fits.
    """
    chips = len(chips_of(topology))
    own = (experiment.batch_size if batch is None else batch) // chips
    if own < 1:
        raise UserError(f"--batch-size must be {chips} or more, at least one photo for each chip")
    steps: dict[int, Step | None] = {}
    with progress(None, "compiling", None, "steps") as bar:

        def compiled(number: int) -> Step | None:
            bar.set_description_str(f"compiling a step of {number * chips:,} photos")
            steps[number] = compile_step(experiment, classes, topology, number * chips, quick)
            bar.update(1)
            return steps[number]

        def memory_of(number: int) -> int | None:
            step = compiled(number)
            return step and step.memory

        numbers = [own]
        compiled(own)
        if batch is None:
            kept = _outputs(compiled_settings(experiment), classes)
            numbers.append(largest(memory_of, max(int(MEMORY / kept), 1), MEMORY))
    found = {number: step for number, step in steps.items() if step is not None}
    if own not in found:
        most = f"; {numbers[-1] * chips:,} do" if numbers[-1] in found else ""
        raise UserError(f"a step of {own * chips:,} photos does not fit {chips} chips{most}")
    return [found[number] for number in numbers], list(found.values())


def _outputs(experiment: Experiment, classes: int) -> int:
    """Bytes of all layers' outputs for one photo in the trained part, two bytes per number."""
    from flowers_model.network import layers_of

    outputs = [layer.output for layer in layers_of(abstract_part(experiment, classes))]
    return 2 * sum(math.prod(output.shape[1:]) for output in outputs)
