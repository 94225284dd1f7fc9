"""Export the network of a bundle to ONNX or LiteRT.

    python -m flowers_model.export --format litert BUNDLE

ONNX is written to `model.onnx`, which serving uses; LiteRT to `model.tflite` and
`model-float16.tflite`, for phones.
"""

import contextlib
import functools
import importlib.util
import logging
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence

from flowers_model.command import Parser, reporting_mistakes
from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.installation import install_line, spoken
from flowers_model.storage import narrow_graph

# The ONNX export uses Keras's JAX backend, whichever backend trained the network: the graphs that
# the TensorFlow backend writes for some backbones fail at run time. A process cannot change its
# backend, so `write_onnx` starts a new one where it has another, and where JAX does not compute on
# one CPU. That takes some seconds, most of them for imports.
OUTPUTS = ("logits", "embedding", "features", "class_maps")


def write_onnx(folder: str | os.PathLike) -> pathlib.Path:
    """Write `folder/model.onnx` from the Keras network saved in `folder`.

    The graph maps `photos`, float32 `(N, S, S, 3)` in 0..255 with any N, to `OUTPUTS`, whose
    shapes are those of `flowers_model.network.with_taps`.

    >>> write_onnx("runs/RUN/bundle")
    PosixPath('runs/RUN/bundle/model.onnx')

    Raises:
        RuntimeError: if an export in a process of its own fails, with the last line of its output,
            then all of it.
    """
    import keras

    from flowers_model.network import has_accelerator

    folder = pathlib.Path(folder)
    divided = keras.distribution.distribution() is not None
    if keras.backend.backend() == "jax" and not divided and not has_accelerator():
        export(folder)
        return folder / "model.onnx"
    root = pathlib.Path(__file__).resolve().parent.parent
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.getenv("PYTHONPATH")])]),
    }
    # XLA_FLAGS may ask for several devices, which an export does not need.
    environment.pop("XLA_FLAGS", None)
    command = [sys.executable, "-m", "flowers_model.export", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = f"{done.stdout}{done.stderr}".strip()
        last = said.splitlines()[-1] if said else f"status {done.returncode}"
        raise RuntimeError(f"{last}\n{said}")
    return folder / "model.onnx"


def export(folder: pathlib.Path) -> None:
    """Write `folder/model.onnx` in this process, where Keras has the JAX backend."""
    import keras
    import onnx

    from flowers_model.network import load, with_taps

    _import_plugins()
    _tile_arrays()
    network = with_taps(load(folder))
    photos = keras.InputSpec(shape=(None, *network.input.shape[1:]), dtype="float32", name="photos")
    with replacing(folder / "model.onnx") as path:
        with _root_logger_kept():
            network.export(str(path), format="onnx", verbose=False, input_signature=[photos])
        graph = onnx.load(path)
        _name_outputs(graph.graph)
        _mend_max_pools(graph.graph)
        narrow_graph(graph.graph)
        onnx.checker.check_model(graph)
        onnx.save(graph, path)


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """jax2onnx calls `logging.info`, which gives a root logger without handlers one for stderr."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


def _import_plugins() -> None:
    """Import only the plugins of jax2onnx for JAX's own operations, which is all that Keras uses.

    By default, jax2onnx also imports its examples and its plugins for Flax, Equinox and dm-pix,
    which build networks when imported: that takes most of the time of an export.
    """
    from jax2onnx.plugins import plugin_system

    folder = pathlib.Path(plugin_system.__file__).parent / "jax"
    plugin_system._import_tree(folder, "jax2onnx.plugins.jax")
    plugin_system._already_imported_plugins = True


@functools.cache  # once per process
def _tile_arrays() -> None:
    """Have `keras.ops.tile` give JAX arrays: jax2onnx 0.17 refuses Keras's variables there.

    The class tokens of keras-hub's transformers are tiled.
    """
    import keras
    from keras.src.backend.jax import numpy as operations

    tile = operations.tile
    operations.tile = lambda x, repeats: tile(keras.ops.convert_to_tensor(x), repeats)


def _name_outputs(graph) -> None:
    """Rename the graph's outputs, which the exporter numbers, to `OUTPUTS`."""
    names = dict(zip((output.name for output in graph.output), OUTPUTS, strict=True))
    for node in graph.node:
        for values in (node.input, node.output):
            for i, value in enumerate(values):
                values[i] = names.get(value, value)
    for value in (*graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)


def _mend_max_pools(graph) -> None:
    """Turn max-pooling over all four axes of (N, H, W, C), which ONNX Runtime rejects, into 2D.

    jax2onnx 0.17 writes Unsqueeze, Unsqueeze, MaxPool with four-sided windows, Squeeze.
    """
    import onnx

    makers = {output: node for node in graph.node for output in node.output}
    users = {value: node for node in graph.node for value in node.input}
    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        window = {attribute.name: list(attribute.ints) for attribute in pool.attribute}
        if len(window["kernel_shape"]) != 4:
            continue
        outer = makers[pool.input[0]]
        inner = makers[outer.input[0]]
        squeeze = users[pool.output[0]]
        nchw, pooled = f"{pool.output[0]}_nchw", f"{pool.output[0]}_pooled"
        sides = {name: values[1:3] for name, values in window.items() if name != "pads"}
        if "pads" in window:  # befores of all axes, then afters
            sides["pads"] = window["pads"][1:3] + window["pads"][5:7]
        mended = [
            onnx.helper.make_node("Transpose", [inner.input[0]], [nchw], perm=[0, 3, 1, 2]),
            onnx.helper.make_node("MaxPool", [nchw], [pooled], **sides),
            onnx.helper.make_node("Transpose", [pooled], [squeeze.output[0]], perm=[0, 2, 3, 1]),
        ]
        # A graph's nodes are in the order of execution.
        place = list(graph.node).index(squeeze)
        for number, node in enumerate(mended):
            graph.node.insert(place + number, node)
        for node in (inner, outer, pool, squeeze):
            graph.node.remove(node)
    used = {value for node in graph.node for value in node.input}
    for constant in [c for c in graph.initializer if c.name not in used]:
        graph.initializer.remove(constant)


@reporting_mistakes
def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    parser = Parser(
        spoken("export"),
        description=__doc__,
    )
    parser.add_argument("bundle", metavar="BUNDLE", type=pathlib.Path, help="the bundle's folder")
    parser.add_argument(
        "--format",
        choices=("onnx", "litert"),
        default="onnx",
        help="format of the exported network",
    )
    options = parser.parse_args(arguments)
    if not (options.bundle / "model.weights.h5").is_file():
        raise UserError(
            f"{str(options.bundle)!r} is not a bundle with a network: it has no model.weights.h5"
        )
    if options.format == "onnx":
        export(options.bundle)
        return 0
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(f"TensorFlow writes LiteRT files: {install_line('train')}")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from flowers_model.litert import write_litert

    for precision, (path, difference) in write_litert(options.bundle).items():
        megabytes = path.stat().st_size / 1e6
        print(
            f"{path}: {precision}, {megabytes:.1f} MB, probabilities within {difference:.1g} of "
            "the network's"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
