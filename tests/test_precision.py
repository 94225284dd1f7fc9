"""Whatever precision a network is trained in, published results are computed in full float32."""

import types

import jax
import keras
import numpy as np
import pytest

from flowers_model import bundle, network
from flowers_model.export import export
from train import job
from train.bundles import writer
from train.devices import distribution, precision
from train.experiment import Experiment
from train.loop import batch_norm, features
from train.loop.history import read_history

pytestmark = pytest.mark.usefixtures("float32_again")


@pytest.fixture
def tf32(monkeypatch):
    """Convolutions as on a GPU that computes float32 in lower precision unless told otherwise."""
    exact = keras.layers.Conv2D.convolution_op

    def fast(self, inputs, kernel):
        if jax.config.jax_default_matmul_precision == "highest":
            return exact(self, inputs, kernel)
        return exact(
            self,
            *(
                keras.ops.cast(keras.ops.cast(x, "bfloat16"), x.dtype)
                for x in (inputs, keras.ops.convert_to_tensor(kernel))
            ),
        )

    monkeypatch.setattr(keras.layers.Conv2D, "convolution_op", fast)


@pytest.mark.parametrize(
    ("capability", "chosen"),
    [
        (None, "float32"),
        ((6, 1), "float32"),
        ((7, 5), "mixed_float16"),
        ((8, 0), "mixed_bfloat16"),
        ((12, 0), "mixed_bfloat16"),
    ],
)
def test_auto_is_what_the_card_is_good_at(capability, chosen, monkeypatch):
    monkeypatch.setattr(precision, "compute_capability", lambda: capability)
    assert precision.policy("auto") == chosen
    assert precision.policy("float32") == "float32"


def test_the_least_able_card_decides(monkeypatch):
    assert precision.compute_capability() is None  # a CPU
    names = ("9.0", "7.5", "10.0", "gfx942")
    cards = [types.SimpleNamespace(compute_capability=name) for name in names]
    monkeypatch.setattr(jax, "devices", lambda: cards)
    assert precision.compute_capability() == (7, 5)


@pytest.mark.slow
def test_inference_features_and_norms_are_those_of_full_float32(tf32, tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWERS_DATA", str(tmp_path))
    photos = np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3), np.uint8)

    def build(policy: str) -> keras.Model:
        keras.utils.set_random_seed(1)
        keras.config.set_dtype_policy(policy)
        return network.build("ConvNet", 3, 24, filters=(4, 8))

    def all_of(net: keras.Model) -> list[np.ndarray]:
        batch_norm.measure_norms(net, photos, 3, seed=0)
        found = [distribution.predictor(net, 4)(photos), features.features(net, photos, "x")]
        return found + net.get_weights()

    with jax.default_matmul_precision("highest"):
        exact = all_of(build("float32"))
    (tmp_path / "features").rename(tmp_path / "exact")
    for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
        net = build(policy)
        for one, other in zip(all_of(net), exact, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        assert np.abs(net.predict(photos, verbose=0) - exact[0]).max() > 1e-3
        assert net.dtype_policy.name == policy


@pytest.mark.slow
def test_a_card_that_computes_fast_leaves_a_bundle_with_exact_figures(
    tf32, quick_bundles, data, tmp_path, monkeypatch
):
    # The process of its own that exports a bundle has no such card.
    monkeypatch.setattr(writer, "write_onnx", jax.default_matmul_precision("highest")(export))
    experiment = Experiment(
        data=data,
        image_size=24,
        crop=1.0,
        backbone="ConvNet",
        weights=None,
        filters=(4,),
        epochs_head=1,
        epochs_finetune=2,
        batch_size=4,
        learning_rate=1e-2,
        train_norms=False,  # so that the last epoch's network is the one that is published
        fast_convolutions=False,
        monitor="last",
        precision="mixed_float16",
    )
    manifest = job.run(experiment, tmp_path, preset="quickstart", command="test")
    assert manifest.onnx_difference < 1e-4
    assert "float16" not in (tmp_path / "bundle/config.json").read_text("utf-8")
    last = read_history(tmp_path)[-1]
    figures = bundle.read_manifest(tmp_path / "bundle").metrics["valid"]
    assert last["val_loss"] == pytest.approx(figures.nll_uncalibrated, rel=1e-4)
    assert last["val_accuracy"] == pytest.approx(figures.top1)
