"""Training on several devices and processes.

Under JAX this is `keras.distribution`: variables are copied to all devices and each batch is
divided among them (`data`); optionally, wide layers are divided as well (`model`). Keras 3.15 has
no working `keras.distribution` for TensorFlow, so there it is `tf.distribute`.

The batch size counts the photos on all devices. Batch size, learning rate, order of photos,
augmentation and (under JAX) dropout do not depend on the number of devices: the same run on more
devices gives the same losses, up to rounding.

For "collective", see `train.devices.processes`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np

from flowers_model.errors import UserError
from flowers_model.files import replacing
from flowers_model.network import layers_of
from train.devices.precision import full_float32
from train.devices.processes import (
    gather,
    is_first,
    most,
    padded,
    processes,
    share,
    together,
    wait,
    whole,
)

log = logging.getLogger("flowers")

# How `model` divides wide layers: patterns of full variable paths, and the mesh axis of each axis
# of the variable. The last axis of a kernel is that of its outputs. InceptionV3 does not name its
# layers, so only its head is divided.
_OUTPUTS, _DENSE_OUTPUTS, _DENSE_INPUTS = (
    (None, None, None, "model"),
    (None, "model"),
    ("model", None),
)
LAYOUTS = {
    "ConvNet": {"conv_[0-9]+/kernel": _OUTPUTS},
    "ConvNeXt": {
        ".*_pointwise_conv_1/kernel": _DENSE_OUTPUTS,
        ".*_pointwise_conv_1/bias": ("model",),
        ".*_pointwise_conv_2/kernel": _DENSE_INPUTS,
    },
    "DenseNet": {"(conv[2-5]_block[0-9]+_1|pool[2-4])_conv/kernel": _OUTPUTS},
    "EfficientNet": {"(block[0-9][a-z]+_expand|top)_conv/kernel": _OUTPUTS},
    "InceptionResNetV2": {"(block(8|17)_[0-9]+_conv|conv_7b)/kernel": _OUTPUTS},
    "MobileNet": {"conv_pw_[0-9]+/kernel": _OUTPUTS},
    "MobileNetV2": {"(block_[0-9]+_expand|Conv_1)/kernel": _OUTPUTS},
    "MobileNetV3": {"(expanded_conv_[0-9]+_expand|conv_1)/kernel": _OUTPUTS},
    "NASNet": {".*normal_conv_1_[0-9]+/kernel": _OUTPUTS},
    "ResNet": {"conv5_block[0-9]+_[0-3]_conv/kernel": _OUTPUTS},
    "VGG": {"block[45]_conv[1-4]/kernel": _OUTPUTS},
    "Xception": {"block(13|14)_sepconv[12]/pointwise_kernel": _OUTPUTS},
}
HEAD_LAYOUTS = {
    "head_dense_[0-9]+/kernel": _DENSE_OUTPUTS,
    "head_dense_[0-9]+/bias": ("model",),
    # Divided by its inputs: the number of classes need not be a multiple of the devices.
    "logits/kernel": _DENSE_INPUTS,
}


@contextlib.contextmanager
def scope(kind: str, model_devices: int, backbone: str) -> Iterator[None]:
    """A context in which networks are built to train on several devices.

    - `none`: only the first device;
    - `data`: each device computes its part of a batch;
    - `model`: each group of `model_devices` devices computes its part of a batch, with wide layers
      divided among them;
    - `auto`: `data` if there are several devices, else `none`.

    Args:
        backbone: decides which layers `model` divides; see `LAYOUTS`.

    Raises:
        UserError: if the backend or the number of devices does not allow it.
        GroupError: if another process has died.
    """
    jax = keras.backend.backend() == "jax"
    chosen = _distribution(kind, model_devices, backbone) if jax else _strategy(kind)
    if chosen is None:
        yield
        return
    log.info("distribution: %s", _describe(chosen))
    with chosen.scope(), together():
        yield


def is_on() -> bool:
    """Whether a distribution is set."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.has_strategy()
    return keras.distribution.distribution() is not None


