"""Convolutions written in a form that XLA compiles to fast CPU code.

On a CPU, XLA's code for depthwise convolutions, and for the weight gradients of all convolutions,
is several times slower than its code for the same sums written as shifted slices and matrix
products. `speed_up` changes in place how the layers of a network compute. Layers, names, weights
and saved files do not change, and results change only by rounding. `benchmarks/training.py`
measures the gain.

Shapes: inputs `x` (N, H, W, C), outputs `y` and their gradients `dy` (N, Ho, Wo, D), kernels as in
Keras. bfloat16 and float16 are summed in float32.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Callable, Iterator

import keras

from flowers_model.network import layers_of

CACHE = 8 * 2**20  # bytes of features that a weight gradient sums at a time
ROWS = 8  # rows that one pass over the features sums at most; more make the program larger

Pads = tuple[tuple[int, int], tuple[int, int]]
Pair = tuple[int, int]


def speed_up(network: keras.Model) -> int:
    """Change how the convolutions of `network` compute; returns the number of changed layers.

    These are `DepthwiseConv2D`, `SeparableConv2D` and ungrouped `Conv2D` layers with channels last,
    under JAX on a single CPU device. Anywhere else, nothing changes.
    """
    if keras.backend.backend() != "jax":
        return 0
    import jax

    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return 0
    changed = 0
    for layer in layers_of(network):
        if getattr(layer, "data_format", None) != "channels_last":
            continue
        if type(layer) is keras.layers.DepthwiseConv2D:
            layer.call = functools.partial(_call_depthwise, layer)
        elif type(layer) is keras.layers.SeparableConv2D:
            layer.call = functools.partial(_call_separable, layer)
        elif type(layer) is keras.layers.Conv2D and layer.groups == 1:
            layer.convolution_op = functools.partial(_convolution_op, layer)
        else:
            continue
        changed += 1
    return changed


def depthwise_conv(x, kernel, strides: Pair = (1, 1), padding="valid", dilation: Pair = (1, 1)):
    """`keras.ops.depthwise_conv` with channels last, kernel (kh, kw, C, M) and D = C * M."""
    import jax.numpy as jnp

    *size, channels, multiplier = kernel.shape
    if multiplier > 1:
        x = jnp.repeat(x, multiplier, axis=-1)
    kernel = kernel.reshape(*size, channels * multiplier)
    return _depthwise()(x, kernel, strides, _pads(x, size, strides, padding, dilation), dilation)


def conv(x, kernel, strides: Pair = (1, 1), padding="valid", dilation: Pair = (1, 1)):
    """`keras.ops.conv` with channels last and kernel (kh, kw, C, D)."""
    size = kernel.shape[:2]
    if size == (1, 1):  # a matrix product at every pixel
        x = x[:, :: strides[0], :: strides[1]]
        return (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)
    return _conv()(x, kernel, strides, _pads(x, size, strides, padding, dilation), dilation)


def _call_depthwise(layer, inputs):
    y = depthwise_conv(inputs, keras.ops.convert_to_tensor(layer.kernel), *_setting(layer))
    return _finish(layer, y)


def _call_separable(layer, inputs):
    kernel = keras.ops.convert_to_tensor(layer.depthwise_kernel)
    y = depthwise_conv(inputs, kernel, *_setting(layer))
    return _finish(layer, conv(y, keras.ops.convert_to_tensor(layer.pointwise_kernel)))


def _convolution_op(layer, inputs, kernel):
    return conv(inputs, keras.ops.convert_to_tensor(kernel), *_setting(layer))


def _setting(layer) -> tuple[Pair, str, Pair]:
    return _pair(layer.strides), layer.padding, _pair(layer.dilation_rate)


def _finish(layer, y):
    if layer.use_bias:
        y = y + keras.ops.convert_to_tensor(layer.bias)
    return y if layer.activation is None else layer.activation(y)


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else tuple(value)


def _pads(x, size, strides: Pair, padding: str, dilation: Pair) -> Pads:
    from jax import lax

    reach = [(n - 1) * d + 1 for n, d in zip(size, dilation, strict=True)]
    return tuple(lax.padtype_to_pads(x.shape[1:3], reach, strides, padding.upper()))


def _pad(x, pads: Pads):
    from jax import lax

    return lax.pad(x, x.dtype.type(0), [(0, 0, 0), (*pads[0], 0), (*pads[1], 0), (0, 0, 0)])


def _taps(size: Pair) -> Iterator[Pair]:
    """The positions (row, column) in a kernel."""
    return itertools.product(range(size[0]), range(size[1]))


def _shifted(x, start: Pair, shape: Pair, steps: Pair):
    """A strided slice: `shape` pixels of each photo, starting at `start`, every `steps` pixels."""
    from jax import lax

    stop = [a + (n - 1) * step + 1 for a, n, step in zip(start, shape, steps, strict=True)]
    return lax.slice(x, (0, *start, 0), (len(x), *stop, x.shape[-1]), (1, *steps, 1))


def _sum(terms: Iterator):
    return functools.reduce(lambda a, b: a + b, terms)


def _upcast(x):
    """Cast to float32, unless the type is wider."""
    import jax.numpy as jnp

    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _block_sum(total: Callable, x, dy):
    """`total(x, dy)`, a sum over photos, computed block by block so that a block fits the cache."""
    import jax
    from jax import lax

    count = len(x)
    # At least one photo per core: a block's photos are distributed over the cores.
    size = max(CACHE // (math.prod(x.shape[1:]) * x.dtype.itemsize), os.cpu_count() or 1)
    blocks = count // size
    if blocks < 2:
        return total(x, dy)
    covered = blocks * size

    def add(so_far, block):
        return so_far + total(*block), None

    parts = [a[:covered].reshape(blocks, size, *a.shape[1:]) for a in (x, dy)]
    zeros = jax.numpy.zeros_like(jax.eval_shape(total, x, dy))
    result, _ = lax.scan(add, zeros, tuple(parts))
    return result if covered == count else result + total(x[covered:], dy[covered:])


def _with_gradients(
    forward: Callable, input_gradient: Callable, kernel_gradient: Callable
) -> Callable:
    """`forward(x, kernel, strides, pads, dilation)` with custom gradients.

    Args:
        input_gradient: `f(x, kernel, dy, strides, pads, dilation)` returns the gradient of `x`.
        kernel_gradient: `f(x, size, dy, strides, pads, dilation)` returns the part of the kernel's
            gradient that comes from the photos of `x`; `size` is the kernel's height and width.
    """
    import jax

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
    def convolution(x, kernel, *setting):
        return forward(x, kernel, *setting)

    def keep(x, kernel, *setting):
        return forward(x, kernel, *setting), (x, kernel)

    def gradients(strides, pads, dilation, kept, dy):
        x, kernel = kept
        setting = strides, pads, dilation
        dkernel = _block_sum(
            lambda x, dy: kernel_gradient(x, kernel.shape[:2], dy, *setting), x, dy
        )
        return input_gradient(x, kernel, dy, *setting), dkernel.astype(kernel.dtype)

    convolution.defvjp(keep, gradients)
    return convolution


@functools.cache
def _depthwise() -> Callable:
    return _with_gradients(
        _depthwise_forward, _depthwise_input_gradient, _depthwise_kernel_gradient
    )


def _depthwise_forward(x, kernel, strides, pads, dilation):
    padded, wide = _pad(x, pads), _upcast(kernel)
    reach = [(n - 1) * d + 1 for n, d in zip(kernel.shape[:2], dilation, strict=True)]
    shape = [(n - r) // s + 1 for n, r, s in zip(padded.shape[1:3], reach, strides, strict=True)]
    y = _sum(
        _upcast(_shifted(padded, (i * dilation[0], j * dilation[1]), shape, strides)) * wide[i, j]
        for i, j in _taps(kernel.shape[:2])
    )
    return y.astype(x.dtype)


def _depthwise_input_gradient(x, kernel, dy, strides, pads, dilation):
    """Sum over taps, phase by phase.

    Input row h contributes through tap i to output row (h + pad - i * dilation) / stride. So
    for all rows of one phase, h modulo the stride, the same taps divide evenly.
    """
    import jax.numpy as jnp

    wide = _upcast(kernel)

    def phases(axis):
        stride = strides[axis]
        for phase in range(stride):
            places = (
                (tap, phase + pads[axis][0] - tap * dilation[axis])
                for tap in range(kernel.shape[axis])
            )
            yield [(tap, at // stride) for tap, at in places if at % stride == 0]

    rows, columns = list(phases(0)), list(phases(1))
    shape = [-(-n // s) for n, s in zip(x.shape[1:3], strides, strict=True)]
    edges = []
    for axis, found in enumerate((rows, columns)):
        starts = [start for phase in found for _, start in phase]
        low = max(0, -min(starts))
        high = max(0, max(starts) + shape[axis] - dy.shape[1 + axis])
        edges.append((low, high))
    padded = _pad(dy, tuple(edges))

    def phase_sum(row, column):
        if not row or not column:  # no tap, as the stride exceeds the kernel
            return jnp.zeros((len(dy), *shape, dy.shape[-1]), wide.dtype)
        return _sum(
            _upcast(_shifted(padded, (a + edges[0][0], b + edges[1][0]), shape, (1, 1)))
            * wide[i, j]
            for (i, a), (j, b) in itertools.product(row, column)
        )

    dx = [[phase_sum(row, column).astype(dy.dtype) for column in columns] for row in rows]
    if strides == (1, 1):
        return dx[0][0]
    dx = jnp.stack([jnp.stack(row, axis=3) for row in dx], axis=2)
    dx = dx.reshape(len(dy), shape[0] * strides[0], shape[1] * strides[1], dy.shape[-1])
    return dx[:, : x.shape[1], : x.shape[2]]


def _depthwise_kernel_gradient(x, size, dy, strides, pads, dilation):
    """Sum the products of all taps in one pass, several rows at a time."""
    import jax.numpy as jnp
    from jax import lax

    # Without the barrier, the padding would be recomputed for every slice.
    padded = lax.optimization_barrier(_pad(x, pads))
    height, width = dy.shape[1:3]
    together = max(n for n in range(1, ROWS + 1) if height % n == 0)
    shape = (height // together, width)

    def tap_rows(i, j):
        return _sum(
            _upcast(
                _shifted(
                    padded,
                    (i * dilation[0] + row * strides[0], j * dilation[1]),
                    shape,
                    (together * strides[0], strides[1]),
                )
            )
            * _upcast(_shifted(dy, (row, 0), shape, (together, 1)))
            for row in range(together)
        )

    sums = jnp.stack([tap_rows(i, j) for i, j in _taps(size)], axis=2)
    return jnp.sum(sums, axis=(0, 1, 3)).reshape(*size, -1)


@functools.cache
def _conv() -> Callable:
    import jax
    import jax.numpy as jnp
    from jax import lax

    def forward(x, kernel, strides, pads, dilation):
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            pads,
            rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def input_gradient(x, kernel, dy, *setting):
        _, pullback = jax.vjp(lambda x: forward(x, kernel, *setting), x)
        return pullback(dy)[0]

    def kernel_gradient(x, size, dy, strides, pads, dilation):
        """A matrix product per tap, (C, pixels) by (pixels, D)."""
        padded, pixels = _pad(x, pads), dy.reshape(-1, dy.shape[-1])

        def tap_product(i, j):
            start = (i * dilation[0], j * dilation[1])
            shifted = _shifted(padded, start, dy.shape[1:3], strides).reshape(-1, x.shape[-1])
            over_pixels = (((0,), (0,)), ((), ()))
            return lax.dot_general(
                shifted,
                pixels,
                over_pixels,
                preferred_element_type=_upcast(pixels[0, 0]).dtype,
            )

        products = jnp.stack([tap_product(i, j) for i, j in _taps(size)])
        return products.reshape(*size, x.shape[-1], dy.shape[-1])

    return _with_gradients(forward, input_gradient, kernel_gradient)
