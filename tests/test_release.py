"""The bundle that comes with the code, and how it is made."""

import logging

import numpy as np
import pytest
from helpers import COLOURS, photo, write_tiny_bundle

from flowers_model import FlowerClassifier, bundle
from flowers_model.classifier import DEFAULT
from flowers_model.errors import UserError
from flowers_model.names import oxford_flowers102
from train import release as command
from train.bundles import release
from train.bundles.release import FEWEST_PHOTOS, LARGEST, LARGEST_FILE


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A bundle without photos of its data, and photos that it answers correctly except for one."""
    folder = write_tiny_bundle(tmp_path / "trained")
    for shown in bundle.read_gallery(folder).photos:
        (folder / "gallery" / shown.file).unlink()
    bundle.write_json(folder / "gallery/index.json", bundle.Gallery(credits="None.", photos=[]))
    photos = tmp_path / "photos"
    photos.mkdir()
    classifier = FlowerClassifier.from_pretrained(folder)
    rows = ["file,class,author,source,licence,licence_url,changes"]
    for number, colour in enumerate(COLOURS.values()):
        (photos / f"{number}.jpg").write_bytes(photo(colour, number))
        [said] = classifier.classify(photos / f"{number}.jpg")
        label = said.labels[0 if number else 1]  # the first one is labelled wrongly
        rows.append(f"{number}.jpg,{label},Ann,https://example.org/{number},CC BY 2.0,,cropped")
    (photos / "credits.csv").write_text("\n".join(rows), "utf-8")
    (photos / "README.md").write_text("Terms.", "utf-8")
    monkeypatch.setattr(release, "PHOTOS", photos)
    monkeypatch.setattr(release, "FEWEST_PHOTOS", 2)
    monkeypatch.setattr(release, "FEWEST_KINDS", 1)
    return folder


def test_a_released_bundle_shows_photos_that_it_answers_rightly(trained, tmp_path, caplog):
    caplog.set_level(logging.INFO, "flowers")
    to = tmp_path / "default"
    release.release(trained, to)
    bundle.check(to)
    gallery = bundle.read_gallery(to)
    assert sorted(shown.file for shown in gallery.photos) == ["1.jpg", "2.jpg"]
    assert "left out: 0.jpg" in caplog.text
    assert gallery.photos[0].author == "Ann"
    assert gallery.photos[0].changes == "cropped"
    classifier = FlowerClassifier.from_pretrained(to)
    answers = classifier.answer(
        np.stack([classifier.prepare(to / "gallery" / shown.file) for shown in gallery.photos])
    )
    # Of a class, the surest photo comes first.
    found = [
        (prediction.labels[0], -prediction.probabilities[0])
        for prediction in classifier.predictions(answers, top=1)
    ]
    assert found == sorted(found)
    assert [label for label, _ in found] == [shown.label for shown in gallery.photos]
    kept = bundle.read_embeddings(to, gallery)
    np.testing.assert_allclose(kept, answers.embeddings, rtol=1e-2, atol=1e-3)
    card = (to / "README.md").read_text("utf-8")
    assert card.startswith("---\n")
    assert "| test | 4,141 | 91.2 %" in card
    assert "## Terms" in card
    assert "| candidate |" in card
    assert "[Ann](https://example.org/1) | CC BY 2.0 | cropped |" in card
    credits = (to / "gallery/credits.csv").read_text("utf-8")
    assert "1.jpg" in credits
    assert "0.jpg" not in credits
    assert (to / "gallery/README.md").is_file()


def test_a_released_bundle_has_todays_names(trained, tmp_path):
    manifest = bundle.read_manifest(trained)
    manifest.display_names = {"poppy": "an old name"}
    bundle.write_json(trained / bundle.MANIFEST, manifest)
    released = release.release(trained, tmp_path / "default", license="apache-2.0")
    assert released.display_names == {}  # these classes need no display names
    assert released.scientific_names["sunflower"] == "Helianthus annuus"
    card = (tmp_path / "default/README.md").read_text("utf-8")
    assert "an old name" not in card
    assert "license: apache-2.0" in card
    assert released.provenance.license == "apache-2.0"
    with pytest.raises(UserError, match="the Hub knows no licence 'Apache'"):
        release.release(trained, tmp_path / "default", license="Apache")


def test_a_model_that_knows_too_few_photos_is_not_released(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "FEWEST_PHOTOS", 3)
    with pytest.raises(UserError, match="of 3 photos for the gallery, the model classifies 2"):
        release.release(trained, tmp_path / "default")
    assert not (tmp_path / "default").exists()


def test_photos_of_the_data_are_not_released(tmp_path, capsys):
    folder = write_tiny_bundle(tmp_path / "with-photos")
    assert command.main(["--model", str(folder)]) == 2
    assert "contains photos of its dataset: train with --gallery 0" in capsys.readouterr().err


def test_a_bundle_too_large_to_ship_is_refused(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "LARGEST", 1000)
    with pytest.raises(UserError, match="too large to ship"):
        release.release(trained, tmp_path / "default")
    assert not (tmp_path / "default").exists()


@pytest.mark.slow
def test_the_default_bundle_knows_oxfords_flowers():
    manifest = bundle.check(DEFAULT)
    assert manifest.class_names == list(oxford_flowers102())
    assert manifest.provenance.valid_share < 1  # some valid photos were not trained on
    assert manifest.calibration.refusal is not None
    assert manifest.calibration.label_sets is not None
    sizes = [path.stat().st_size for path in DEFAULT.rglob("*") if path.is_file()]
    assert max(sizes) <= LARGEST_FILE
    assert sum(sizes) <= LARGEST
    gallery = bundle.read_gallery(DEFAULT)
    assert len(gallery.photos) >= FEWEST_PHOTOS
    classifier = FlowerClassifier.from_pretrained()
    for shown in gallery.photos:
        [prediction] = classifier.classify(DEFAULT / "gallery" / shown.file)
        assert prediction.refused == shown.unknown
        assert shown.unknown or prediction.labels[0] == shown.label
        assert shown.author
        assert shown.licence
    assert manifest.display_names["watercress"] == "nasturtium"
