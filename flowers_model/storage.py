"""How a bundle keeps kernels: in float16 where that holds them exactly, else in float32.

Nothing is lost by it, and whoever reads them, Keras or ONNX Runtime, computes in float32. Trained
kernels are as good as never held exactly, unless they were rounded before: `round_kernels`.
Vectors, such as BatchNormalization's, stay float32: they are few, and their range is wide.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from flowers_model.files import replacing

if TYPE_CHECKING:
    import keras
    import onnx

STORAGES = ("float32", "float16")
SMALLEST = 1024  # values of a kernel, below which it is not worth it


def round_kernels(network: keras.Model) -> None:
    """Round the kernels of `network` to float16's 11 bits, in place; it stays in float32."""
    for variable in network.weights:
        if len(variable.shape) > 1:
            variable.assign(np.asarray(variable).astype(np.float16).astype(np.float32))


def narrow_weights(path: str | os.PathLike) -> None:
    """Rewrite a `.weights.h5` file of Keras's with the kernels in float16 that it holds exactly."""
    import h5py

    with (
        replacing(path) as temporary,
        h5py.File(path) as wide,
        h5py.File(temporary, "w") as narrow,
    ):

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                narrow[name] = _narrowed(item[()])
            else:
                narrow.require_group(name)
            narrow[name].attrs.update(item.attrs)

        narrow.attrs.update(wide.attrs)
        wide.visititems(copy)


def narrow_graph(graph: onnx.GraphProto) -> None:
    """Keep in float16 the constants of an ONNX graph that it holds exactly, cast where they go.

    ONNX Runtime casts them once, when it opens the file.
    """
    import onnx

    casts = []
    for constant in graph.initializer:
        if constant.data_type != onnx.TensorProto.FLOAT:
            continue
        values = _narrowed(onnx.numpy_helper.to_array(constant))
        if values.dtype == np.float16:
            name = constant.name
            constant.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}_float16"))
            casts.append(
                onnx.helper.make_node("Cast", [constant.name], [name], to=onnx.TensorProto.FLOAT)
            )
    for number, cast in enumerate(casts):
        graph.node.insert(number, cast)


def _narrowed(values: np.ndarray) -> np.ndarray:
    if values.dtype != np.float32 or values.ndim < 2 or values.size < SMALLEST:
        return values
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float16)
    return narrow if np.array_equal(narrow.astype(np.float32), values) else values
