"""Classes taught from a few photos: the bundle is still one network, old classes do not change."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from helpers import COLOURS, photo, use_hub, write_teachable_bundle, write_tiny_bundle
from hub_server import HubServer

from flowers_model import FlowerClassifier, bundle, hub, network, teach
from flowers_model.engine import KerasEngine, OnnxEngine
from flowers_model.errors import UserError
from flowers_model.export import OUTPUTS, export
from flowers_model.grow import read_head
from flowers_model.lesson import TAUGHT as TAUGHT_SECTION
from flowers_model.statistics import (
    read_statistics,
    write_statistics,
)
from page import visit as page_visit
from page.words import ENGLISH

VIOLET, GREEN = (140, 30, 200), (30, 160, 60)
TAUGHT = {"violet": VIOLET, "fern": GREEN}


def photos(colour, count, start=0):
    return [photo(colour, 500 + start + i) for i in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_teachable_bundle(tmp_path_factory.mktemp("teach") / "model")


@pytest.fixture(scope="module")
def lesson(model):
    classifier = FlowerClassifier.from_pretrained(model)
    return classifier.teach({name: photos(colour, 6) for name, colour in TAUGHT.items()})


@pytest.fixture(scope="module")
def taught(lesson, tmp_path_factory):
    return lesson.write(tmp_path_factory.mktemp("taught") / "bundle")


def test_a_taught_model_names_new_and_old_classes(lesson, taught):
    for classifier in (lesson.classifier, taught):
        for name, colour in (COLOURS | TAUGHT).items():
            said = classifier.classify(photos(colour, 4, 50))
            assert [one.labels[0] for one in said] == [name] * 4
            assert all(name in one.label_set for one in said)


def test_the_columns_of_old_classes_stay_bit_for_bit(model, taught):
    before, after = read_head(model), read_head(taught.folder)
    np.testing.assert_array_equal(after.kernel[:, :3], before.kernel)
    np.testing.assert_array_equal(after.bias[:3], before.bias)


def test_a_taught_bundle_is_one_network_in_two_forms(taught):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    engines = OnnxEngine(taught.folder), KerasEngine(taught.folder)
    for ours, theirs in zip(*(one.run(pictures, OUTPUTS) for one in engines), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    import keras

    plain = keras.saving.load_model(taught.folder)
    assert plain.output.shape == (None, 5)
    onnx.checker.check_model(onnx.load(taught.folder / "model.onnx"), full_check=True)


def test_a_lesson_answers_as_the_bundle_that_it_writes(lesson, taught):
    pictures = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    for ours, theirs in zip(
        lesson.classifier.engine.run(pictures, OUTPUTS),
        taught.engine.run(pictures, OUTPUTS),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_manifest_says_what_was_taught(taught):
    manifest = bundle.check(taught.folder)
    assert manifest.schema_version == 1
    assert manifest.class_names == [*COLOURS, *TAUGHT]
    assert [(one.name, one.photos, one.new) for one in manifest.taught] == [
        ("violet", 6, True),
        ("fern", 6, True),
    ]
    assert all(one.right == 1 for one in manifest.taught)
    assert manifest.metrics["valid"].count == 24 + 12
    assert manifest.metrics["valid"].top1 == 1
    assert "| violet | 6 | new |" in (taught.folder / "README.md").read_text("utf-8")
    gallery = bundle.read_gallery(taught.folder)
    assert [one.label for one in gallery.photos].count("violet") == 2


def test_a_taught_bundle_goes_through_the_hub_whole(taught, repo_id, monkeypatch):
    with HubServer() as server:
        server.add_token("hf_tokenOfAda", "ada", write=True)
        use_hub(server, monkeypatch, "hf_tokenOfAda")
        hub.publish(taught.folder, repo_id)
        fetched = FlowerClassifier.from_pretrained(repo_id)
        assert fetched.label_names == [*COLOURS, *TAUGHT]
        again = fetched.teach({"brown": photos((90, 60, 30), 3)})
    assert again.classifier.label_names[-1] == "brown"


def test_the_page_teaches_for_one_visit_within_limits(model, tmp_path):
    classifier = FlowerClassifier.from_pretrained(model)
    assert page_visit.can_be_taught(classifier)

    def files(colour, count, start=0):
        found = []
        for i, data in enumerate(photos(colour, count, start)):
            path = tmp_path / f"{colour[0]}-{start + i}.jpg"
            path.write_bytes(data)
            found.append({"path": str(path), "orig_name": path.name})
        return found

    visit = page_visit.taught(classifier, None, " violet ", files(VIOLET, 4), ENGLISH)
    visit = page_visit.taught(classifier, visit, "Violet", files(VIOLET, 2, 20), ENGLISH)
    visit = page_visit.taught(
        classifier, visit, "SUNFLOWER", files(COLOURS["sunflower"], 3), ENGLISH
    )
    assert {name: len(those) for name, those in visit.photos.items()} == {
        "violet": 6,
        "sunflower": 3,
    }
    assert visit.lesson.classifier.label_names == [*COLOURS, "violet"]
    assert {name: len(those) for name, those in visit.thumbnails.items()} == {
        "violet": 6,
        "sunflower": 3,
    }
    [answer] = visit.classifier.answer(
        visit.classifier.prepare(photos(VIOLET, 1, 60)[0])[None]
    ).embeddings
    alike = sorted(visit.alike(answer), reverse=True)
    assert all("violet" in figure for _, figure in alike[:6])
    assert classifier.label_names == list(COLOURS)
    for name, sent, said in (
        ("", files(GREEN, 3), "s name first"),
        ("fern", [], "up to 10 photos"),
        ("violet", files(VIOLET, 5, 40), "up to 10 photos"),
        ("fern", [{"path": None}], "no photo"),
    ):
        with pytest.raises(UserError, match=said):
            page_visit.taught(classifier, visit, name, sent, ENGLISH)
    assert len(visit.photos["violet"]) == 6


def test_classes_are_taught_one_after_another(taught, tmp_path):
    again = taught.teach({"brown": photos((90, 60, 30), 6)}).write(tmp_path / "again")
    assert again.label_names == [*COLOURS, *TAUGHT, "brown"]
    assert [one.name for one in again.manifest.taught] == [*TAUGHT, "brown"]
    assert len(read_statistics(again.folder).taught) == 18
    for name, colour in (COLOURS | TAUGHT | {"brown": (90, 60, 30)}).items():
        assert [one.labels[0] for one in again.classify(photos(colour, 3, 60))] == [name] * 3
    assert (again.folder / "README.md").read_text("utf-8").count(TAUGHT_SECTION) == 1


def test_a_class_that_it_knows_is_improved_and_the_others_stay(model):
    classifier = FlowerClassifier.from_pretrained(model)
    dark = [photo((110, 20, 15), i) for i in range(20)]
    before = classifier.classify(dark[8:], top=3)
    before = np.mean([one.probabilities[one.labels.index("poppy")] for one in before])
    lesson = classifier.teach({"poppy": dark[:8]})
    assert lesson.classifier.label_names == list(COLOURS)
    assert not lesson.classes[0].new
    said = lesson.classifier.classify(dark[8:])
    assert all(one.labels[0] == "poppy" for one in said)
    after = np.mean([one.probabilities[0] for one in said])
    assert after > min(before, 0.99)
    for name, colour in COLOURS.items():
        assert lesson.classifier.classify(photos(colour, 1))[0].labels[0] == name


def test_what_is_doubtful_is_said_with_the_photo(model, tmp_path):
    files = []
    for number, colour in enumerate([VIOLET] * 6 + [COLOURS["poppy"]]):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(photo(colour, 900 + number))
    classifier = FlowerClassifier.from_pretrained(model)
    lesson = classifier.teach(
        {
            "violet": [*files, files[0]],
            "bronze": photos((120, 70, 20), 2, 70),
            "lilac": photos(VIOLET, 6, 80),
        }
    )
    answer, _ = lesson.answers["violet"][6]
    assert answer != "violet"
    said = "\n".join(lesson.notes)
    assert f"the model says {answer}. Is that photo right?" in said
    assert "0.jpg is the same photo as 0.jpg: it counts once." in said
    assert "6.jpg does not fit the other photos of violet" in said
    assert "bronze: 2 photos are few" in said
    assert "violet and lilac look alike" in said or "lilac and violet look alike" in said


def test_photos_that_look_like_an_old_class_are_said_to(model):
    lesson = FlowerClassifier.from_pretrained(model).teach(
        {"red thing": photos(COLOURS["poppy"], 3, 30)}
    )
    [one] = lesson.classes
    assert one.right < 1
    assert any("looks like poppy, which it knows" in note for note in lesson.notes) or any(
        "the model says poppy" in note for note in lesson.notes
    )


def test_the_command_teaches_without_keras(model, tmp_path):
    for name, colour in TAUGHT.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i, data in enumerate(photos(colour, 4)):
            (tmp_path / "photos" / name / f"{i}.jpg").write_bytes(data)
    code = (
        "import sys; from flowers_model.teach import main; status = main(sys.argv[1:]);"
        "loaded = {'keras', 'jax', 'tensorflow', 'torch'} & set(sys.modules); print(loaded);"
        "sys.exit(status or len(loaded))"
    )
    command = [sys.executable, "-c", code, "--model", model, "--data"]
    command += [f"folder:{tmp_path / 'photos'}", "--output", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "violet: new, 4 photos, 100% right when left out" in done.stdout
    assert bundle.check(tmp_path / "out").taught[0].data == "photos"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("PHOTOS", "must be folder:PATH"),
        ("folder:nowhere", "there is no folder 'nowhere'"),
        ("folder:{tmp}", "has no subfolders"),
    ],
)
def test_mistakes_are_one_line(model, tmp_path, capsys, data, said):
    arguments = ["--data", data.format(tmp=tmp_path), "--model", str(model)]
    assert teach.main([*arguments, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_bundle_from_before_says_how_to_make_it_ready(tmp_path):
    folder = write_tiny_bundle(tmp_path / "old")
    with pytest.raises(UserError, match=r"statistics.npz.*train.calibrate"):
        FlowerClassifier.from_pretrained(folder).teach({"violet": photos(VIOLET, 3)})


def test_a_head_with_hidden_layers_cannot_be_taught(tmp_path):
    net = network.build("ConvNet", 3, 32, filters=(4,), head_units=(5,))
    bundle.save_network(net, tmp_path)
    export(tmp_path)
    with pytest.raises(UserError, match="hidden layers"):
        read_head(tmp_path)


def test_statistics_are_read_as_they_were_written_and_checked(model, tmp_path):
    statistics = read_statistics(model)
    write_statistics(tmp_path, statistics)
    again = read_statistics(tmp_path)
    for name, values in vars(statistics).items():
        np.testing.assert_array_equal(getattr(again, name), values)
    path = tmp_path / bundle.STATISTICS
    with np.load(path) as arrays:
        short = dict(arrays) | {"held_out": arrays["held_out"][:-1]}
    np.savez(path, **short)
    with pytest.raises(bundle.BundleError, match="held_out does not fit"):
        read_statistics(tmp_path)
    path.write_bytes(b"no archive")
    with pytest.raises(bundle.BundleError, match="damaged"):
        read_statistics(tmp_path)
