"""Backbones of keras-hub: a preset's folder trains, is saved, opens and serves like any other."""

import json
import sys

import keras
import numpy as np
import pytest
from helpers import write_tiny_bundle

from flowers_model import bundle, network
from flowers_model.engine import KerasEngine, OnnxEngine
from flowers_model.errors import UserError
from flowers_model.export import OUTPUTS, write_onnx
from flowers_model.keras_hub_backbones import PresetError
from train.experiment import Experiment


def test_without_keras_hub_a_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(PresetError, match=r"pip install -r requirements-backbones\.txt"):
        network.build("hub:dinov2_small", 3, 224)


def test_opening_such_a_network_by_keras_says_so_too(tmp_path, monkeypatch):
    write_tiny_bundle(tmp_path)
    place = {"module": "keras_hub.src.models.vit", "class_name": "Absent", "config": {}}
    place["registered_name"] = "keras_hub>Absent"
    (tmp_path / "config.json").write_text(json.dumps(place))
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(PresetError, match=r"pip install -r requirements-backbones\.txt"):
        network.load(tmp_path)


def test_it_serves_at_the_size_of_training():
    with pytest.raises(UserError, match="--serve-size"):
        Experiment(backbone="hub:dinov2_small", image_size=224, serve_size=256)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Folders of presets with random weights: a transformer of each kind, and a ResNet."""
    keras_hub = pytest.importorskip("keras_hub", reason="pip install -r requirements-backbones.txt")
    models, layers = keras_hub.models, keras_hub.layers
    wide = {"num_layers": 2, "hidden_dim": 16, "num_heads": 2}
    made = {
        "dinov2": (
            models.DINOV2Backbone(
                patch_size=8,
                intermediate_dim=32,
                num_register_tokens=2,
                image_shape=(48, 48, 3),
                position_embedding_shape=(48, 48),
                **wide,
            ),
            layers.DINOV2ImageConverter,
        ),
        "vit": (
            models.ViTBackbone(image_shape=(32, 32, 3), patch_size=8, mlp_dim=32, **wide),
            layers.ViTImageConverter,
        ),
        "resnet": (
            models.ResNetBackbone(
                input_conv_filters=[64],
                input_conv_kernel_sizes=[3],
                stackwise_num_filters=[64, 64],
                stackwise_num_blocks=[1, 1],
                stackwise_num_strides=[1, 2],
                block_type="basic_block",
                image_shape=(32, 32, 3),
            ),
            layers.ResNetImageConverter,
        ),
    }
    root = tmp_path_factory.mktemp("presets")
    for name, (backbone, converter) in made.items():
        backbone.save_to_preset(root / name)
        scaled = {"scale": [0.02, 0.01, 0.03], "offset": [-2.0, -1.0, 0.5]}
        converter(image_size=(99, 99), **scaled).save_to_preset(root / name)
    return root


def built(presets, name, **options) -> keras.Model:
    return network.build(f"hub:{presets / name}", 3, 32, **options)


@pytest.mark.parametrize("name", ["dinov2", "vit", "resnet"])
def test_photos_are_normalised_exactly_once(presets, name):
    net = built(presets, name)
    photo = np.full((1, 32, 32, 3), 100, np.float32)
    seen = keras.Model(net.input, net.get_layer("normalization").output)(photo)
    np.testing.assert_allclose(np.asarray(seen)[0, 5, 5], [0, 0, 3.5], atol=1e-5)


def test_a_transformers_embedding_is_the_mean_patch_beside_the_class_token(presets):
    net = built(presets, "dinov2")
    photo = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    tokens = network.backbone_of(net)({"images": net.get_layer("normalization")(photo)})
    tokens = np.asarray(tokens)[0]  # the class token, two registers, 4 x 4 patches
    assert len(tokens) == 1 + 2 + 16
    embedding = np.asarray(network.embedder(net)(photo))[0]
    expected = np.concatenate([tokens[3:].mean(axis=0), tokens[0]])
    np.testing.assert_allclose(embedding, expected, atol=1e-5)


@pytest.mark.parametrize("weights", ["imagenet", None])
def test_a_preset_gives_its_weights_or_random_ones(presets, weights):
    ours = network.backbone_of(built(presets, "vit", weights=weights)).get_weights()
    keras_hub = pytest.importorskip("keras_hub")
    theirs = keras_hub.models.Backbone.from_preset(str(presets / "vit")).get_weights()
    same = all(np.array_equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert same == (weights == "imagenet")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dinov2", "vit", "resnet"])
def test_a_saved_network_serves_by_onnx_and_opens_by_plain_keras(presets, name, tmp_path):
    net = built(presets, name, weights="imagenet")
    for weight in network.backbone_of(net).trainable_weights:  # as if fine-tuned
        weight.assign(weight + 0.01)
    photos = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    before = np.asarray(net(photos.astype(np.float32)))
    bundle.save_network(net, tmp_path)
    write_onnx(tmp_path)
    engines = OnnxEngine(tmp_path), KerasEngine(tmp_path)
    ours, theirs = (dict(zip(OUTPUTS, e.run(photos, OUTPUTS), strict=True)) for e in engines)
    np.testing.assert_allclose(ours["logits"], before, rtol=1e-4, atol=1e-3)
    for output in OUTPUTS:
        np.testing.assert_allclose(ours[output], theirs[output], rtol=1e-4, atol=1e-3)
    mean = ours["class_maps"].mean(axis=(1, 2))
    np.testing.assert_allclose(mean, ours["logits"], rtol=1e-4, atol=1e-3)
    # Another network is initialized from its weights.
    again = built(presets, name, weights=tmp_path)
    np.testing.assert_array_equal(
        network.backbone_of(again).get_weights()[0], network.backbone_of(net).get_weights()[0]
    )


@pytest.mark.slow
def test_a_transformer_trains_at_another_size_than_its_presets(presets):
    net = built(presets, "dinov2")
    before = network.backbone_of(net).get_weights()
    net.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(np.ones((2, 32, 32, 3), np.float32), np.array([0, 1]), verbose=0)
    after = network.backbone_of(net).get_weights()
    assert not all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_what_does_not_fit_is_one_line(presets, tmp_path):
    for name, size, words in (
        (str(presets / "vit"), 36, "patch size"),
        (str(presets / "dinov2"), 36, "multiple of"),
        (str(tmp_path), 32, "no backbone of 32 px"),
    ):
        with pytest.raises(PresetError, match=words) as caught:
            network.build(f"hub:{name}", 3, size)
        assert "\n" not in str(caught.value)
    with pytest.raises(network.NetworkError, match="takes no weights file"):
        built(presets, "vit", weights=str(tmp_path / "weights.h5"))
