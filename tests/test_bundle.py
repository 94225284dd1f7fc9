"""The bundle: opened by plain Keras, checked before use, never executed."""

import json
import pathlib

import pytest
from helpers import write_tiny_bundle

from flowers_model import bundle
from flowers_model.bundle import BundleError
from flowers_model.files import replacing


@pytest.fixture
def folder(tmp_path):
    return write_tiny_bundle(tmp_path / "bundle")


def edit(folder: pathlib.Path, name: str, change) -> None:
    value = json.loads((folder / name).read_text("utf-8"))
    change(value)
    (folder / name).write_text(json.dumps(value), "utf-8")


def test_a_whole_bundle_passes(folder):
    manifest = bundle.check(folder)
    assert manifest.class_names == ["blue iris", "poppy", "sunflower"]
    assert manifest.headline == "test top-1 0.912 (4141 photos)"
    assert manifest.held_out == "test"
    assert bundle.held_out(["train", "valid"]) == "valid"
    assert bundle.held_out([]) is None


@pytest.mark.parametrize("name", bundle.REQUIRED_FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name.replace('.', '[.]')} missing"):
        bundle.check(folder)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: m.pop("class_names"), "class_names"),
        (lambda m: m["class_names"].clear(), "class_names"),
        (lambda m: m["class_names"].__setitem__(1, 7), "class_names.1"),
        (lambda m: m.update(schema_version=2), "schema_version"),
        (lambda m: m["input"].update(size=-1), "input.size"),
        (lambda m: m["input"].update(crop=1.5), "input.crop"),
        (lambda m: m["calibration"].update(temperature=0), "calibration.temperature"),
        (lambda m: m["metrics"]["test"].update(top1=91.2), "metrics.test.top1"),
        (lambda m: m["provenance"].pop("seed"), "provenance.seed"),
    ],
)
def test_a_manifest_that_does_not_fit_names_the_field(folder, change, field):
    edit(folder, bundle.MANIFEST, change)
    with pytest.raises(BundleError, match=field) as caught:
        bundle.check(folder)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_no_json_is_refused(folder):
    (folder / bundle.MANIFEST).write_text("{", "utf-8")
    with pytest.raises(BundleError, match=r"classifier\.json: the whole file"):
        bundle.check(folder)


@pytest.mark.parametrize("file", ["../classifier.json", "/etc/hostname", "a/../../x", "..\\x"])
def test_a_gallery_cannot_reach_outside_the_bundle(folder, file):
    edit(folder, "gallery/index.json", lambda g: g["photos"][0].update(file=file))
    with pytest.raises(BundleError, match="outside the gallery"):
        bundle.check(folder)


def test_a_gallery_label_must_be_a_class(folder):
    edit(folder, "gallery/index.json", lambda g: g["photos"][0].update(label="oak"))
    with pytest.raises(BundleError, match="'oak'"):
        bundle.check(folder)


def test_a_gallery_photo_must_be_there(folder):
    (folder / "gallery/1.jpg").unlink()
    with pytest.raises(BundleError, match=r"1\.jpg"):
        bundle.check(folder)


def test_code_in_a_network_is_never_run(folder):
    import keras

    from flowers_model.engine import KerasEngine
    from flowers_model.network import NetworkError

    photos = keras.Input((32, 32, 3))
    network = keras.Model(photos, keras.layers.Lambda(lambda x: x + 1)(photos))
    bundle.save_network(network, folder)
    with pytest.raises(NetworkError, match=r"[Ll]ambda"):
        KerasEngine(folder)


def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path) as temporary:
        temporary.with_name("elsewhere").write_text(path.with_name("missing").read_text())
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_replacing_takes_a_whole_folder_with_it(tmp_path):
    path = tmp_path / "room"
    path.mkdir()
    (path / "stale").touch()
    with replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "fresh").touch()
    assert [p.name for p in path.iterdir()] == ["fresh"]
    assert [p.name for p in tmp_path.iterdir()] == ["room"]
