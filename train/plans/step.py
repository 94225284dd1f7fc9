"""Compile a training step for TPU v5e chips that need not be present."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowers_model.errors import UserError, reason
from flowers_model.files import cache_folder, replacing
from flowers_model.installation import install_line
from train.experiment import Experiment

if TYPE_CHECKING:
    import jax

log = logging.getLogger("flowers")

# A v5e chip, https://cloud.google.com/tpu/docs/v5e: bfloat16 operations per second; bytes per
# second from and to its memory, and to other chips in each direction.
FLOPS, BANDWIDTH, INTERCONNECT = 197e12, 819e9, 200e9
MEMORY = round(15.75 * 2**30)  # bytes that libtpu gives a program, of 16 GB

# Without these, libtpu searches for a TPU and waits for it.
ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is used, so several plans may run at once
    "TF_CPP_MIN_LOG_LEVEL": "2",
}

QUICK = {"exec_time_optimization_effort": -1.0}  # in -1..1

# An instruction in a compiled program: its name, its result, and its kind.
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][a-z-]*)\((.*)$", re.MULTILINE)

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

SHAPE = re.compile(r"\b([a-z]+)([0-9]+)\w*\[([0-9,]*)\](\{[^}]*\})?")

# Instructions that move no data; background copies are counted where they start.
MOVELESS = ("bitcast", "constant", "copy-done", "get-tuple-element", "parameter", "tuple")


@dataclasses.dataclass(frozen=True)
class Step:
    """A compiled training step; bytes and FLOPs are per chip."""

    batch: int  # photos on all chips
    chips: int
    parameters: int  # bytes
    optimizer: int  # bytes
    inputs: int  # bytes of the chip's part of the batch
    temporaries: int  # peak bytes of activations, gradients and other temporaries
    program: int  # bytes of the program and of padding for alignment
    flops: float
    traffic: int  # bytes read from memory and written to it
    collectives: dict[str, int]  # how many of each kind
    collective_bytes: int

    @property
    def memory(self) -> int:
        """Bytes of memory in total."""
        return self.parameters + self.optimizer + self.inputs + self.temporaries + self.program

    @property
    def seconds(self) -> dict[str, float]:
        """Lower bounds of the time for computing, for memory and for the links between chips."""
        moved = 2 * (self.chips - 1) / self.chips * self.collective_bytes  # in a ring
        return {
            "computing": self.flops / FLOPS,
            "memory": self.traffic / BANDWIDTH,
            "links": moved / INTERCONNECT,
        }

    @property
    def photos_a_second(self) -> float:
        """The roofline: an upper bound over all chips."""
        return self.batch / max(self.seconds.values())


def lower(
    experiment: Experiment, classes: int, devices: Sequence[jax.Device], batch: int
) -> tuple[jax.stages.Lowered, dict[str, int]]:
    """The step of an experiment's last stage as `keras.distribution.DataParallel` would run it.

    Args:
        devices: they need not be present, as those of a topology.
        batch: photos on all devices; a multiple of their number.

    Returns:
        The step, lowered, and the bytes of `parameters`, `optimizer` and `inputs` per device.
    """
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    part = abstract_part(experiment, classes)
    mesh = jax.sharding.Mesh(np.array(devices), ("batch",))
    whole, rows = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))

    def copied(variables: list) -> list:
        return [jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=whole) for v in variables]

    state = (
        copied(part.trainable_variables),
        copied(part.non_trainable_variables),
        copied(part.optimizer.variables),
        copied(part.metrics_variables),
    )
    shapes = [(batch, *part.input.shape[1:]), (batch, classes)]
    if experiment.class_weights != "none":
        shapes.append((batch,))
    data = tuple(jax.ShapeDtypeStruct(shape, np.float32, sharding=rows) for shape in shapes)
    shardings = jax.tree.map(lambda _: whole, state)
    step = jax.jit(part.train_step, donate_argnums=0, out_shardings=(None, shardings))
    sizes = {
        "parameters": _bytes(state[0] + state[1]),
        "optimizer": _bytes(state[2]),
        "inputs": _bytes(data) // len(devices),
    }
    return step.lower(state, data), sizes


@functools.cache
def abstract_part(experiment: Experiment, classes: int):
    """The part that the last stage trains, compiled, without values."""
    import jax
    import keras

    from train.devices import precision
    from train.loop import stages, task
    from train.loop.network import build_network

    keras.config.set_dtype_policy(precision.policy(experiment.precision))
    built = []

    def build() -> None:
        network = build_network(experiment, classes, weights=None)
        part = stages.prepare(network, task.stages(experiment)[-1], experiment, steps=100)
        part.optimizer.build(part.trainable_variables)
        labels = keras.ops.zeros((1, classes))
        part.compute_metrics(None, labels, labels)  # creates the variables of the metrics
        built.append(part)

    jax.eval_shape(build)  # only shapes, because drawing weights takes long
    return built[0]


def _bytes(arrays: Sequence[jax.ShapeDtypeStruct]) -> int:
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)


def analyze(compiled: jax.stages.Compiled, batch: int, chips: int, sizes: dict[str, int]) -> Step:
    """Read a `Step` off a compiled step; `sizes` are those of `lower`."""
    memory, text = compiled.memory_analysis(), compiled.as_text()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    collectives, collective_bytes = count_collectives(text)
    return Step(
        batch=batch,
        chips=chips,
        **sizes,
        temporaries=memory.temp_size_in_bytes,
        program=kept - sum(sizes.values()) + memory.generated_code_size_in_bytes,
        flops=compiled.cost_analysis()["flops"],
        traffic=count_traffic(text),
        collectives=collectives,
        collective_bytes=collective_bytes,
    )


def count_collectives(program: str) -> tuple[dict[str, int], int]:
    """How many collectives of each kind a compiled program has, and the bytes that they give."""
    kinds: dict[str, int] = {}
    total = 0
    for _, shape, operation, _ in INSTRUCTION.findall(program):
        kind = operation.removesuffix("-start")
        if kind in COLLECTIVES:
            kinds[kind] = kinds.get(kind, 0) + 1
            total += _size(shape)
    return kinds, total


def count_traffic(program: str) -> int:
    """Bytes that a compiled program reads from memory and writes to it.

    XLA's own count takes what stays in the chip's 128 MB beside its arithmetic for memory, too.
    """
    main = program[program.index("\nENTRY ") :]
    found = INSTRUCTION.findall(main)
    sizes = {name: _size(shape, in_memory=True) for name, shape, _, _ in found}
    total = 0
    for name, _, operation, rest in found:
        if operation in MOVELESS:
            continue
        total += sizes[name]  # of a copy in the background: what is copied, and the copy
        if not operation.endswith("-start"):
            operands = re.findall(r"%([\w.-]+)", rest.partition(")")[0])
            total += sum(sizes.get(operand, 0) for operand in operands)
    return total


def _size(shapes: str, in_memory: bool = False) -> int:
    """Bytes of shapes such as `(f32[8,128]{1,0:T(8,128)S(1)}, bf16[8]{0})`.

    With `in_memory`, only those in the chip's main memory: S(1) and the like are other memories.
    """
    total = 0.0
    for _, bits, sides, layout in SHAPE.findall(shapes):
        if not (in_memory and "S(" in layout):
            total += math.prod(int(side) for side in sides.split(",") if side) * int(bits) / 8
    return int(total)


def chips_of(topology: str) -> list[jax.Device]:
    """The chips of a topology such as `v5e:2x4`, as JAX's devices.

    Raises:
        UserError: if there is no such topology, or libtpu is missing.
    """
    if not re.fullmatch(r"v5e:[0-9]+x[0-9]+", topology):
        raise UserError(f"--topology must be v5e:ROWSxCOLUMNS, as in v5e:2x4, not {topology!r}")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(f"the TPU's compiler is missing: {install_line('tpu')}")
    import jax
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(topology, platform="tpu").devices)
    except jax.errors.JaxRuntimeError as error:
        raise UserError(f"there is no topology {topology}: {reason(error)}") from error


def compile_step(
    experiment: Experiment, classes: int, topology: str, batch: int, quick: bool = False
) -> Step | None:
    """Compile a step for a topology, or read it from the cache; None if it is out of memory.

    Args:
        topology: as `chips_of` takes it.
        batch: photos on all chips; a multiple of their number.
        quick: whether to compile with the least optimization.
    """
    experiment = compiled_settings(experiment)
    path = cache_folder() / "plans" / f"{_key(experiment, classes, topology, batch, quick)}.json"
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))
        return kept and Step(**kept)
    step = _compile(experiment, classes, topology, batch, quick)
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(step and dataclasses.asdict(step)), "utf-8")
    except OSError as error:
        log.warning("the plan is not cached (%s); set FLOWERS_DATA", error)
    return step


def compiled_settings(experiment: Experiment) -> Experiment:
    """The experiment with every setting that cannot change the compiled step reset."""
    others = [one for one in dataclasses.fields(Experiment) if not one.metadata["compiled"]]
    return dataclasses.replace(experiment, **{one.name: one.default for one in others})


def _key(experiment: Experiment, *others) -> str:
    versions = [importlib.metadata.version(name) for name in ("keras", "jax", "libtpu")]
    described = json.dumps([dataclasses.asdict(experiment), others, versions])
    return hashlib.blake2b(described.encode(), digest_size=12).hexdigest()


def _compile(
    experiment: Experiment, classes: int, topology: str, batch: int, quick: bool
) -> Step | None:
    import jax

    chips = chips_of(topology)
    lowered, sizes = lower(experiment, classes, chips, batch)
    try:
        compiled = lowered.compile(compiler_options=QUICK if quick else None)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise
    return analyze(compiled, batch, len(chips), sizes)
