"""Several sources as one, merged by class name."""

import json
import logging
import sys

import numpy as np
import pytest
from helpers import write_photo_folder

from train.experiment import Experiment
from train.sources import Source, SourceError, Split, open_sources
from train.sources.merge import merge


def source(name: str, classes: list[str], **splits: int) -> Source:
    """A source with `splits` "photos" per class, whose bytes say where they come from."""

    def split(kind: str, per_class: int) -> Split:
        labels = np.tile(np.arange(len(classes), dtype=np.int32), per_class)
        texts = [f"{name} {kind} {classes[label]} {i}" for i, label in enumerate(labels)]
        names = tuple(f"{kind}/{i}.jpg" for i in range(len(labels)))
        return Split(names=names, labels=labels, read=lambda i: texts[i].encode())

    return Source(
        name=name,
        class_names=tuple(classes),
        splits={kind: split(kind, count) for kind, count in splits.items()},
        credits=f"By {name}",
    )


def contents(merged: Source, split: str) -> dict[str, list[str]]:
    """The texts in the photos of each class."""
    found: dict[str, list[str]] = {name: [] for name in merged.class_names}
    for i, label in enumerate(merged.splits[split].labels):
        found[merged.class_names[label]].append(merged.splits[split].read(i).decode())
    return found


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "flowers")
    return lambda: [" ".join(line.split()) for line in caplog.text.splitlines()]


A = source("a", ["rose", "tulip", "iris"], train=4, valid=2, test=1)
B = source("b", ["daisies", "Irises", "roses"], train=3, valid=1, test=2)


def test_union_keeps_all_classes_and_photos():
    merged = merge([A, B])
    assert merged.name == "a + b"
    assert merged.credits == "By a; By b"
    assert merged.class_names == ("rose", "tulip", "iris", "daisies")
    assert {name: len(split) for name, split in merged.splits.items()} == {
        "train": 21,
        "valid": 9,
        "test": 9,
    }
    iris = contents(merged, "valid")["iris"]
    assert iris == ["a valid iris 2", "a valid iris 5", "b valid Irises 1"]
    names = [name for split in merged.splits.values() for name in split.names]
    assert len(set(names)) == len(names)
    assert merged.splits["train"].names[0] == "a/train/0.jpg"
    assert merged.splits["train"].names[-1] == "b/train/8.jpg"


def test_intersection_keeps_what_all_have():
    merged = merge([A, B], "intersection")
    assert merged.class_names == ("rose", "iris")
    assert len(merged.splits["train"]) == 2 * 4 + 2 * 3
    assert {line.split()[2] for line in contents(merged, "train")["rose"]} == {"rose", "roses"}


def test_first_adds_training_photos_to_the_first_source():
    merged = merge([A, source("b", ["iris", "poppy", "rose"], train=3, valid=1)], "first")
    assert merged.class_names == A.class_names
    assert contents(merged, "valid") == contents(A, "valid")
    assert contents(merged, "test") == contents(A, "test")
    train = contents(merged, "train")
    assert [len(train[name]) for name in A.class_names] == [8, 4, 8]
    assert "b valid iris 0" in train["iris"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cyclamen ", "cyclamen"),
        ("Bird of Paradise", "bird_of-paradise"),
        ("colt's foot", "Colts  Foot"),
        ("rose", "roses"),
        ("irises", "iris"),
        ("canna lily", "Canna_Lilies"),
        ("Fritillária", "fritillaria"),
    ],
)
def test_spellings_of_one_name_are_one_class(one, other, said):
    x, y = (
        source(n, [name, f"of {n}"], train=2, valid=1) for n, name in (("x", one), ("y", other))
    )
    assert merge([x, y]).class_names == (one, "of x", "of y")
    assert any(
        " ".join(f"same class: {one!r} and {other!r} of y".split()) in line for line in said()
    )


@pytest.mark.parametrize(("one", "other"), [("aster", "oaster"), ("lily", "canna lily")])
def test_other_names_are_other_classes(one, other):
    x, y = (source(n, [name, "rose"], train=2, valid=1) for n, name in (("x", one), ("y", other)))
    assert merge([x, y]).class_names == (one, "rose", other)


