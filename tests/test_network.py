"""The network: any backbone by its Keras name, raw RGB in, normalised exactly once."""

import os
import pathlib

import keras
import numpy as np
import pytest
from helpers import write_tiny_bundle

from flowers_model import bundle, network
from flowers_model.engine import KerasEngine, OnnxEngine
from flowers_model.export import OUTPUTS, write_onnx
from flowers_model.photo import decode, fit


def first_values(net: keras.Model, photo: np.ndarray) -> np.ndarray:
    """The input of the backbone's first convolution."""
    backbone = network.backbone_of(net)
    convolution = next(x for x in backbone.layers if isinstance(x, keras.layers.Conv2D))
    before_backbone = [x for x in net.layers if x.name == "normalization"]
    x = before_backbone[0](photo) if before_backbone else photo
    return np.asarray(keras.Model(backbone.input, convolution.input)(x))


# The input range of each family's ImageNet weights, from the papers' published code: the values
# that black (0) and white (255) become, one per channel in the network's order.
RANGES = {
    "MobileNetV2": ([-1, -1, -1], [1, 1, 1]),
    "DenseNet121": ([-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.6400]),
    "VGG16": ([-103.939, -116.779, -123.68], [151.061, 138.221, 131.32]),
    "EfficientNetV2B0": ([-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.6400]),
    "EfficientNetLite0": ([-0.9922] * 3, [1, 1, 1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RANGES)
@pytest.mark.usefixtures("weights_by_numpy")
def test_photos_are_normalised_exactly_once(name):
    net = network.build(name, 3, 64)
    for value, expected in zip((0.0, 255.0), RANGES[name], strict=True):
        photo = np.full((1, 64, 64, 3), value, np.float32)
        centre = first_values(net, photo)[0, 32, 32]
        np.testing.assert_allclose(centre, expected, atol=1e-3)


@pytest.mark.usefixtures("weights_by_numpy")
def test_caffe_style_backbones_see_blue_first():
    net = network.build("VGG16", 3, 32)
    red = np.zeros((1, 32, 32, 3), np.float32)
    red[..., 0] = 200
    flipped = keras.Model(net.input, net.get_layer("normalization").input)
    assert np.asarray(flipped(red))[0, 0, 0].tolist() == [0, 0, 200]


def test_every_keras_application_is_known_by_its_name():
    names = network.backbone_names()
    assert {"EfficientNetV2B3", "VGG16", "DenseNet201", "Xception", "ConvNet"} <= set(names)


@pytest.mark.parametrize("unfreeze", [0, None])
def test_parameters_are_what_can_be_learned_whatever_is_frozen(unfreeze):
    net = network.build("ConvNet", 3, 32, filters=(4, 8))
    network.set_trainable(net, unfreeze, train_norms=False)
    kernels, norms, head = 9 * 3 * 4 + 9 * 4 * 8, 2 * (4 + 8), 8 * 3 + 3
    assert network.parameter_count(net) == kernels + norms + head


def test_mlp_head_has_the_layers_asked_for():
    net = network.build("ConvNet", 5, 32, filters=(4, 8), head_units=(16, 12), dropout=0.5)
    dense = [x.units for x in network.head_layers(net) if isinstance(x, keras.layers.Dense)]
    assert dense == [16, 12, 5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "MobilNetV2"}, "did you mean MobileNetV2"),
        ({"backbone": "VGG16", "alpha": 0.5}, "no width multiplier"),
        ({"backbone": "MobileNetV2", "weights": "/nowhere/file.h5"}, "no weights at"),
        ({"backbone": "ConvNet", "weights": "imagenet"}, "from scratch"),
        ({"backbone": "InceptionV3"}, "cannot be built at 32 px"),
    ],
)
def test_what_cannot_be_built_gets_one_clear_line(options, words):
    with pytest.raises(network.NetworkError, match=words) as caught:
        network.build(class_count=3, image_size=32, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("weights_by_numpy")
def test_a_weights_file_for_another_network_gets_one_clear_line(tmp_path):
    other = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25)
    path = tmp_path / "other.weights.h5"
    other.save_weights(path)
    with pytest.raises(network.NetworkError, match="cannot be built"):
        network.build("MobileNet", 3, 32, alpha=0.5, weights=path)


