"""Replace the last layer of a bundle's network, in ONNX and in Keras's files, without Keras.

A head of a single dense layer maps the embedding `(N, D)` to logits `(N, C)`, with a kernel
`(D, C)` and a bias `(C,)`. These are in three files, and all of them are changed, so that the ONNX
and Keras networks of the bundle stay equal.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flowers_model.bundle import BundleError
from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.storage import narrowed

if TYPE_CHECKING:
    import onnx

INSTALL = "teaching needs the packages onnx and h5py: pip install onnx h5py"


class Head(NamedTuple):
    """The last layer: logits are `embedding @ kernel + bias`."""

    kernel: np.ndarray  # float32 (D, C)
    bias: np.ndarray  # float32 (C,)


def read_head(folder: str | os.PathLike) -> Head:
    """The last layer of a bundle's `model.onnx`.

    Raises:
        UserError: if there is more than one layer between the embedding and the logits.
    """
    found = _Graph(_load(folder))
    return Head(found.kernel, found.bias)


def write_head(folder: str | os.PathLike, head: Head) -> None:
    """Replace the last layer in `model.onnx`, `model.weights.h5` and `config.json`.

    Args:
        head: a head for any number of classes. Its kernel is stored in float16 if that is exact.

    Raises:
        UserError: as `read_head`.
        BundleError: if the Keras files and `model.onnx` have different last layers.
    """
    folder = pathlib.Path(folder)
    model = _load(folder)
    graph = _Graph(model)
    old = Head(graph.kernel, graph.bias)
    # Everything is checked before anything is written.
    config = _config(folder, len(old.bias), len(head.bias))
    _write_weights(folder / "model.weights.h5", old, head)
    graph.replace(head)
    with replacing(folder / "model.onnx") as temporary:
        temporary.write_bytes(model.SerializeToString())
    with replacing(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(config), "utf-8")


def _load(folder: str | os.PathLike) -> onnx.ModelProto:
    try:
        import onnx
    except ImportError:
        raise UserError(INSTALL) from None
    try:
        return onnx.load(pathlib.Path(folder) / "model.onnx")
    except FileNotFoundError:
        raise BundleError(f"no bundle at {str(folder)!r}: model.onnx is missing") from None


class _Graph:
    """The last layer in an ONNX graph that `flowers_model.export` wrote.

    It occurs twice as a product and a sum: with the embedding for the logits, and with each
    position of the feature map for the class maps.
    """

    def __init__(self, model: onnx.ModelProto):
        self._graph = model.graph
        self._constants = {constant.name: constant for constant in self._graph.initializer}
        self._makers = {name: node for node in self._graph.node for name in node.output}
        add = self._makers.get("logits")
        product = self._makers.get(add.input[0]) if add and add.op_type == "Add" else None
        if product is None or product.op_type != "MatMul" or product.input[0] != "embedding":
            raise UserError(
                "this model's head has hidden layers: only one without any (head_units: none) "
                "can be taught"
            )
        self._kernel_name, self._bias_name = product.input[1], add.input[1]
        self.kernel = self._values(self._kernel_name)
        self.bias = self._values(self._bias_name)

    def _source(self, name: str) -> onnx.TensorProto:
        """The constant behind a value: the value itself, or the input of a cast."""
        maker = self._makers.get(name)
        return self._constants[maker.input[0] if maker is not None else name]

    def _values(self, name: str) -> np.ndarray:
        import onnx

        return onnx.numpy_helper.to_array(self._source(name)).astype(np.float32)

    def replace(self, head: Head) -> None:
        """Replace the last layer."""
        import onnx

        graph, count = self._graph, len(head.bias)
        source = self._source(self._kernel_name)
        kernel = narrowed(head.kernel)
        if source.name != self._kernel_name and kernel.dtype == np.float32:
            graph.node.remove(self._makers[self._kernel_name])  # the cast
            source.name = self._kernel_name
        if source.name == self._kernel_name and kernel.dtype == np.float16:
            kernel = head.kernel  # there is no cast
        for constant, values in ((source, kernel), (self._source(self._bias_name), head.bias)):
            constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))

        reshape = self._makers["class_maps"]
        shape = self._source(reshape.input[1])
        sides = onnx.numpy_helper.to_array(shape).copy()
        sides[-1] = count
        shape.CopyFrom(onnx.numpy_helper.from_array(sides, shape.name))
        for output in graph.output:
            if output.name in ("logits", "class_maps"):
                output.type.tensor_type.shape.dim[-1].dim_value = count
        # Intermediate values have new shapes, too, which the runtime infers.
        between = {"logits", "class_maps"} | {
            name
            for node in graph.node
            if {self._kernel_name, self._bias_name} & {*node.input}
            for name in node.output
        }
        between |= {self._kernel_name, source.name, self._bias_name}
        for info in [info for info in graph.value_info if info.name in between]:
            graph.value_info.remove(info)


def _config(folder: pathlib.Path, old: int, new: int) -> dict:
    """Keras's configuration of the network, with `new` logits."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        [layer] = [one for one in config["config"]["layers"] if one["name"] == "logits"]
        if layer["config"]["units"] != old:
            raise BundleError("config.json and model.onnx have different numbers of classes")
    except (KeyError, TypeError, ValueError):
        raise BundleError("config.json describes no network whose last layer is `logits`") from None
    layer["config"]["units"] = new
    return config


def _write_weights(path: pathlib.Path, old: Head, new: Head) -> None:
    """Replace the last layer in a `.weights.h5` file of Keras, in which layers have numbers."""
    try:
        import h5py
    except ImportError:
        raise UserError(INSTALL) from None

    with h5py.File(path) as weights:
        places = [
            name
            for name, layer in weights["layers"].items()
            if {"0", "1"} == set(layer.get("vars", ()))
            and layer["vars/0"].shape == old.kernel.shape
            and np.array_equal(layer["vars/0"][()].astype(np.float32), old.kernel)
        ]
        if len(places) != 1:
            raise BundleError("model.weights.h5 and model.onnx have different last layers")
        with replacing(path) as temporary, h5py.File(temporary, "w") as written:
            written.attrs.update(weights.attrs)
            for name in weights:
                weights.copy(name, written)
            group = written[f"layers/{places[0]}/vars"]
            for number, values in (("0", narrowed(new.kernel)), ("1", new.bias)):
                attributes = dict(group[number].attrs)
                del group[number]
                group[number] = values
                group[number].attrs.update(attributes)
