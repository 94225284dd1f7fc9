"""The bundle that comes with the code, and how it is made."""

import json

import pytest
from helpers import write_tiny_bundle

from flowers_model import FlowerClassifier, bundle
from flowers_model.classifier import DEFAULT
from flowers_model.errors import UserError
from flowers_model.names import oxford_flowers102
from train import release


@pytest.fixture
def trained(tmp_path):
    """A bundle without photos of its data, whose first class is the one of the gallery's flower."""
    folder = write_tiny_bundle(tmp_path / "trained")
    text = (folder / bundle.MANIFEST).read_text("utf-8")
    manifest = json.loads(text)
    manifest["class_names"][0] = "pink-yellow dahlia"
    (folder / bundle.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    for photo in bundle.read_gallery(folder).photos:
        (folder / "gallery" / photo.file).unlink()
    bundle.write_json(folder / "gallery/index.json", bundle.Gallery(credits="None.", photos=[]))
    return folder


def test_a_released_bundle_shows_one_photo_that_may_be_shown(trained, tmp_path):
    to = tmp_path / "default"
    release.release(trained, to)
    bundle.check(to)
    gallery = bundle.read_gallery(to)
    assert [photo.label for photo in gallery.photos] == ["pink-yellow dahlia"]
    assert "CC BY" in gallery.credits
    assert len(bundle.read_embeddings(to, gallery)) == 1
    classifier = FlowerClassifier.from_pretrained(to)
    [prediction] = classifier.classify(to / "gallery" / gallery.photos[0].file)
    assert len(prediction.labels) == 3
    card = (to / "README.md").read_text("utf-8")
    assert card.startswith((trained / "README.md").read_text("utf-8"))
    assert "## Terms" in card
    assert "| candidate |" in card


def test_photos_of_the_data_are_not_released(tmp_path, capsys):
    folder = write_tiny_bundle(tmp_path / "with-photos")
    assert release.main(["--model", str(folder)]) == 2
    assert "holds photos of its data: train with --gallery 0" in capsys.readouterr().err


def test_a_bundle_too_large_to_ship_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "LARGEST", 1000)
    with pytest.raises(UserError, match="too large to ship"):
        release.release(trained, tmp_path / "default")
    assert not (tmp_path / "default").exists()


def test_the_default_bundle_knows_oxfords_flowers():
    manifest = bundle.check(DEFAULT)
    assert manifest.class_names == list(oxford_flowers102())
    assert manifest.provenance.valid_share < 1  # with valid photos that it has not learned from
    assert manifest.calibration.refusal is not None
    assert manifest.calibration.label_sets is not None
    sizes = [path.stat().st_size for path in DEFAULT.rglob("*") if path.is_file()]
    assert max(sizes) <= release.LARGEST_FILE
    assert sum(sizes) <= release.LARGEST
    [photo] = bundle.read_gallery(DEFAULT).photos
    classifier = FlowerClassifier.from_pretrained()
    [prediction] = classifier.classify(DEFAULT / "gallery" / photo.file)
    assert photo.label in prediction.labels