def test_classes_of_one_source_stay_apart():
    x = source("x", ["rose", "tulip"], train=2, valid=1)
    y = source("y", ["Roses", "rose"], train=3, valid=1)
    merged = merge([x, y])
    assert merged.class_names == ("rose", "tulip", "Roses")
    assert contents(merged, "valid")["rose"] == ["x valid rose 0", "y valid rose 1"]


def test_a_table_says_what_came_from_where(said):
    merge([A, B], "first")
    lines = said()
    assert "source train valid test left out classes" in lines
    assert "a 12 6 3 0 3" in lines
    assert "b 12 0 0 6 3" in lines
    assert "together 24 6 3 6 3 classes (first)" in lines
    assert "only in a, kept (1): 'tulip'" in lines
    assert "only in b, left out (1): 'daisies'" in lines


def test_the_same_source_twice_has_names_apart():
    merged = merge([A, A, B])
    assert merged.name == "a + a#2 + b"
    names = [name for split in merged.splits.values() for name in split.names]
    assert len(set(names)) == len(names) == 21 * 2 + 18


def test_mistakes_get_one_line():
    untested = source("c", ["rose", "poppy"], train=2, valid=1)
    with pytest.raises(SourceError, match="test has no photos of 'poppy', because only a has test"):
        merge([A, untested])
    with pytest.raises(SourceError, match="a, c have fewer than two classes in common"):
        merge([A, untested], "intersection")
    assert merge([A, untested], "first").class_names == A.class_names


# The command


def test_one_spec_in_a_saved_run_is_read_as_before():
    assert Experiment(data="quickstart") == Experiment(data=["quickstart"]) == Experiment()


def test_sources_are_opened_by_their_specs(tmp_path):
    for name in ("one", "two"):
        write_photo_folder(tmp_path / name, {"train": 3, "valid": 1})
    specs = [f"folder:{tmp_path / name}" for name in ("one", "two")]
    assert len(open_sources(specs, "union", 0).splits["train"]) == 18
    assert open_sources(specs[:1], "union", 0).name == "one"


def test_several_data_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # train/run.py replaces the first
    from train import run

    write_photo_folder(tmp_path / "one", {"train": 3, "valid": 1})
    flags = ["--data", f"folder:{tmp_path}/one", "--data", f"folder:{tmp_path}/two"]
    folder = tmp_path / "run"
    assert run.main([*flags, "--classes", "intersection", "--output", str(folder)]) == 2
    assert f"There is no folder {tmp_path}/two" in capsys.readouterr().out
    saved = json.loads((folder / "experiment.json").read_text("utf-8"))["experiment"]
    assert saved["data"] == [f"folder:{tmp_path}/{name}" for name in ("one", "two")]
    assert saved["classes"] == "intersection"

    for name in ("aster", "lily"):
        write_photo_folder(tmp_path / "drawn", {name: 3})
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / "drawn" / name / "poppy").rename(tmp_path / "two" / name)
    assert run.main(["--resume", str(folder)]) == 2
    assert "one, two have fewer than two classes in common" in capsys.readouterr().out


def test_known_keeps_the_classes_of_the_first_and_holds_back_some_of_each():
    wide = source("wide", ["rose", "thistle"], train=40)  # one class of its own
    merged = merge([A, B, wide], "known", seed=3)
    assert merged.class_names == A.class_names
    sizes = {name: len(split) for name, split in merged.splits.items()}
    # 15 % of wide's 80 photos are held out; some are thistles, which is not a known class.
    counts = {
        name: {o: split.origins.count(o) for o in dict.fromkeys(split.origins)}
        for name, split in merged.splits.items()
    }
    assert counts["train"]["a"] == 12
    assert counts["valid"]["a"] == 6
    assert counts["train"]["b"] == 6
    assert counts["valid"]["b"] == 2
    assert counts["train"]["wide"] + counts["valid"]["wide"] == 40
    assert 0 < counts["valid"]["wide"] <= 12
    assert counts["test"] == {"a": 3, "b": 4}
    assert sizes == {name: sum(of.values()) for name, of in counts.items()}
    again = merge([A, B, wide], "known", seed=3)
    assert again.splits["valid"].names == merged.splits["valid"].names
    assert all(
        name.startswith(f"{origin}/")
        for name, origin in zip(
            merged.splits["valid"].names, merged.splits["valid"].origins, strict=True
        )
    )
