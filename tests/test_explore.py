"""`python -m train.explore`: it finds planted flaws, and training uses the list it writes."""

import contextlib
import csv
import dataclasses
import io
import os
import pathlib
import re

import numpy as np
import pytest
from helpers import photo
from PIL import Image, ImageEnhance

from flowers_model.errors import UserError
from flowers_model.photo import decode
from train import explore
from train.data.survey import kept_photos, survey
from train.experiment import Experiment
from train.loop import training
from train.reports import exploration, survey_figures
from train.sources import SourceError, Split, open_source
from train.sources.split_list import apply_split_list, write_split_list

CLASSES = ("lily", "rose <b>", "tulip")


def scene(seed: int) -> Image.Image:
    """A unique picture: a few random soft blobs, 120 x 90 pixels."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((120, 90), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module", autouse=True)
def few():
    """Show only a few samples, because drawing them is slow."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(survey_figures, "SAMPLES", 6)
        patched.setattr(survey_figures, "DRAWS", 2)
        patched.setattr(exploration, "AUGMENTED", 2)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three splits of three classes; all photos differ, except for the planted flaws."""
    root = tmp_path_factory.mktemp("photos")
    seed = 0
    for split, count in {"train": 5, "valid": 3, "test": 3}.items():
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                (root / split / name / f"{i}.jpg").write_bytes(encoded(scene(seed)))
                seed += 1

    def plant(name: str, content: bytes) -> None:
        (root / name).write_bytes(content)

    original = (root / "test/lily/0.jpg").read_bytes()
    plant("train/lily/bytes.jpg", original)
    plant("valid/lily/pixels.png", encoded(Image.fromarray(decode(original)), "PNG"))
    plant("train/tulip/label.jpg", (root / "train/lily/1.jpg").read_bytes())
    changed = ImageEnhance.Brightness(Image.open(root / "train/rose <b>/2.jpg")).enhance(1.15)
    plant("train/rose <b>/near.jpg", encoded(changed.resize((90, 68)), quality=60))
    plant("train/tulip/cut.jpg", original[: len(original) // 2])
    plant("train/tulip/small.jpg", photo((90, 40, 160), size=(40, 20)))
    plant("train/lily/grey.png", encoded(Image.new("L", (64, 48), 60), "PNG"))
    plant("train/lily/white.png", encoded(Image.new("L", (64, 48), 255), "PNG"))
    return root


@pytest.fixture(scope="module")
def output(data, tmp_path_factory):
    before = contents(data)
    folder = tmp_path_factory.mktemp("explored") / "new"
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert explore.main(["--data", f"folder:{data}", "--output", str(folder), "--clean"]) == 0
    assert "41 photos, 1 unreadable, 1 tiny; 4 pairs" in said.getvalue()
    assert contents(data) == before
    return folder


def contents(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(path: pathlib.Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_overview_has_a_row_a_photo(output):
    rows = {row["path"]: row for row in table(output / "overview.csv")}
    assert len(rows) == 41
    assert rows["valid/lily/pixels.png"] | {"bytes": "", "hash": ""} == {
        "path": "valid/lily/pixels.png",
        "split": "valid",
        "class": "lily",
        "width": "120",
        "height": "90",
        "mode": "RGB",
        "bytes": "",
        "hash": "",
        "status": "ok",
    }
    assert rows["train/lily/grey.png"]["mode"] == "L"
    assert rows["train/lily/bytes.jpg"]["hash"] == rows["test/lily/0.jpg"]["hash"]
    assert rows["train/tulip/small.jpg"]["status"] == "tiny"
    cut = rows["train/tulip/cut.jpg"]
    assert (cut["status"], cut["width"], cut["mode"]) == ("unreadable", "", "")
    assert int(cut["bytes"]) > 0


def test_finds_the_planted_duplicates_and_no_others(output):
    found = {
        frozenset((row["path_1"], row["path_2"])): (
            row["kind"],
            row["crosses_splits"],
            row["two_labels"],
        )
        for row in table(output / "duplicates.csv")
    }
    assert found == {
        frozenset(("train/lily/bytes.jpg", "test/lily/0.jpg")): ("bytes", "yes", "no"),
        frozenset(("train/lily/bytes.jpg", "valid/lily/pixels.png")): ("pixels", "yes", "no"),
        frozenset(("train/lily/1.jpg", "train/tulip/label.jpg")): ("bytes", "no", "yes"),
        frozenset(("train/rose <b>/2.jpg", "train/rose <b>/near.jpg")): ("near", "no", "no"),
    }


def test_tables_of_classes_and_splits(output):
    lily, rose, tulip = table(output / "classes.csv")
    assert lily == {"class": "lily", "train": "8", "valid": "4", "test": "3"}
    assert (rose["train"], tulip["train"]) == ("6", "8")
    train, valid, _ = table(output / "splits.csv")
    assert (train["photos"], train["imbalance_ratio"]) == ("22", "1.33")
    assert (valid["smallest_class"], valid["largest_class"]) == ("3", "4")


def test_page_holds_everything_within_itself(output):
    page = (output / "index.html").read_text("utf-8")
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert "rose &lt;b&gt;" in page
    assert "<b>/" not in page
    for said in ("One photo, two labels: 1", "Duplicates across splits: 2", "cut short", "40 x 20"):
        assert said in page
    with Image.open(output / "samples.gif") as gif:
        assert gif.n_frames == 6
    for name in ("classes.png", "sizes.png", "samples.jpg"):
        assert decode(output / name).std() > 0


def test_cleaned_list_keeps_one_of_each_and_training_reads_it(data, output):
    # Opened with another seed: the list decides the splits.
    source = apply_split_list(open_source(f"folder:{data}", 5), output / "clean.txt")
    kept = {name for split in source.splits.values() for name in split.names}
    dropped = {
        path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()
    } - kept
    assert dropped == {
        "train/lily/bytes.jpg",
        "valid/lily/pixels.png",
        "train/tulip/label.jpg",
        "train/rose <b>/near.jpg",
        "train/tulip/cut.jpg",
    }
    train = source.splits["train"]
    i = train.names.index("train/rose <b>/2.jpg")
    assert source.class_names[train.labels[i]] == "rose <b>"
    assert train.read(i) == (data / "train/rose <b>/2.jpg").read_bytes()


def test_the_last_photo_of_a_class_stays(tmp_path):
    for k, name in enumerate(CLASSES):
        for j, split in enumerate(("train", "valid")):
            (tmp_path / split / name).mkdir(parents=True)
            seed = k if k else 10 + j  # a lily photo per split; other classes have one photo twice
            (tmp_path / split / name / "0.jpg").write_bytes(encoded(scene(seed)))
    found = survey(open_source(f"folder:{tmp_path}", 0))
    assert len(found.pairs) == 2
    kept, dropped = kept_photos(found)
    assert kept == list(range(6))
    assert dropped == {}


@pytest.mark.slow
def test_training_uses_the_list(data, output, tmp_path):
    experiment = Experiment(
        data=f"folder:{data}",
        data_list=str(output / "clean.txt"),
        backbone="ConvNet",
        weights=None,
        filters=(4,),
        image_size=16,
        epochs_head=1,
        epochs_finetune=0,
    )
    source = training.train(experiment, tmp_path / "run").source
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 18,
        "valid": 9,
        "test": 9,
    }


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("train 0.jpg\n", "Line 1 of .* is not a split, a tab and a photo"),
        ("# why\ntrain\tnowhere.jpg\n", "Line 2 of .* names 'nowhere.jpg', which"),
        ("train\ttrain/lily/0.jpg\n" * 2, "Line 2 .* second time"),
        ("train\ttrain/lily/0.jpg\n", "without photos of"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(data, tmp_path, lines, said):
    (tmp_path / "list.txt").write_text(lines)
    with pytest.raises(SourceError, match=said):
        apply_split_list(open_source(f"folder:{data}", 0), tmp_path / "list.txt")


def test_a_list_as_editors_on_windows_save_it(tmp_path):
    for split in ("train", "valid"):
        for name in CLASSES:
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            (tmp_path / "photos" / split / name / "0.jpg").touch()
    source = open_source(f"folder:{tmp_path / 'photos'}", 0)
    names = [(split, name) for split, photos in source.splits.items() for name in photos.names]
    lines = ["# mine", *("\t".join(one) for one in names), "  ", ""]
    (tmp_path / "list.txt").write_text("\r\n".join(lines), "utf-8-sig", newline="")
    again = apply_split_list(source, tmp_path / "list.txt")
    assert [(split, n) for split, photos in again.splits.items() for n in photos.names] == names


def test_a_missing_list_is_refused(data, tmp_path):
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        apply_split_list(open_source(f"folder:{data}", 0), tmp_path / "list.txt")


def test_odd_names_survive_the_list(tmp_path):
    odd = ("#1.jpg", 'a"b.jpg', '"q".jpg', "tab\there.jpg", "two\nlines.jpg", "ä \udce4.jpg")
    for split in ("train", "valid"):
        for name in CLASSES:
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            (tmp_path / "photos" / split / name / "0.jpg").write_bytes(encoded(scene(1)))
    for name in odd:
        try:
            (tmp_path / "photos/train/lily" / name).write_bytes(encoded(scene(2)))
        except (OSError, ValueError):
            pytest.skip("this file system does not take such names")
    source = open_source(f"folder:{tmp_path / 'photos'}", 0)
    rows = [(split, name) for split, photos in source.splits.items() for name in photos.names]
    write_split_list(tmp_path / "list.txt", rows, ["with\na comment"])
    again = apply_split_list(source, tmp_path / "list.txt")
    assert [split.names for split in again.splits.values()] == [
        split.names for split in source.splits.values()
    ]
    exploration.explore(f"folder:{tmp_path / 'photos'}", tmp_path / "out", clean=True, seed=0)
    assert (tmp_path / "out/index.html").exists()


def test_mistakes_take_one_line(data, output, tmp_path, capsys):
    new = str(tmp_path / "new")
    for arguments, said in (
        (["--data", f"folder:{data}", "--output", str(output)], "exists already"),
        (["--data", f"folder:{tmp_path / 'no'}", "--output", new], "no folder"),
        (["--data", f"folder:{data}", "--output", new, "--augment", "glitter"], "'glitter'"),
        (["--data", f"folder:{data}"], "--output"),
    ):
        assert explore.main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_nothing_readable_is_said(tmp_path):
    for split in ("train", "valid"):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.jpg").write_bytes(b"no photo")
    with pytest.raises(UserError, match="none of the 6 photos"):
        survey(open_source(f"folder:{tmp_path}", 0))


@pytest.mark.slow
def test_augmentations_are_shown(data, tmp_path):
    names = ["inception", "cutmix"]
    exploration.explore(f"folder:{data}", tmp_path / "new", augment=names, seed=0)
    page = (tmp_path / "new/index.html").read_text("utf-8")
    for name in names:
        assert decode(tmp_path / f"new/augment-{name}.jpg").std() > 0
        assert f"Augmentation: {name}" in page


@pytest.mark.skipif("FLOWERS_TEST_DATA" not in os.environ, reason="needs FLOWERS_TEST_DATA")
def test_finds_the_known_duplicates_of_oxford():
    """Searches all photos of their classes, and of two classes whose photos look very similar."""
    path = pathlib.Path(os.environ["FLOWERS_TEST_DATA"]) / "oxford_flowers102"
    source = open_source(f"oxford_flowers102:{path}", 0)
    names = ("foxglove", "bromelia", "thorn apple", "hard-leaved pocket orchid")
    labels = [source.class_names.index(name) for name in names]

    def some(split: Split) -> Split:
        chosen = np.flatnonzero(np.isin(split.labels, labels))
        names = tuple(split.names[i] for i in chosen)
        return Split(names, split.labels[chosen], lambda i: split.read(chosen[i]))

    splits = {name: some(split) for name, split in source.splits.items()}
    found = survey(dataclasses.replace(source, splits=splits))
    identical = {
        frozenset(found.photos[i].name[-9:-4] for i in (pair.first, pair.second))
        for pair in found.pairs
        if pair.kind == "bytes"
    }
    # The fourth known pair, 08077 and 08067, is not found: one photo is in a missing part of test.
    assert identical == {
        frozenset(("07307", "07309")),
        frozenset(("07323", "07328")),
        frozenset(("07885", "07886")),
    }
    assert len(found.pairs) <= 8
