"""What a preset's training step needs on a TPU that is not here, compiled for it ahead of time.

    pip install -r requirements-tpu.txt
    python -m train.plan --preset oxford_flowers102 --topology v5e:2x4

The step of the preset's last stage, data parallel, is compiled by the compiler of the TPU itself
(libtpu); memory, work and collectives are read off the compiled program. A compilation takes
minutes, and what it says is kept in `$FLOWERS_DATA/plans`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import math
import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import cache_folder, check_output, replacing
from train.data.pipeline import progress
from train.experiment import Experiment, load_preset, preset_names

if TYPE_CHECKING:
    import jax

log = logging.getLogger("flowers")

# A v5e chip, https://cloud.google.com/tpu/docs/v5e: bfloat16 operations a second; bytes a second of
# its memory, and to the other chips, each way.
FLOPS, BANDWIDTH, INTERCONNECT = 197e12, 819e9, 200e9
MEMORY = round(15.75 * 2**30)  # bytes of the 16 GB that libtpu gives a program

# libtpu looks for a TPU, and waits for one, unless it is told what to think of.
ENVIRONMENT = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is touched, so several may plan at once
    "TF_CPP_MIN_LOG_LEVEL": "2",
}

MOST = 2**16  # photos a chip, beyond which the search does not go
QUICK = {"exec_time_optimization_effort": -1.0}  # of -1 to 1

# In a compiled program: what an instruction is called, what it gives, and what it is.
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][a-z-]*)\((.*)$", re.MULTILINE)
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
SHAPE = re.compile(r"\b([a-z]+)([0-9]+)\w*\[([0-9,]*)\](\{[^}]*\})?")
# Instructions that move nothing; what is copied in the background counts where it starts.
MOVELESS = ("bitcast", "constant", "copy-done", "get-tuple-element", "parameter", "tuple")


@dataclasses.dataclass(frozen=True)
class Step:
    """One compiled training step; bytes and FLOPs are those of a chip."""

    batch: int  # photos, on all chips together
    chips: int
    parameters: int  # bytes
    optimizer: int  # bytes
    inputs: int  # bytes of the chip's part of the batch
    temporaries: int  # bytes of activations, gradients and the like at their peak
    program: int  # bytes of the program, and of what alignment wastes
    flops: float
    traffic: int  # bytes read from memory and written to it
    collectives: dict[str, int]  # how many of each kind
    collective_bytes: int

    @property
    def memory(self) -> int:
        """Bytes of memory, all together."""
        return self.parameters + self.optimizer + self.inputs + self.temporaries + self.program

    @property
    def seconds(self) -> dict[str, float]:
        """The least time that computing, memory and the links between chips take, each alone."""
        moved = 2 * (self.chips - 1) / self.chips * self.collective_bytes  # by a ring
        return {
            "computing": self.flops / FLOPS,
            "memory": self.traffic / BANDWIDTH,
            "links": moved / INTERCONNECT,
        }

    @property
    def photos_a_second(self) -> float:
        """The roofline: an upper bound for all chips together."""
        return self.batch / max(self.seconds.values())


def lower(
    experiment: Experiment, classes: int, devices: Sequence[jax.Device], batch: int
) -> tuple[jax.stages.Lowered, dict[str, int]]:
    """The step of an experiment's last stage as `keras.distribution.DataParallel` would run it.

    Args:
        devices: of a topology, too, none of which is here.
        batch: photos on all devices together; a multiple of their number.

    Returns:
        The step, to be compiled, and the bytes of `parameters`, `optimizer` and `inputs` a device.
    """
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    part = _part(experiment, classes)
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
def _part(experiment: Experiment, classes: int):
    """What the last stage trains, ready for its steps, but without values."""
    import jax
    import keras

    from train.bundles.writer import build_network
    from train.devices import precision
    from train.loop import stages

    keras.config.set_dtype_policy(precision.policy(experiment.precision))
    built = []

    def build() -> None:
        network = build_network(experiment, classes, weights=None)
        part = stages.prepare(network, stages.stages(experiment)[-1], experiment, steps=100)
        part.optimizer.build(part.trainable_variables)
        labels = keras.ops.zeros((1, classes))
        part.compute_metrics(None, labels, labels)  # makes the metrics' variables
        built.append(part)

    jax.eval_shape(build)  # shapes alone: drawing the weights takes long
    return built[0]


def _bytes(arrays: Sequence[jax.ShapeDtypeStruct]) -> int:
    return sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)


def analyze(compiled: jax.stages.Compiled, batch: int, chips: int, sizes: dict[str, int]) -> Step:
    """What a compiled step says of itself; `sizes` as `lower` gives them."""
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

    With `in_memory`, only of those in the chip's main memory: S(1) and the like are others.
    """
    total = 0.0
    for _, bits, sides, layout in SHAPE.findall(shapes):
        if not (in_memory and "S(" in layout):
            total += math.prod(int(side) for side in sides.split(",") if side) * int(bits) / 8
    return int(total)