def test_weights_from_a_bundle_are_those_of_its_backbone(tmp_path):
    folder = write_tiny_bundle(tmp_path / "bundle")
    theirs = keras.saving.load_model(folder)
    net = network.build("ConvNet", 5, 48, filters=(4, 8), weights=folder)
    assert net.output.shape[-1] == 5
    for a, b in zip(
        network.backbone_of(net).get_weights(),
        network.backbone_of(theirs).get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(network.NetworkError, match="has another backbone"):
        network.build("ConvNet", 5, 48, filters=(4, 6), weights=folder)
    with pytest.raises(network.NetworkError, match="no network can be read"):
        network.build("ConvNet", 5, 48, filters=(4, 8), weights=tmp_path)


@pytest.mark.usefixtures("weights_by_numpy")
def test_weights_from_a_file_are_those_in_the_file(tmp_path):
    trunk = keras.applications.MobileNet(
        include_top=False, weights=None, alpha=0.25, input_shape=(32, 32, 3)
    )
    path = tmp_path / "trunk.weights.h5"
    trunk.save_weights(path)
    net = network.build("MobileNet", 3, 32, alpha=0.25, weights=path)
    for ours, theirs in zip(
        network.backbone_of(net).get_weights(), trunk.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def learning(net: keras.Model) -> set[str]:
    return {layer.name for layer in network.backbone_of(net).layers if layer.trainable_variables}


def test_unfreezing_frees_just_the_last_layers():
    net = network.build("ConvNet", 3, 32, filters=(4, 8, 8))
    network.set_trainable(net, 0, train_norms=True)
    assert learning(net) == set()
    network.set_trainable(net, 3, train_norms=True)
    assert learning(net) == {"conv_3", "norm_3"}
    network.set_trainable(net, 3, train_norms=False)
    assert learning(net) == {"conv_3"}
    network.set_trainable(net, None, train_norms=True)
    assert learning(net) == {f"{kind}_{n}" for kind in ("conv", "norm") for n in (1, 2, 3)}
    assert net.get_layer("logits").trainable


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_norms_stay_in_inference_mode(frozen):
    net = network.build("ConvNet", 3, 32, filters=(4, 8))
    network.set_trainable(net, None, train_norms=not frozen)
    norm = network.backbone_of(net).get_layer("norm_1")
    before = [np.array(w) for w in norm.get_weights()]
    net.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    photos = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    net.train_on_batch(photos, np.array([0, 1, 2, 0]))
    changed = [
        not np.array_equal(now, then) for now, then in zip(norm.get_weights(), before, strict=True)
    ]
    assert changed == [not frozen] * 4


def write_onnx_as_with_tensorflow(folder: pathlib.Path) -> None:
    """In a process of its own."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(keras.backend, "backend", lambda: "tensorflow")
        write_onnx(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "head_units", "write", "counts"),
    [
        ("ConvNet", (), write_onnx_as_with_tensorflow, (1, 3, 40)),
        ("MobileNetV3Small", (16,), write_onnx, (3,)),
    ],
    ids=["ConvNet", "MobileNetV3Small"],
)
@pytest.mark.usefixtures("weights_by_numpy")
def test_onnx_gives_what_keras_gives_for_any_batch(tmp_path, name, head_units, write, counts):
    keras.utils.set_random_seed(3)
    net = network.build(name, 5, 32, filters=(4, 8), head_units=head_units)
    net.set_weights(
        [w + np.random.default_rng(0).normal(0, 0.02, w.shape) ** 2 for w in net.get_weights()]
    )
    bundle.save_network(net, tmp_path)
    write(tmp_path)
    onnx, plain = OnnxEngine(tmp_path), KerasEngine(tmp_path)
    random = np.random.default_rng(1)
    for count in counts:
        photos = random.integers(0, 256, (count, 32, 32, 3), np.uint8)
        for ours, theirs in zip(onnx.run(photos, OUTPUTS), plain.run(photos, OUTPUTS), strict=True):
            assert len(ours) == count
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_class_maps_of_a_linear_head_average_to_the_logits():
    net = network.build("ConvNet", 4, 32, filters=(4, 8, 8))
    photos = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    logits, embedding, features, maps = (
        np.asarray(x) for x in network.with_taps(net).predict_on_batch(photos)
    )
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), logits, atol=1e-4)
    np.testing.assert_allclose(features.mean(axis=(1, 2)), embedding, atol=1e-4)
    np.testing.assert_allclose(net.predict_on_batch(photos), logits, atol=1e-5)


@pytest.mark.slow
def test_class_maps_of_a_deep_head_are_grad_cams():
    net = network.build("ConvNet", 3, 32, filters=(4, 8), head_units=(6, 5), weights=None)
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    _, embedding, features, maps = (
        np.asarray(x) for x in network.with_taps(net).predict_on_batch(photos)
    )
    head = network.head(net)
    slopes = np.empty((2, 8, 3))  # by differences
    for d in range(8):
        ends = [embedding + sign * 1e-3 * np.eye(8, dtype=np.float32)[d] for sign in (1, -1)]
        up, down = (np.asarray(head.predict_on_batch(end)) for end in ends)
        slopes[:, d] = (up - down) / 2e-3
    expected = np.einsum("nhwd,ndc->nhwc", features, slopes)
    np.testing.assert_allclose(maps, expected, rtol=1e-2, atol=1e-3)


def test_both_kinds_of_maps_agree_where_both_apply():
    net = network.build("ConvNet", 3, 32, filters=(4, 8), weights=None)
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    maps = np.asarray(network.with_taps(net).predict_on_batch(photos)[-1])
    pool = net.get_layer("pool")
    places = keras.ops.reshape(pool.input, (-1, 64, 8))
    grad_cams = keras.ops.matmul(places, network.head_jacobian(net, pool.output))
    grad_cams = np.asarray(keras.Model(net.input, grad_cams).predict_on_batch(photos))
    apart = maps - grad_cams.reshape(maps.shape)
    np.testing.assert_allclose(apart, np.broadcast_to(apart[:1, :1, :1], apart.shape), atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("weights_by_numpy")
def test_real_weights_tell_real_flowers_apart():
    """Nearest mean of frozen features on a few Oxford photos: wrong weights or ranges fail."""
    weights, data = os.environ.get("FLOWERS_TEST_WEIGHTS"), os.environ.get("FLOWERS_TEST_DATA")
    if not weights or not data:
        pytest.skip("FLOWERS_TEST_WEIGHTS and FLOWERS_TEST_DATA do not say where real files are")
    file = pathlib.Path(weights) / "mobilenet_0.75_224_imagenet_no_top.weights.h5"
    size = 128  # of photos: at 224 px, as many are told apart
    net = network.build("MobileNet", 5, size, alpha=0.75, weights=file)
    train, valid = (pathlib.Path(data) / "oxford_flowers102" / x for x in ("train", "valid"))
    classes = sorted(path.name for path in train.iterdir())[::20][:5]

    def features(folder: pathlib.Path) -> np.ndarray:
        photos = [
            fit(decode(path), size, 0.9)
            for name in classes
            for path in sorted((folder / name).glob("*.jpg"))[:5]
        ]
        return np.asarray(network.embedder(net).predict_on_batch(np.stack(photos)))

    means = features(train).reshape(5, 5, -1).mean(axis=1)
    distances = ((features(valid)[:, None] - means) ** 2).sum(axis=-1)
    right = distances.argmin(axis=1) == np.repeat(np.arange(5), 5)
    assert right.mean() >= 0.9


@pytest.fixture
def channels_first():
    """As in a ~/.keras/keras.json left by an older project."""
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["ConvNet", "MobileNetV3Small", "EfficientNetLite0"])
@pytest.mark.usefixtures("weights_by_numpy")
def test_networks_are_channels_last_whatever_keras_json_says(channels_first, backbone):
    net = network.build(backbone, 3, 32, filters=(4,))
    assert net.predict_on_batch(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 3)


def test_a_bundle_opens_in_keras_whatever_keras_json_says(channels_first, tmp_path):
    folder = write_tiny_bundle(tmp_path)
    keras.config.set_image_data_format("channels_first")
    photos = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    [here], [there] = (engine(folder).run(photos) for engine in (KerasEngine, OnnxEngine))
    np.testing.assert_allclose(here, there, atol=1e-4)
