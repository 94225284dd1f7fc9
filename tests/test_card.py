"""The model card: its text and the metadata that the Hub reads from it."""

import huggingface_hub
import pytest
from helpers import write_tiny_bundle

from flowers_model import bundle, hub
from flowers_model.errors import UserError
from train.bundles.card import write_card
from train.bundles.provenance import _base_model
from train.experiment import Experiment


@pytest.fixture
def folder(tmp_path):
    return write_tiny_bundle(tmp_path / "bundle")


def card_of(folder, **provenance) -> huggingface_hub.ModelCard:
    """The card of the bundle with these values in its provenance."""
    manifest = bundle.read_manifest(folder)
    made = manifest.provenance.model_copy(update=provenance)
    write_card(folder, manifest.model_copy(update={"provenance": made}))
    return huggingface_hub.ModelCard.load(folder / "README.md")


def test_the_hub_reads_licence_base_model_and_datasets(folder):
    said = card_of(
        folder, license="cc-by-4.0", base_model="timm/flowers", datasets=["ada/a", "ada/b"]
    )
    assert said.data.license == "cc-by-4.0"
    assert said.data.base_model == "timm/flowers"
    assert said.data.datasets == ["ada/a", "ada/b"]
    [accuracy, *_] = said.data.eval_results
    assert (accuracy.dataset_split, accuracy.metric_value) == ("test", 0.912)
    assert "Weights: cc-by-4.0." in said.text
    assert "be used for:\nDrawn for tests.\n" in said.text.partition("## Licence")[2]


def test_what_is_not_known_is_not_claimed(folder):
    said = card_of(folder)
    assert not {"license", "base_model", "datasets"} & said.data.to_dict().keys()
    assert "No licence is given." in said.text
    assert "None" not in said.text.replace("[None]", "")
    assert "times out of" not in said.text  # the tiny bundle has no label sets


def test_classes_that_were_taught_are_told(folder):
    manifest = bundle.read_manifest(folder)
    taught = bundle.Taught(
        name="tulip", photos=10, new=True, data="photos", model="tiny", created="2026-01-01"
    )
    write_card(folder, manifest.model_copy(update={"taught": [taught]}))
    text = (folder / "README.md").read_text("utf-8")
    assert "- Taught after training: tulip, from 10 photos\n- Versions:" in text


def test_the_promise_of_label_sets_is_the_manifests(folder):
    manifest = bundle.read_manifest(folder)
    manifest.calibration.label_sets = bundle.LabelSets(coverage=0.95, limit=0.5)
    write_card(folder, manifest)
    assert "one is right 19 times out of 20;" in " ".join(
        (folder / "README.md").read_text().split()
    )


def test_the_card_tells_the_three_ways_to_open_the_model(folder):
    text = card_of(folder).text
    for line in (
        'FlowerClassifier.from_pretrained("USER/MODEL")',
        'keras.saving.load_model("hf://USER/MODEL")',
        'keras.saving.load_model(snapshot_download("USER/MODEL", revision="main"))',
        "pip install FOLDER",
    ):
        assert line in text


def test_a_licence_is_one_that_the_hub_knows():
    assert Experiment(license="apache-2.0").license == "apache-2.0"
    with pytest.raises(UserError, match=r"'apache': did you mean .*apache-2\.0"):
        Experiment(license="apache")
    with pytest.raises(UserError, match=r"give an id such as apache-2\.0"):
        hub.check_license("§")


def test_the_base_model_is_the_repo_that_the_weights_come_from(folder, tmp_path):
    def base(weights, backbone="EfficientNetLite2"):
        return _base_model(Experiment(weights=weights, backbone=backbone))

    assert base("imagenet") == "timm/tf_efficientnet_lite2.in1k"
    assert base("imagenet", "MobileNetV2") is None  # Keras's own, not from the Hub
    assert base(None) is None
    cached = tmp_path / "models--ada--flowers/snapshots/0a1b"
    write_tiny_bundle(cached)
    assert base(str(cached)) == "ada/flowers"
    manifest = bundle.read_manifest(folder)
    assert base(str(folder)) is None
    manifest.provenance.base_model = "timm/flowers"
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    assert base(str(folder)) == "timm/flowers"  # by way of an earlier run
