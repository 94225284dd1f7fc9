"""Where the time of a training step goes on JAX, with the settings of `train/run.py`.

    python benchmarks/profile_step.py MODEL [--batch-size 32]

MODEL is one of those in benchmarks/training.py. Sums XLA's trace of a step by the type of layer
that each compiled operation comes from, forward and backward; one that fuses several layers counts
for the layer that XLA names it after. The times of parallel threads add up, so this prints shares.
"""

from __future__ import annotations

import argparse
import collections
import glob
import os
import pathlib
import re
import sys
import tempfile
import time

STEPS = 3


def compiled_step(network):
    """A training step of AdamW as one compiled function, and its arguments."""
    import jax
    import keras

    optimizer = keras.optimizers.AdamW(1e-4)
    optimizer.build(network.trainable_variables)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(trainable, non_trainable, x, y):
        logits, non_trainable = network.stateless_call(trainable, non_trainable, x, training=True)
        return entropy(y, logits), non_trainable

    def step(trainable, non_trainable, state, x, y):
        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, non_trainable), gradients = gradient(trainable, non_trainable, x, y)
        with jax.named_scope("optimizer"):
            trainable, state = optimizer.stateless_apply(state, gradients, trainable)
        return value, trainable, non_trainable, state

    groups = network.trainable_variables, network.non_trainable_variables, optimizer.variables
    values = [[variable.value for variable in group] for group in groups]
    return step, values


def kind_of(layer) -> str:
    """The class of a layer, with the kernel size of a convolution."""
    size = "x".join(map(str, getattr(layer, "kernel_size", ())))
    return f"{type(layer).__name__} {size}".strip()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()

    import jax
    import training

    from flowers_model.network import layers_of

    network = training.keras_network(arguments.model, fast=True)
    step, values = compiled_step(network)
    x, y = training.photos(arguments.batch_size)
    compiled = jax.jit(step).lower(*values, x, y).compile()
    jax.block_until_ready(compiled(*values, x, y))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        with jax.profiler.trace(folder):
            for _ in range(STEPS):
                jax.block_until_ready(compiled(*values, x, y))
        seconds = (time.perf_counter() - started) / STEPS
        [path] = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        trace = jax.profiler.ProfileData.from_file(path)

    kinds = {layer.name: kind_of(layer) for layer in layers_of(network)}
    origins = dict(re.findall(r"%([\w.-]+) = [^\n]*op_name=\"([^\"]*)\"", compiled.as_text()))
    shares = collections.Counter()
    for plane in trace.planes:
        for line in plane.lines:
            for event in line.events:
                origin = origins.get(event.name)
                if origin is None:
                    continue
                words = re.split(r"[/()]", origin)
                kind = next((kinds[word] for word in words if word in kinds), None)
                if kind is None:
                    kind = "optimizer" if "optimizer" in words else "other"
                way = "backward" if "transpose" in words else "forward"
                shares[kind, way] += event.duration_ns
    total = sum(shares.values())
    print(f"{arguments.model}: {arguments.batch_size / seconds:.1f} photos per second while traced")
    by_kind = collections.Counter()
    for (kind, _), value in shares.items():
        by_kind[kind] += value
    print(f"{'':28}{'forward':>9}{'backward':>9}{'both':>9}")
    for kind, value in by_kind.most_common():
        ways = (shares[kind, "forward"], shares[kind, "backward"], value)
        print(f"{kind:28}" + "".join(f"{part / total:9.1%}" for part in ways))


if __name__ == "__main__":
    here = pathlib.Path(__file__).resolve()
    sys.path[0] = str(here.parent.parent)
    sys.path.append(str(here.parent))
    os.environ["KERAS_BACKEND"] = "jax"
    from train.devices import environment

    environment.prepare()
    main()