def chips_of(topology: str) -> list[jax.Device]:
    """The chips of a topology such as `v5e:2x4`, as JAX's devices.

    Raises:
        UserError: for a topology that there is not, or without libtpu.
    """
    if not re.fullmatch(r"v5e:[0-9]+x[0-9]+", topology):
        raise UserError(f"--topology must be v5e:ROWSxCOLUMNS, as in v5e:2x4, not {topology!r}")
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("the TPU's compiler is missing: pip install -r requirements-tpu.txt")
    import jax
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(topology, platform="tpu").devices)
    except jax.errors.JaxRuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"there is no topology {topology}: {reason}") from error


def compile_step(
    experiment: Experiment, classes: int, topology: str, batch: int, quick: bool = False
) -> Step | None:
    """Compile a step for a topology, or recall it; None where it does not fit into memory.

    Args:
        topology: as `chips_of` takes it.
        batch: photos on all chips together; a multiple of their number.
        quick: whether the compiler takes the least effort.
    """
    experiment = _shape(experiment)
    path = cache_folder() / "plans" / f"{_key(experiment, classes, topology, batch, quick)}.json"
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))
        return kept and Step(**kept)
    step = _compile(experiment, classes, topology, batch, quick)
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(step and dataclasses.asdict(step)), "utf-8")
    except OSError as error:
        log.warning("the plan is not kept (%s); set FLOWERS_DATA", error)
    return step


def _shape(experiment: Experiment) -> Experiment:
    """An experiment of which only that is left what may change a compiled step."""
    fields = {field.name: field.default for field in dataclasses.fields(Experiment)}
    others = ("data", "classes", "data_list", "skip_bad", "serve_size", "crop", "crop_scale")
    others += ("gallery", "weights", "batch_size", "learning_rate", "learning_rate_finetune")
    others += ("teacher", "average", "seed", "outliers")
    plain = {name: fields[name] for name in others}
    return dataclasses.replace(experiment, **plain, rate_low=0.0)


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


def largest(memory_of: Callable[[int], float | None], guess: int, limit: float) -> int:
    """How many photos a chip fit, at most 65,536, to one part in 16; 0 where not one does.

    Memory grows nearly linearly, so the search goes where a line through what is known comes close
    to the limit, and halves what is left after a number that does not fit.

    Args:
        memory_of: the memory that a step of so many photos takes, None where it cannot be compiled.
        guess: where to begin.
        limit: the memory that there is; of numbers that leave less than 1/16 of it none is larger.
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
        # A little below the limit, for a step that does not fit says nothing of its memory.
        number = max(low + int((0.98 * limit - memory) / slope), low + max(low // 16, 1))
        number = min(number, MOST if high == math.inf else (low + high) // 2)
    return low


def plan(
    experiment: Experiment, classes: int, topology: str, batch: int | None, quick: bool
) -> tuple[list[Step], list[Step]]:
    """Compile steps of an experiment; the report's, and all of them.

    Args:
        batch: photos on all chips together; None compiles the experiment's own batch, then searches
            for the largest that fits.

    Raises:
        UserError: for a topology that there is not, a batch that does not give every chip a photo,
            and where no step fits.
    """
    chips = len(chips_of(topology))
    own = (experiment.batch_size if batch is None else batch) // chips
    if own < 1:
        raise UserError(f"--batch-size must be {chips} or more, a photo for each of {chips} chips")
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
            kept = _outputs(_shape(experiment), classes)
            numbers.append(largest(memory_of, max(int(MEMORY / kept), 1), MEMORY))
    found = {number: step for number, step in steps.items() if step is not None}
    if own not in found:
        most = f"; {numbers[-1] * chips:,} do" if numbers[-1] in found else ""
        raise UserError(f"a step of {own * chips:,} photos does not fit {chips} chips{most}")
    return [found[number] for number in numbers], list(found.values())


def _outputs(experiment: Experiment, classes: int) -> int:
    """Bytes of what all layers of the trained part give for a photo, in two bytes each."""
    from flowers_model.network import layers_of

    outputs = [layer.output for layer in layers_of(_part(experiment, classes))]
    return 2 * sum(math.prod(output.shape[1:]) for output in outputs)


PARTS = {
    "parameters": "parameters",
    "optimizer": "optimizer",
    "inputs": "photos, labels",
    "temporaries": "activations, temporaries",
    "program": "program, alignment",
}
TIMES = ("computing, ms", "memory, ms", "links, ms")
WORK = "\nA step's work, a chip, and at most how many photos a second all chips train on:\n"


def tables(steps: list[tuple[str, Step]]) -> str:
    """What steps need, memory and time, as Markdown; each with the title of its row."""
    memory = [("", "photos a step", "a chip", *PARTS.values(), "together", "of all")]
    work = [("", "photos a step", "GFLOP", "GB", "collectives", "their MB", *TIMES, "photos/s")]
    for title, step in steps:
        batch = f"{step.batch:,}"
        sizes = [_digits(getattr(step, part) / 1e6) for part in (*PARTS, "memory")]
        share = f"{step.memory / MEMORY:.0%}"
        memory.append((title, batch, f"{step.batch // step.chips:,}", *sizes, share))
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(step.collectives.items()))
        work.append(
            (
                *(title, batch, _digits(step.flops / 1e9), _digits(step.traffic / 1e9)),
                *(kinds or "none", _digits(step.collective_bytes / 1e6)),
                *(_digits(seconds * 1e3) for seconds in step.seconds.values()),
                f"{step.photos_a_second:,.0f}",
            )
        )
    return "\n".join(["Memory, MB a chip:\n", *_markdown(memory), WORK, *_markdown(work)])


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _markdown(rows: list[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def picture(steps: list[Step], title: str, path: pathlib.Path) -> None:
    """Draw where a chip's memory goes, by photos a chip."""
    import matplotlib.figure

    from train.reports.style import GREY, finish

    steps = sorted(steps, key=lambda step: step.batch)
    figure = matplotlib.figure.Figure(figsize=(7, 3.6), layout="constrained")
    ax = figure.subplots()
    names = [f"{step.batch // step.chips:,}" for step in steps]
    base = [0.0] * len(steps)
    for part, label in PARTS.items():
        sizes = [getattr(step, part) / 1e9 for step in steps]
        ax.bar(names, sizes, 0.6, bottom=base, label=label)
        base = [a + b for a, b in zip(base, sizes, strict=True)]
    ax.axhline(MEMORY / 1e9, color=GREY, linestyle=":", label="what there is")
    ax.set_xlabel("photos a chip")
    ax.set_ylabel("GB a chip")
    ax.set_title(title)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], frameon=False, loc="outside right upper")
    finish(figure, path)