def parts() -> int:
    """The number of equal parts into which a batch is divided."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else distribution.num_model_replicas


def batch_size(wanted: int, photos: int) -> int:
    """The batch size over all devices: `wanted`, rounded down to a multiple of the devices.

    Raises:
        UserError: if not every device would get a photo.
    """
    size = min(wanted, photos) // parts() * parts()
    if not size:
        raise UserError(
            f"a batch of {min(wanted, photos)} photos cannot be divided among {parts()} devices; "
            "give more photos, a larger --batch-size, or --distribution none"
        )
    return size


def synchronize_norms(network: keras.Model) -> None:
    """Synchronize BatchNormalization over devices; under JAX it is always synchronized."""
    if keras.backend.backend() == "tensorflow" and parts() > 1:
        for layer in layers_of(network):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True


# Inference


def place(rows: np.ndarray):
    """Collective: divide this process's rows of a batch among its devices."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return rows
    import jax

    layout = distribution.get_data_layout(rows.shape).backend_layout
    return jax.make_array_from_process_local_data(layout, rows)


def predictor(network: keras.Model, batch: int) -> Callable[..., np.ndarray]:
    """Inference in full float32 on any number of photos, a multiple of the devices or not.

    Args:
        network: a network with one output, `(N, D)`.
        batch: photos per step over all devices; rounded up to a multiple of the devices.

    Returns:
        A collective `predict(inputs, which=None, steps=range)`, which returns the outputs for the
        rows `which` of `inputs` (None for all), `(len(which), D)`. `steps(n)` yields 0..n-1, and
        may show progress.
    """
    rows = math.ceil(batch / parts()) * parts() // processes()
    forward = _forward_jax(network) if keras.backend.backend() == "jax" else _forward_tf(network)
    return full_float32(network)(by_batches(forward, rows, network.output.shape[-1]))


def by_batches(
    forward: Callable[[np.ndarray], np.ndarray], rows: int, width: int
) -> Callable[..., np.ndarray]:
    """`predictor` for a function that maps exactly `rows` rows to `(rows, width)`."""

    def predict(inputs, which=None, steps: Callable[[int], Iterable[int]] = range) -> np.ndarray:
        which = np.arange(len(inputs)) if which is None else np.asarray(which, np.int64)
        outputs = [np.zeros((0, width), np.float32)]
        for step in steps(most(math.ceil(len(which) / rows))):
            some = inputs[which[step * rows : (step + 1) * rows]]
            outputs.append(forward(padded(some, rows))[: len(some)].astype(np.float32))
        return np.concatenate(outputs)

    return predict


def evaluate(
    predict: Callable[..., np.ndarray],
    loss: keras.losses.Loss,
    inputs: np.ndarray,
    labels: np.ndarray,
) -> dict[str, float]:
    """Collective: exact `val_loss` and `val_accuracy` on any number of photos.

    Args:
        predict: from `predictor`, returns logits `(N, C)`.
        inputs: inputs of the network, `(N, ...)`.
        labels: int `(N,)`.
    """
    logits = gather(predict(inputs, share(len(labels))), len(labels))
    one_hot = np.eye(logits.shape[1], dtype=np.float32)[labels]
    losses = keras.ops.convert_to_numpy(loss.call(one_hot, logits))
    return {
        "val_accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "val_loss": float(losses.mean()),
    }


