"""`python -m train.predict`: tables of answers, and Kaggle's submission."""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from helpers import COLOURS, photo, write_photo_folder, write_tiny_bundle
from test_tfrecord import record, write_shard

from flowers_model import FlowerClassifier, bundle
from flowers_model.command import reporting_mistakes
from flowers_model.names import petals104
from train import predict
from train.evaluation.answers import photo_items


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A bundle that refuses by probability, and has label sets."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle"))
    manifest = bundle.read_manifest(folder)
    manifest.calibration.refusal = bundle.Refusal(
        score="probability", center=-0.5, threshold=-0.4, keeps=0.95, auroc={"probability": 0.9}
    )
    manifest.calibration.label_sets = bundle.LabelSets(coverage=0.9, limit=0.5)
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_photo_folder(folder, {"train": 1, "valid": 1, "test": 2})


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = predict.main([str(word) for word in arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_photos_are_named_as_the_classifier_names_them(model, data, tmp_path, capsys):
    (tmp_path / "notes.jpg").write_text("Dear diary")
    status, out, _ = run(capsys, "--model", model, data / "test", tmp_path / "notes.jpg")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    files = sorted((data / "test").rglob("*.jpg"))
    assert [row["photo"] for row in rows] == [*map(str, files), str(tmp_path / "notes.jpg")]
    expected = FlowerClassifier.from_pretrained(model).classify(files)
    for row, prediction in zip(rows, expected, strict=False):
        assert row["guess"] == prediction.labels[0]
        assert float(row["probability"]) == pytest.approx(prediction.probabilities[0], abs=1e-5)
        assert row["refused"] == ("yes" if prediction.refused else "no")
        assert row["label_set"].split(";") == prediction.label_set
    assert "cannot be read as a photo" in rows[-1]["error"]
    assert rows[-1]["guess"] == ""


def test_folders_are_walked_as_for_training(data, tmp_path):
    folder, photo = tmp_path / "mine", (data / "test/poppy/000.jpg").read_bytes()
    for name in ("a.jfif", "b.JPE", "c.dib", "@d.jpg", "._a.jpg", "__MACOSX/a.jpg", "@eaDir/a.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo)
    (folder / "album.jpg").mkdir()
    (folder / "album.jpg/inside.jpg").write_bytes(photo)
    (folder / "circle").symlink_to(folder)
    (folder / "linked").symlink_to(data / "test/poppy")
    names = [item.name.removeprefix(f"{folder}/") for item in photo_items([str(folder)])]
    assert sorted(names) == [
        *("@d.jpg", "a.jfif", "album.jpg/inside.jpg", "b.JPE", "c.dib"),
        *("linked/000.jpg", "linked/001.jpg"),
    ]


@pytest.fixture
def odd(tmp_path) -> tuple[pathlib.Path, list[str]]:
    """A folder of photos, one name not UTF-8, one not in Windows code pages; the names."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in (b"Ros\xe9e.jpg", "桜.jpg".encode(), b"rose.jpg"):
        try:
            (folder / os.fsdecode(name)).write_bytes(photo(COLOURS["poppy"]))
        except OSError:
            pytest.skip("this file system does not take such names")
    return folder, [f"{folder}/{name}" for name in ("Ros\\udce9e.jpg", "rose.jpg", "桜.jpg")]


def test_names_that_are_no_unicode_are_escaped(model, odd, tmp_path, capsys):
    folder, names = odd
    (folder / os.fsdecode(b"\xff.jpg")).write_text("Dear diary")
    names.insert(2, f"{folder}/\\udcff.jpg")
    for suffix in ("csv", "jsonl"):
        output = tmp_path / f"answers.{suffix}"
        assert run(capsys, "--model", model, folder, "--output", output)[0] == 0
        text = output.read_text("utf-8")
        if suffix == "csv":
            rows = list(csv.DictReader(io.StringIO(text)))
        else:
            rows = [json.loads(line) for line in text.splitlines()]
        assert sorted(row["photo"] for row in rows) == sorted(names)
        assert sum(bool(row.get("error")) for row in rows) == 1


def test_what_a_pipe_cannot_write_is_escaped(model, odd):
    folder, names = odd
    done = subprocess.run(
        [sys.executable, "-m", "train.predict", "--model", model, folder],
        cwd=pathlib.Path(predict.__file__).parent.parent,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert [line.partition(",")[0] for line in done.stdout.splitlines()[1:]] == [
        *names[:2], names[2].replace("桜", "\\u685c")
    ]  # fmt: skip


def test_an_interruption_is_one_line_and_status_130(capsys):
    @reporting_mistakes
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    assert interrupted([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_split_becomes_json_lines_with_labels(model, data, tmp_path, capsys):
    output = tmp_path / "answers.jsonl"
    spec = f"folder:{data}"
    status, out, _ = run(capsys, "--model", model, "--data", spec, "--output", output, "--top", 2)
    assert (status, out) == (0, f"{output}: 6 photos\n")
    rows = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert sorted(row["label"] for row in rows) == sorted(list(COLOURS) * 2)
    assert all(len(row["labels"]) == len(row["probabilities"]) == 2 for row in rows)
    assert isinstance(rows[0]["refusal_score"], float)


def test_several_models_and_views_are_averaged(model, data, tmp_path, capsys):
    def table(*arguments) -> list[dict]:
        status, out, _ = run(capsys, *arguments, data / "test")
        assert status == 0
        return list(csv.DictReader(io.StringIO(out)))

    once = table("--model", model)
    assert table("--model", model, "--model", model) == once
    flipped = table("--model", model, "--tta", "flips")
    gaps = [
        float(a["probability"]) - float(b["probability"])
        for a, b in zip(once, flipped, strict=True)
    ]
    assert 0 < np.abs(gaps).max() < 0.2


@pytest.fixture(scope="module")
def petals_model(tmp_path_factory):
    """A bundle that knows the 104 classes, in a different order."""
    import keras

    from flowers_model import network
    from flowers_model.export import export

    folder = write_tiny_bundle(tmp_path_factory.mktemp("petals"))
    keras.utils.set_random_seed(3)
    bundle.save_network(network.build("ConvNet", 104, 32, filters=(4, 8)), folder)
    export(folder)
    manifest = bundle.read_manifest(folder)
    manifest.class_names = sorted(petals104())
    bundle.write_json(folder / bundle.MANIFEST, manifest)
    bundle.write_json(folder / "gallery/index.json", bundle.Gallery(credits="None.", photos=[]))
    return folder


def test_a_submission_has_the_ids_and_kaggles_class_numbers(petals_model, tmp_path, capsys):
    photos = {f"id{i}": photo((40 * i, 90, 200 - 40 * i), i, (64, 48)) for i in range(5)}
    records = [record(image, id=name.encode()) for name, image in photos.items()]
    write_shard(tmp_path / "224x224/test", records[:3])
    write_shard(tmp_path / "224x224/test", records[3:], "01-224x224-2.tfrec")
    (tmp_path / "224x224/test/._00-224x224-3.tfrec").write_bytes(b"Mac OS X")
    output = tmp_path / "submission.csv"
    arguments = ("--model", petals_model, "--data", f"tfrecord:{tmp_path}", "--kaggle")
    arguments += ("--output", output)
    assert run(capsys, *arguments)[0] == 0
    with open(output, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == list(photos)
    answers = FlowerClassifier.from_pretrained(petals_model).classify(list(photos.values()))
    assert [petals104()[int(row["label"])] for row in rows] == [a.labels[0] for a in answers]

    sample = tmp_path / "sample_submission.csv"
    sample.write_text("id,label\n" + "".join(f"{name},0\n" for name in reversed(photos)))
    assert run(capsys, *arguments)[0] == 0
    sample.write_text("id,label\nid0,0\nid9,0\n")
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert "are not in both" in err
    sample.unlink()
    write_shard(tmp_path / "224x224/test", [records[0]], "02-224x224-1.tfrec")
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert "the id 'id0' 2 times" in err
    write_shard(tmp_path / "224x224/test", [records[0]], "02-224x224-7.tfrec")
    assert "has 7 records, but 13 according to the shards' names" in run(capsys, *arguments)[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either photos or --data"),
        (["/nowhere.jpg"], "/nowhere.jpg does not exist"),
        (["--data", "quickstart", "x.jpg"], "give either photos or --data"),
        (["--data", "quickstart"], "of the 13 classes"),
        (["x.jpg", "--output", "x.txt"], "must end in .csv or .jsonl"),
        (["x.jpg", "--top", "0"], "--top must be at least 1"),
        (["x.jpg", "--kaggle"], "--kaggle needs --data tfrecord:PATH"),
        (["--data", "tfrecord:/nowhere", "--kaggle"], "needs a model of the 104 classes"),
    ],
)
def test_a_mistake_gets_one_line_and_status_2(
    model, capsys, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)  # where submission.csv would be written
    status, _, err = run(capsys, "--model", model, *arguments)
    [line] = err.splitlines()
    assert status == 2
    assert message in line
