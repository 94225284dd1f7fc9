"""Labelled photos on the page: names, credits, and flowers that the model does not know."""

import json

import pytest
from helpers import photo, write_tiny_bundle

from flowers_model import FlowerClassifier, bundle
from flowers_model.names import display, oxford_flowers102, petals104, scientific
from page.examples import Examples
from page.tabs.answer import Answer, render
from page.words import ENGLISH


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny bundle whose poppies are called meadow poppies, with a tulip in its gallery."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "model")
    manifest = json.loads((folder / bundle.MANIFEST).read_text("utf-8"))
    manifest["display_names"] = {"poppy": "meadow <poppy>"}
    (folder / bundle.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    gallery = bundle.read_gallery(folder)
    first = gallery.photos[0].model_copy(
        update={
            "author": "Ann & Co",
            "source": "https://example.org/1",
            "licence": "CC BY 2.0",
            "licence_url": "javascript:alert(1)",
            "changes": "reduced in size",
        }
    )
    (folder / "gallery/tulip.jpg").write_bytes(photo((200, 30, 160)))
    tulip = bundle.GalleryPhoto(file="tulip.jpg", label="tulip", unknown=True)
    photos = [first, *gallery.photos[1:], tulip]
    bundle.write_json(folder / "gallery/index.json", bundle.Gallery(credits="", photos=photos))
    return folder


def test_a_flower_that_the_model_does_not_know_may_be_shown_as_such(folder):
    manifest = bundle.check(folder)
    examples = Examples(folder, manifest.display_names)
    assert [examples.labels[i] for i in examples.unknown] == ["tulip"]
    assert "tulip" not in examples.by_class
    gallery = bundle.read_gallery(folder)
    gallery.photos[-1].unknown = False
    other = folder.with_name("other")
    write_tiny_bundle(other)
    (other / "gallery/tulip.jpg").write_bytes(photo((200, 30, 160)))
    bundle.write_json(other / "gallery/index.json", gallery)
    with pytest.raises(bundle.BundleError, match="no class is called 'tulip'"):
        bundle.check(other)


def test_a_photo_says_who_took_it_and_links_to_web_pages_alone(folder):
    examples = Examples(folder, {})
    said = examples.credit(0, ENGLISH)
    assert '<a href="https://example.org/1"' in said
    assert "Ann &amp; Co" in said
    assert "CC BY 2.0, reduced in size" in said
    assert "javascript" not in said
    assert examples.credit(1, ENGLISH) == ""
    assert said in examples.figure(0, ENGLISH)
    assert said in examples.strip([0, 1], ENGLISH)


def test_people_are_told_the_display_name_and_programs_the_class(folder):
    classifier = FlowerClassifier.from_pretrained(folder)
    [prediction] = classifier.classify(photo((220, 40, 30)), top=3)
    assert set(prediction.labels) == {"blue iris", "poppy", "sunflower"}
    assert prediction.shown("poppy") == "meadow <poppy>"
    assert prediction.shown("sunflower") == "sunflower"
    flowers = {name: i for i, name in enumerate(classifier.label_names)}
    said = render(Answer(prediction, [], 1.0, {}, flowers, "", 0.0, "tulip"), ENGLISH)
    assert "meadow &lt;poppy&gt; <small" in said
    assert "“poppy” in the data set" in said


def test_names_mend_what_oxfords_classes_show_and_nobody_elses():
    oxford = oxford_flowers102()
    assert display(oxford)["pelargonium"] == "blue hibiscus"
    assert scientific(oxford)["pelargonium"] == "Alyogyne huegelii"
    assert scientific(oxford)["watercress"] == "Tropaeolum majus"
    assert display(oxford)["orange dahlia"] == "Mexican sunflower"
    assert set(display(oxford)) < set(oxford)
    assert len(set(display(oxford).values()) | set(oxford)) == len(oxford) + len(display(oxford))
    for others in (petals104(), ("mallow", "rose"), (*oxford, "tulip")):
        assert display(others) == {}
    assert scientific(("mallow", "rose")) == {"mallow": "Malva", "rose": "Rosa"}
