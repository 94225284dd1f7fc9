"""How a bundle stores kernels: in float16 if that represents them exactly, else in float32.

Storing loses nothing, and Keras and ONNX Runtime compute in float32. Trained kernels are hardly
ever exact in float16 unless they were rounded first by `round_kernels`. Vectors, such as those of
BatchNormalization, stay float32: they are small and have a large range.
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
SMALLEST = 1024  # values; smaller kernels stay float32


def round_kernels(network: keras.Model) -> None:
    """Round the kernels of `network` to float16's 11 bits, in place; their dtype stays float32.

    >>> round_kernels(network)
    """
    for variable in network.weights:
        if len(variable.shape) > 1:
            variable.assign(np.asarray(variable).astype(np.float16).astype(np.float32))


def narrow_weights(path: str | os.PathLike) -> None:
    """Rewrite a Keras `.weights.h5` file, with kernels in float16 where that is exact.

    >>> narrow_weights(folder / "model.weights.h5")
    """
    import h5py

    with (
        replacing(path) as temporary,
        h5py.File(path) as wide,
        h5py.File(temporary, "w") as narrow,
    ):

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                narrow[name] = narrowed(item[()])
            else:
                narrow.require_group(name)
            narrow[name].attrs.update(item.attrs)

        narrow.attrs.update(wide.attrs)
        wide.visititems(copy)


def narrow_graph(graph: onnx.GraphProto) -> None:
    """Store the constants of an ONNX graph in float16 where that is exact, with a Cast to float32.

    ONNX Runtime casts them once, when it opens the file.

    >>> narrow_graph(onnx.load("model.onnx").graph)
    """
    import onnx

    casts = []
    for constant in graph.initializer:
        if constant.data_type != onnx.TensorProto.FLOAT:
            continue
        values = narrowed(onnx.numpy_helper.to_array(constant))
        if values.dtype == np.float16:
            name = constant.name
            constant.CopyFrom(onnx.numpy_helper.from_array(values, f"{name}_float16"))
            casts.append(
                onnx.helper.make_node("Cast", [constant.name], [name], to=onnx.TensorProto.FLOAT)
            )
    for number, cast in enumerate(casts):
        graph.node.insert(number, cast)


def narrowed(values: np.ndarray) -> np.ndarray:
    """A kernel in float16 where that holds it exactly; anything else as it is."""
    if values.dtype != np.float32 or values.ndim < 2 or values.size < SMALLEST:
        return values
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float16)
    return narrow if np.array_equal(narrow.astype(np.float32), values) else values