def _forward_jax(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    import jax

    distribution = keras.distribution.distribution()
    layout = distribution and distribution.get_data_layout((1, 1)).backend_layout

    def call(trainable, non_trainable, inputs):
        return network.stateless_call(trainable, non_trainable, inputs, training=False)[0]

    call = jax.jit(call, out_shardings=layout)

    def forward(rows: np.ndarray) -> np.ndarray:
        trainable = [variable.value for variable in network.trainable_variables]
        non_trainable = [variable.value for variable in network.non_trainable_variables]
        outputs = call(trainable, non_trainable, place(rows))
        # Devices that divide a layer all have the complete rows.
        shards = {shard.index[0].start or 0: shard.data for shard in outputs.addressable_shards}
        return np.concatenate([np.asarray(shards[start]) for start in sorted(shards)])

    return forward


def _forward_tf(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()

    @tf.function
    def call(inputs):
        return strategy.run(lambda x: network(x, training=False), args=(inputs,))

    def forward(rows: np.ndarray) -> np.ndarray:
        split = np.split(rows, strategy.num_replicas_in_sync)
        inputs = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(split[context.replica_id_in_sync_group])
        )
        outputs = strategy.experimental_local_results(call(inputs))
        return np.concatenate([np.asarray(output) for output in outputs])

    return forward


# Weights


def whole_weights(network: keras.Model) -> list[np.ndarray]:
    """Collective: `network.get_weights()`, even if no process has all weights."""
    return [whole(variable.value) for variable in network.weights]


def save_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Collective: process 0 saves the weights of the model and of its optimizer, atomically."""
    if keras.backend.backend() == "jax":
        model.jax_state_sync()  # during an epoch, Keras keeps the values outside the variables
    with _alone(model) if processes() > 1 else contextlib.nullcontext():
        if is_first():
            with replacing(path) as temporary:
                model.save_weights(temporary)
    wait()


@contextlib.contextmanager
def _alone(model: keras.Model) -> Iterator[None]:
    """A context in which all variables are local to this process and no distribution is set."""
    variables = {id(v): v for v in [*model.variables, *model.optimizer.variables]}.values()
    values = [variable._value for variable in variables]
    own = [keras.ops.convert_to_tensor(whole(value)) for value in values]
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    for variable, value in zip(variables, own, strict=True):
        variable._value = value
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable._value = value
        keras.distribution.set_distribution(distribution)


# Devices and layouts


class _ModelParallel(keras.distribution.ModelParallel):
    """`ModelParallel` that reports a variable that cannot be divided."""

    def get_variable_layout(self, variable):
        layout = super().get_variable_layout(variable)
        sizes = dict(zip(self.device_mesh.axis_names, self.device_mesh.shape, strict=True))
        for length, axis in zip(variable.shape, layout.axes, strict=True):
            if axis is not None and length % sizes[axis]:
                raise UserError(
                    f"{variable.path} has {length} channels, which {sizes[axis]} devices cannot "
                    "divide; choose other --model-devices, or --distribution data"
                )
        return layout


def layout_map(mesh: keras.distribution.DeviceMesh, backbone: str) -> keras.distribution.LayoutMap:
    """The variables that `model` divides over the axis `model` of a mesh; others are copied."""
    family = max((name for name in LAYOUTS if backbone.startswith(name)), key=len, default=None)
    layouts = keras.distribution.LayoutMap(mesh)
    layouts.update(LAYOUTS.get(family, {}) | HEAD_LAYOUTS)
    return layouts


def _distribution(
    kind: str, model_devices: int, backbone: str
) -> keras.distribution.Distribution | None:
    import jax

    # Ordered by process, because each process makes consecutive rows of a batch.
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if kind == "auto":
        kind = "data" if len(devices) > 1 else "none"
    if kind == "none":
        if processes() > 1:
            raise UserError("several processes need --distribution auto, data or model")
        return None
    if kind == "data":
        return keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
    if jax.local_device_count() % model_devices:
        raise UserError(
            f"--model-devices {model_devices} does not divide the {jax.local_device_count()} "
            "devices of a process"
        )
    shape = (len(devices) // model_devices, model_devices)
    mesh = keras.distribution.DeviceMesh(shape, ("batch", "model"), devices)
    return _ModelParallel(layout_map=layout_map(mesh, backbone), auto_shard_dataset=False)


def _strategy(kind: str):
    import tensorflow as tf

    if kind == "model":
        raise UserError("--distribution model needs KERAS_BACKEND=jax; tensorflow has data")
    if "TF_CONFIG" in os.environ:
        # Keras 3.15's fit fails under MultiWorkerMirroredStrategy (keras-team/keras#20585).
        raise UserError(
            "several hosts can train together only with KERAS_BACKEND=jax; unset TF_CONFIG"
        )
    if kind == "none":
        return None
    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return tf.distribute.TPUStrategy(
            tf.distribute.cluster_resolver.TPUClusterResolver.connect()
        )
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if kind == "auto" and len(devices) == 1:
        return None
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _describe(chosen) -> str:
    if keras.backend.backend() == "tensorflow":
        return f"{type(chosen).__name__} over {chosen.num_replicas_in_sync} devices"
    count, copies = chosen.device_mesh.devices.size, chosen.num_model_replicas
    kind = "data parallel" if copies == count else f"{copies} groups of {count // copies}"
    return f"{kind} over {count} devices in {processes()} processes"
