"""EfficientNet-Lite: the published architectures, and their weights as stored on the Hub."""

import helpers
import keras
import numpy as np
import pytest
from hub_server import HubServer
from safetensors.numpy import save

from flowers_model import efficientnet_lite, network

pytestmark = pytest.mark.usefixtures("weights_by_numpy")

# Trainable parameters without those of the last convolution and the classifier, from timm's
# tf_efficientnet_lite0 to 4, which are equivalent to Google's.
LEARNED = (2_958_848, 3_723_520, 4_357_952, 6_422_016, 11_149_568)


@pytest.mark.parametrize("number", range(5))
def test_each_size_has_the_published_number_of_weights(number):
    function = getattr(efficientnet_lite, f"EfficientNetLite{number}")
    backbone = helpers.shapes_of(
        lambda: function(include_top=False, weights=None, input_shape=(64, 64, 3))
    )
    assert sum(np.prod(w.shape) for w in backbone.trainable_variables) == LEARNED[number]
    assert backbone.output_shape[1:3] == (2, 2)


def published() -> dict[str, np.ndarray]:
    """Weights for EfficientNetLite0 by the names and in the shapes of PyTorch."""
    random = np.random.default_rng(0)
    tensors = {}

    def convolution(name: str, *shape: int) -> None:
        fan_in = np.prod(shape[1:])
        tensors[f"{name}.weight"] = random.normal(0, 1.4 / fan_in**0.5, shape).astype(np.float32)

    def norm(name: str, channels: int) -> None:
        for part, low, high in (
            ("weight", 0.9, 1.1),
            ("bias", -0.2, 0.2),
            ("running_mean", -0.2, 0.2),
            ("running_var", 0.8, 1.2),
        ):
            tensors[f"{name}.{part}"] = random.uniform(low, high, channels).astype(np.float32)
        tensors[f"{name}.num_batches_tracked"] = np.array(7)

    convolution("conv_stem", 32, 3, 3, 3)
    norm("bn1", 32)
    convolution("blocks.0.0.conv_dw", 32, 1, 3, 3)
    norm("blocks.0.0.bn1", 32)
    convolution("blocks.0.0.conv_pw", 16, 32, 1, 1)
    norm("blocks.0.0.bn2", 16)
    before = 16
    stages = ((2, 3, 24), (2, 5, 40), (3, 3, 80), (3, 5, 112), (4, 5, 192), (1, 3, 320))
    for stage, (blocks, kernel, channels) in enumerate(stages, start=1):
        for block in range(blocks):
            name, wide = f"blocks.{stage}.{block}", 6 * before
            convolution(f"{name}.conv_pw", wide, before, 1, 1)
            norm(f"{name}.bn1", wide)
            convolution(f"{name}.conv_dw", wide, 1, kernel, kernel)
            norm(f"{name}.bn2", wide)
            convolution(f"{name}.conv_pwl", channels, wide, 1, 1)
            norm(f"{name}.bn3", channels)
            before = channels
    convolution("conv_head", 1280, 320, 1, 1)
    norm("bn2", 1280)
    return tensors


@pytest.fixture
def server(monkeypatch):
    with HubServer() as server:
        server.add_token("hf_tokenOfAda", "ada")
        helpers.use_hub(server, monkeypatch, "hf_tokenOfAda")
        yield server


def test_imagenet_weights_come_from_the_hub(server):
    tensors = published()
    server.put("timm/tf_efficientnet_lite0.in1k", {"model.safetensors": save(tensors)})
    net = network.build("EfficientNetLite0", 3, 32, weights="imagenet")
    backbone = network.backbone_of(net)
    # The first two convolutions computed by hand, at a position in the middle.
    x = np.random.default_rng(1).uniform(-1, 1, (32, 32, 3)).astype(np.float32)
    tap = keras.Model(backbone.input, backbone.get_layer("blocks_0_0_bn1_relu").output)
    ours = np.asarray(tap(x[None]))[0, 7, 8]

    def normed(y: np.ndarray, name: str) -> np.ndarray:
        weight, bias, mean, variance = (
            tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return np.clip((y - mean) / np.sqrt(variance + 1e-3) * weight + bias, 0, 6)

    # For an even side, a stride of 2 pads only after the last pixel.
    stem = np.array(
        [
            [
                np.einsum("ochw,hwc->o", tensors["conv_stem.weight"], x[2 * r :, 2 * c :][:3, :3])
                for c in range(7, 10)
            ]
            for r in range(6, 9)
        ]
    )
    depthwise = tensors["blocks.0.0.conv_dw.weight"][:, 0]
    expected = np.einsum("ohw,hwo->o", depthwise, normed(stem, "bn1"))
    np.testing.assert_allclose(ours, normed(expected, "blocks.0.0.bn1"), atol=1e-4)
    for layer in backbone.layers:  # every BatchNormalization has its own weights
        if isinstance(layer, keras.layers.BatchNormalization):
            *block, norm = layer.name.rsplit("_", 1)
            name = ".".join([*(part.replace("_", ".") for part in block), norm])
            np.testing.assert_array_equal(layer.gamma, tensors[f"{name}.weight"])


@pytest.mark.slow
def test_weights_that_cannot_be_fetched_are_one_clear_line(server):
    with pytest.raises(network.NetworkError, match="EfficientNetLite1 cannot be built") as caught:
        network.build("EfficientNetLite1", 3, 32, weights="imagenet")
    assert "\n" not in str(caught.value)