ASSUMPTIONS = f"""
Assumed of a v5e chip: {FLOPS / 1e12:.0f} TFLOP/s in bfloat16, {BANDWIDTH / 1e9:.0f} GB/s to its
memory, {INTERCONNECT / 1e9:.0f} GB/s each way to the others, {MEMORY / 1e9:.1f} GB for a program.
Data parallel; bfloat16 where the preset does not say otherwise; the last stage, which for a preset
that ends with the head is the head on kept features. FLOPs as the compiler counts them, all at the
matrix units' peak; GB are what the program's instructions read from the chip's memory and write to
it, without alignment; a ring moves the collectives' bytes. The bound takes the slowest of the three
alone, as if they overlapped, and no time for latency, reading, decoding and augmenting.
"""


@reporting_mistakes
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(description="Plan a preset's training on TPU v5e chips, without one.")
    names = preset_names()
    parser.add_argument(
        "--preset", default="quickstart", help=f"all, or one of {', '.join(names)}", metavar="NAME"
    )
    parser.add_argument(
        "--topology", default="v5e:2x4", help="of the chips; v5e:2x4", metavar="v5e:RxC"
    )
    parser.add_argument(
        "--classes", type=int, default=102, help="number of classes; 102", metavar="N"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        help="photos on all chips together (the preset's, and the most that fit)",
        metavar="N",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="let the compiler take the least effort: several times faster, but with more memory",
    )
    parser.add_argument(
        "--picture", help="where to draw the memory of the last preset", metavar="FILE.png"
    )
    os.environ |= ENVIRONMENT
    rows: list[tuple[str, Step]] = []
    failed = False
    options = parser.parse_args(arguments)
    if options.classes < 2:
        raise UserError(f"--classes must be 2 or more, not {options.classes}")
    chosen = names if options.preset == "all" else [options.preset]
    experiments = {name: load_preset(name).EXPERIMENT for name in chosen}
    chips_of(options.topology)
    if options.picture:
        check_output(options.picture)
    for name, experiment in experiments.items():
        if experiment.precision == "auto":
            experiment = dataclasses.replace(experiment, precision="mixed_bfloat16")
        settings = options.classes, options.topology, options.batch_size, options.quick
        try:
            report, compiled = plan(experiment, *settings)
        except UserError as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            failed = True
            continue
        rows += [(f"{name}, {options.topology}", step) for step in report]
    if not rows:
        return 2
    print(tables(rows))
    print(ASSUMPTIONS)
    if options.picture:
        picture(compiled, rows[-1][0], pathlib.Path(options.picture))
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
