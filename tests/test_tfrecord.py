"""TFRecords in Kaggle's layout: writing, reading, converting back, and messages for bad input."""

import collections
import io
import json
import logging
import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from helpers import COLOURS, photo, write_photo_folder
from PIL import Image

from flowers_model import names
from train import convert
from train.data.decoding import evaluation_photos
from train.sources import SourceError, open_source

ROOT = pathlib.Path(__file__).parent.parent
JPEG = photo((200, 30, 40))


def record(image: bytes | None = JPEG, **features) -> bytes:
    """An Example with `image`, and each further feature as int64 or bytes."""
    made = {}
    for name, value in (features | {"image": image}).items():
        if isinstance(value, int):
            made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        elif value is not None:
            made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def write_shard(folder, records: list[bytes], name: str | None = None, packed: str = "") -> str:
    tf.io.gfile.makedirs(str(folder))
    path = f"{folder}/{name or f'00-224x224-{len(records)}.tfrec'}"
    with tf.io.TFRecordWriter(path, packed) as writer:
        for data in records:
            writer.write(data)
    return path


def write_petals(root, resolution: str = "224x224", labels: range = range(3)) -> str:
    """Kaggle's layout: train and val with labels, test with ids."""
    for split in ("train", "val"):
        write_shard(f"{root}/{resolution}/{split}", [record(**{"class": i}) for i in labels])
    write_shard(f"{root}/{resolution}/test", [record(id=b"252d840db")])
    return str(root)


def write_names(folder, *class_names: str) -> None:
    (pathlib.Path(folder) / "classes.txt").write_text("".join(f"{n}\n" for n in class_names))


def message(root, image_size: int | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(f"tfrecord:{root}", 0, image_size)
    text = str(caught.value)
    assert "\n" not in text
    return text


def contents(split, source) -> collections.Counter:
    """The photos of a split with their class names, regardless of order."""
    return collections.Counter(
        (source.class_names[label], split.read(i)) for i, label in enumerate(split.labels)
    )


def sizes(source) -> dict[str, int]:
    return {name: len(split) for name, split in source.splits.items()}


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    return write_photo_folder(tmp_path / "folder", {"train": 7, "valid": 3, "test": 2})


# ------------------------------------------------------------------ the names


def test_the_names_of_known_data_sets_ship_in_label_order():
    petals, oxford = names.petals104(), names.oxford_flowers102()
    assert (len(set(petals)), len(set(oxford))) == (104, 102)
    assert (petals[0], petals[4], petals[103]) == ("pink primrose", "wild geranium", "wild rose")
    assert all(name == name.strip() != "" for name in petals + oxford)


def test_the_petals_names_are_those_of_the_competition():
    data = os.environ.get("FLOWERS_TEST_DATA")
    if not data:
        pytest.skip("FLOWERS_TEST_DATA does not say where petals104/ is")
    lines = (pathlib.Path(data) / "petals104/classes.txt").read_text("utf-8").splitlines()
    assert names.petals104() == tuple(line.strip() for line in lines)


# -------------------------------------------------------------------- reading


@pytest.mark.parametrize("prefix", ["", "tfrecords-jpeg-"])
def test_kaggles_layout_is_read_without_its_unlabelled_test(tmp_path, caplog, prefix):
    with caplog.at_level(logging.INFO, "flowers"):
        source = open_source(f"tfrecord:{write_petals(tmp_path, f'{prefix}224x224')}", 0, 224)
    assert sizes(source) == {"train": 3, "valid": 3}
    assert source.name == tmp_path.name
    assert source.class_names == names.petals104()
    train = source.splits["train"]
    assert train.labels.dtype == np.int32
    assert train.labels.tolist() == [0, 1, 2]
    assert train.names[2] == "train/00-224x224-3.tfrec record 3"
    assert train.read(2) == JPEG
    assert f"{prefix}224x224/test has no labels" in caplog.text
    assert "Petals to the Metal" in caplog.text


@pytest.mark.parametrize(
    ("image_size", "resolution"),
    [(100, 192), (192, 192), (193, 224), (224, 224), (300, 331), (400, 512), (800, 512),
     (None, 512)],
)  # fmt: skip
def test_the_input_size_chooses_the_resolution(tmp_path, image_size, resolution):
    for number, side in enumerate((192, 224, 331, 512)):
        prefix = "tfrecords-jpeg-" if number % 2 else ""
        for split in ("train", "val"):
            records = [record(str(side).encode(), **{"class": i}) for i in range(2)]
            write_shard(tmp_path / f"{prefix}{side}x{side}" / split, records)
    train = open_source(f"tfrecord:{tmp_path}", 0, image_size).splits["train"]
    assert train.read(0) == str(resolution).encode()


def test_a_path_may_be_one_resolution_whose_names_lie_around_it(tmp_path):
    write_petals(tmp_path, "192x192")
    write_petals(tmp_path, "512x512")
    write_names(tmp_path, "rose", "iris", "daisy")
    source = open_source(f"tfrecord:{tmp_path / '192x192'}/", 0, 512)
    assert source.class_names == ("rose", "iris", "daisy")
    assert source.name == "192x192"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "\ufeffrose\ncyclamen \ndaisy\n\n"),
        ("class_names.txt", "rose\r\ncyclamen\r\ndaisy"),
        ("label_names.json", json.dumps(["rose", "cyclamen", "daisy"])),
        ("label_names.json", json.dumps({"2": "daisy", "0": "rose", "1": "cyclamen"})),
    ],
)
def test_class_names_are_read_from_a_file_beside_the_resolutions(tmp_path, file, text):
    write_petals(tmp_path)
    (tmp_path / file).write_text(text, "utf-8", newline="")
    source = open_source(f"tfrecord:{tmp_path}", 0)
    assert source.class_names == ("rose", "cyclamen", "daisy")


def test_other_file_systems_are_read_alike():
    # TensorFlow's in-memory file system stands in for gs://.
    source = open_source(f"tfrecord:{write_petals('ram://bucket/petals')}", 0)
    assert sizes(source) == {"train": 3, "valid": 3}
    assert source.splits["valid"].read(1) == JPEG


def test_records_are_read_in_any_order_by_many_threads(tmp_path):
    photos = [bytes([i]) * (i * 37 % 500 + 1) for i in range(60)]
    for k in range(3):
        part = [record(photos[i], **{"class": i % 5}) for i in range(k * 20, k * 20 + 20)]
        write_shard(tmp_path / "train", part, f"{k:02}-224x224-20.tfrec")
    write_shard(tmp_path / "val", [record(**{"class": 0})])
    train = open_source(f"tfrecord:{tmp_path}", 0).splits["train"]
    order = np.random.default_rng(0).integers(0, 60, 3000).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(train.read, order)) == [photos[i] for i in order]
    assert train.labels.tolist() == [i % 5 for i in range(60)]


def test_a_shard_that_changes_after_indexing_fails_only_when_read(tmp_path):
    write_petals(tmp_path)
    split = open_source(f"tfrecord:{tmp_path}", 0).splits["train"]
    (tmp_path / "224x224/train/00-224x224-3.tfrec").write_bytes(b"")
    with pytest.raises(OSError, match=r"00-224x224-3\.tfrec record 2"):
        split.read(1)


# ------------------------------------------------------- as other programs write


def write_flat(folder, name: str, records: list[bytes], packed: str = "") -> None:
    """All splits in one folder, two shards of train."""
    for split, count in (("train", 2), ("validation", 1)):
        for k in range(count):
            shard = name.format(split=split, part=f"-{k:05}-of-{count:05}")
            write_shard(folder, records, shard, packed)


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("{split}{part}.tfrec", ""),
        ("{split}{part}", "GZIP"),
        ("{split}{part}.tfrecord", ""),
        ("{split}{part}.tfrecords.gz", "GZIP"),
        ("flowers-{split}.tfrecord{part}", "ZLIB"),
        ("flowers_{split}{part}.tfrecords", ""),
    ],
)
def test_the_names_of_tensorflow_are_read_and_hold_no_count(tmp_path, name, packed):
    photos = [bytes([i]) * (i * 97 + 1) for i in range(5)]
    write_flat(tmp_path, name, [record(p, **{"class": i}) for i, p in enumerate(photos)], packed)
    write_names(tmp_path, *"abcde")
    train = open_source(f"tfrecord:{tmp_path}", 0).splits["train"]
    assert train.labels.tolist() == [*range(5)] * 2
    order = np.random.default_rng(0).permutation(10)
    assert [train.read(i) for i in order] == [photos[i % 5] for i in order]
    assert train.names[9] == name.format(split="train", part="-00001-of-00002") + " record 5"
    os.remove(tmp_path / name.format(split="train", part="-00000-of-00002"))
    assert "lacks 1 of its 2 shards (00000): copy them as well." in message(tmp_path)


@pytest.mark.parametrize("packed", ["GZIP", "ZLIB"])
def test_a_damaged_compressed_shard_is_named_with_the_record(tmp_path, packed):
    write_petals(tmp_path)
    photos = [np.random.default_rng(i).bytes(1000) for i in range(3)]
    shard = write_shard(
        tmp_path / "224x224/train", [record(p, **{"class": 0}) for p in photos], None, packed
    )
    data = pathlib.Path(shard).read_bytes()
    pathlib.Path(shard).write_bytes(data[: len(data) // 2])
    assert f"{shard} record 2 is truncated or damaged (truncated" in message(tmp_path)


def test_a_record_whose_length_looks_like_gzip_is_none(tmp_path):
    write_petals(tmp_path)
    frame = len(record(bytes(2**15), **{"class": 2})) - 2**15
    photo = bytes(0x8B1F - frame)
    one = record(photo, **{"class": 2})
    shard = write_shard(tmp_path / "224x224/train", [one], "01-224x224-1.tfrec")
    assert pathlib.Path(shard).read_bytes().startswith(b"\x1f\x8b")
    assert open_source(f"tfrecord:{tmp_path}", 0).splits["train"].read(3) == photo


@pytest.mark.parametrize("first", [0, 1])
def test_the_features_of_tensorflows_converters_are_read(tmp_path, first):
    names = ("daisy", "rose", "tulip")
    made = [
        record(None, **{"image/encoded": JPEG, "image/class/label": i, "image/height": 40,
                        "image/class/text": name.encode()})
        for i, name in enumerate(names, start=first)
    ]  # fmt: skip
    write_flat(tmp_path, "{split}{part}", made)
    source = open_source(f"tfrecord:{tmp_path}", 0)
    assert source.class_names == names
    assert source.splits["valid"].labels.tolist() == [0, 1, 2]
    assert source.splits["valid"].read(1) == JPEG
    (tmp_path / "labels.txt").write_text("0:margriet\n1:roos\n2:tulp\n")
    assert open_source(f"tfrecord:{tmp_path}", 0).class_names == ("margriet", "roos", "tulp")


def test_tensorflow_datasets_folder_is_read_and_its_secret_labels_are_not(tmp_path):
    write_flat(tmp_path, "petals-{split}.tfrecord{part}", [record(label=i) for i in range(2)])
    write_shard(tmp_path, [record(label=-1)], "petals-test.tfrecord-00000-of-00001")
    assert "labels up to 1 and no class names" in message(tmp_path)
    (tmp_path / "label.labels.txt").write_text("rose\niris\n")
    source = open_source(f"tfrecord:{tmp_path}", 0)
    assert source.class_names == ("rose", "iris")
    assert sizes(source) == {"train": 4, "valid": 2}


def test_features_that_cannot_be_told_are_named(tmp_path):
    made = [record(None, photo=JPEG, species=i, genus=0) for i in range(2)]
    for split in ("training", "valid"):
        write_shard(tmp_path / split, made, "flowers.tfrecord")
    write_names(tmp_path, "rose", "iris")
    assert (
        "flowers.tfrecord record 1 has no photo in the bytes feature 'image': "
        "name another by ?image=FEATURE; it has genus (int64), photo (bytes), species (int64)."
    ) in message(tmp_path)
    assert "'class': name another by ?label=FEATURE" in message(f"{tmp_path}?image=photo")
    source = open_source(f"tfrecord:{tmp_path}?image=photo&label=species", 0)
    assert source.splits["train"].labels.tolist() == [0, 1]
    assert source.splits["train"].read(1) == JPEG
    assert "no option is called 'colour'" in message(f"{tmp_path}?colour=red")
    write_shard(tmp_path / "training", [record(label=1, **{"class": 0})], "flowers.tfrecord")
    assert "several features that may be the label ('class', 'label')" in message(tmp_path)


def test_what_macos_leaves_beside_files_is_passed_over(tmp_path, folder):
    command = ("--data", f"folder:{folder}", "--output", tmp_path / "a", "--size", 32)
    assert run(*command) == 0
    for path in list(tmp_path.glob("a/32x32/*/*.tfrec")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    assert sizes(open_source(f"tfrecord:{tmp_path / 'a'}", 0)) == {
        "train": 21, "valid": 9, "test": 6
    }  # fmt: skip
    assert run(*command) == 0


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize("left", [0.99, 0.5])
def test_a_truncated_shard_is_named_with_the_record(tmp_path, left):
    write_petals(tmp_path)
    shard = tmp_path / "224x224/train/00-224x224-3.tfrec"
    data = shard.read_bytes()
    size = int(left * len(data))
    shard.write_bytes(data[:size])
    number = size // (len(data) // 3) + 1
    assert f"{shard} record {number} is truncated or damaged (truncated" in message(tmp_path)


def test_a_damaged_byte_is_found_by_its_checksum(tmp_path):
    write_petals(tmp_path)
    shard = tmp_path / "224x224/val/00-224x224-3.tfrec"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert f"{shard} record 2 is truncated or damaged (corrupted" in message(tmp_path)


@pytest.mark.parametrize("count", [2, 4])
def test_counts_come_from_names_and_are_checked(tmp_path, count):
    write_petals(tmp_path)
    train = tmp_path / "224x224/train"
    os.rename(train / "00-224x224-3.tfrec", train / f"00-224x224-{count}.tfrec")
    assert f"00-224x224-{count}.tfrec has 3 records, but {count} according to its name" in message(
        tmp_path
    )


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (record(), "has no label in the int64 feature 'class'"),
        (record(id=b"252d840db"), "has no label"),
        (record(**{"class": b"rose"}), "has no label"),
        (record(None, **{"class": 1}), "has no photo"),
        (b"\xff not an Example", "is not a tf.train.Example"),
        (record(**{"class": 3}), "has the class 3: those of"),
        (record(**{"class": -1}), "has the class -1"),
    ],
)
def test_a_bad_record_is_named(tmp_path, bad, what):
    write_petals(tmp_path)
    write_names(tmp_path, "rose", "iris", "daisy")
    good = record(**{"class": 0})
    shard = write_shard(tmp_path / "224x224/train", [good, bad], "01-224x224-2.tfrec")
    assert f"{shard} record 2 {what}" in message(tmp_path)


def test_skip_bad_reads_the_rest_and_says_what_is_lost(tmp_path, caplog):
    write_petals(tmp_path)
    write_names(tmp_path, "rose", "iris", "daisy")
    train = tmp_path / "224x224/train"
    bad = [record(), record(None, **{"class": 1}), b"\xff", record(**{"class": 3})]
    good = [record(f"photo {i}".encode(), **{"class": i}) for i in range(3)]
    mixed = write_shard(train, [bad[0], good[2], *bad[1:], good[1]], "01-224x224-6.tfrec")
    cut = pathlib.Path(write_shard(train, good, "02-224x224-3.tfrec"))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert f"{mixed} record 1 has no label" in message(tmp_path)
    split = open_source(f"tfrecord:{tmp_path}", 0, skip_bad=True).splits["train"]
    assert split.names[3:] == (
        *("train/01-224x224-6.tfrec record 2", "train/01-224x224-6.tfrec record 6"),
        "train/02-224x224-3.tfrec record 1",
    )
    assert split.labels.tolist() == [0, 1, 2, 2, 1, 0]
    assert [split.read(i) for i in range(3, 6)] == [b"photo 2", b"photo 1", b"photo 0"]
    (warning,) = (words for words in caplog.messages if words.startswith("skipped"))
    assert f"skipped: 6 of 12 records of {tmp_path}/224x224/train ({mixed} record 1 " in warning
    assert warning.count(" record ") == 3


@pytest.mark.parametrize("count", [2, 4])
def test_skip_bad_reads_a_shard_of_another_length(tmp_path, caplog, count):
    write_petals(tmp_path)
    shard = tmp_path / "224x224/val/00-224x224-3.tfrec"
    shard.rename(shard.with_name(f"00-224x224-{count}.tfrec"))
    source = open_source(f"tfrecord:{tmp_path}", 0, skip_bad=True)
    assert sizes(source) == {"train": 3, "valid": 3}
    assert f"has 3 records, but {count} according to its name" in caplog.text


def test_a_split_without_a_good_record_is_refused_all_the_same(tmp_path):
    write_petals(tmp_path)
    shard = tmp_path / "224x224/val/00-224x224-3.tfrec"
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(SourceError, match=r"224x224/val has no usable record"):
        open_source(f"tfrecord:{tmp_path}", 0, skip_bad=True)
    write_names(tmp_path, "rose", "iris", "daisy")
    write_shard(tmp_path / "224x224/val", [record(**{"class": 3})] * 3)
    with pytest.raises(SourceError, match=r"224x224/val has no usable record"):
        open_source(f"tfrecord:{tmp_path}", 0, skip_bad=True)
    write_shard(tmp_path / "224x224/val", [], "00-224x224-3.tfrec")
    assert "00-224x224-3.tfrec has 0 records, but 3 according to its name" in message(tmp_path)


def test_a_damaged_first_record_of_test_is_named(tmp_path):
    write_petals(tmp_path)
    shard = tmp_path / "224x224/test/00-224x224-1.tfrec"
    shard.write_bytes(shard.read_bytes()[:50])
    assert f"{shard} record 1 is truncated or damaged" in message(tmp_path)


def test_a_photo_that_does_not_decode_is_named_when_it_is_read(tmp_path):
    for split, images in (("train", [JPEG, JPEG[:300]]), ("val", [JPEG])):
        write_shard(tmp_path / split, [record(image, **{"class": 0}) for image in images])
    train = open_source(f"tfrecord:{tmp_path}", 0).splits["train"]
    with pytest.raises(SourceError, match=r"train/00-224x224-2\.tfrec record 2: .*damaged"):
        evaluation_photos(train, "train", 32, 1.0)


def test_a_test_split_with_labels_needs_them_throughout(tmp_path):
    write_petals(tmp_path)
    shard = write_shard(
        tmp_path / "224x224/test", [record(**{"class": 0}), record(id=b"1")], "00-224x224-2.tfrec"
    )
    os.remove(tmp_path / "224x224/test/00-224x224-1.tfrec")
    assert f"{shard} record 2 has no label" in message(tmp_path)


def test_labels_beyond_petals_need_names(tmp_path):
    write_petals(tmp_path, labels=range(100, 106))
    assert "labels up to 105 and no class names" in message(tmp_path)
    write_names(tmp_path, *(f"flower {i}" for i in range(106)))
    assert len(open_source(f"tfrecord:{tmp_path}", 0).class_names) == 106


def test_a_place_without_shards_is_said(tmp_path):
    assert "There is no folder" in message(tmp_path / "nowhere")
    assert "has no TFRecords" in message(tmp_path)
    write_shard(tmp_path / "224x224/train", [record(**{"class": 0})])
    assert f"{tmp_path}/224x224/val has no *.tfrec files" in message(tmp_path)
    with pytest.raises(SourceError, match="write tfrecord:PATH"):
        open_source("tfrecord", 0)


@pytest.mark.parametrize("text", ["rose\nrose\ndaisy\n", "rose\n\ndaisy\n", "rose\n", ""])
def test_a_class_list_that_cannot_be_is_refused(tmp_path, text):
    write_petals(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    assert "classes.txt needs two or more class names" in message(tmp_path)


def test_a_class_list_that_is_none_is_refused(tmp_path):
    write_petals(tmp_path)
    for text in ('"rose"', "{", '{"1": "rose"}', "[1, 2]"):
        (tmp_path / "label_names.json").write_text(text)
        assert "label_names.json" in message(tmp_path)


def test_google_cloud_out_of_reach_is_one_line(monkeypatch):
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://proxy.invalid:1")
    text = message("gs://bucket-of-nobody/petals")
    assert "gs://bucket-of-nobody/petals cannot be read (" in text
    assert "GOOGLE_APPLICATION_CREDENTIALS" in text


# ----------------------------------------------------------------- converting


def run(*arguments) -> int:
    return convert.main([str(argument) for argument in arguments])


def test_folder_to_tfrecords_and_back_keeps_every_photo(tmp_path, folder):
    there, back = tmp_path / "records", tmp_path / "back"
    original = ("--size", "original", "--shards", 2)
    assert run("--data", f"folder:{folder}", "--output", there, *original) == 0
    assert sorted(path.relative_to(there).as_posix() for path in there.rglob("*.*")) == [
        "classes.txt",
        *(f"original/test/0{k}-original-3.tfrec" for k in range(2)),
        *(f"original/train/0{k}-original-{n}.tfrec" for k, n in enumerate((11, 10))),
        *(f"original/val/0{k}-original-{n}.tfrec" for k, n in enumerate((5, 4))),
    ]
    assert run("--data", f"tfrecord:{there}", "--output", back, "--to", "folder") == 0
    first, records, last = (
        open_source(spec, 0) for spec in (f"folder:{folder}", f"tfrecord:{there}", f"folder:{back}")
    )
    assert first.class_names == records.class_names == last.class_names == tuple(sorted(COLOURS))
    assert sizes(first) == sizes(records) == sizes(last) == {"train": 21, "valid": 9, "test": 6}
    for name, split in first.splits.items():
        assert contents(records.splits[name], records) == contents(split, first)
        assert contents(last.splits[name], last) == contents(split, first)


def test_photos_become_squares_and_stay_so(tmp_path, folder):
    assert run("--data", f"folder:{folder}", "--output", tmp_path / "a", "--size", 32) == 0
    source = open_source(f"tfrecord:{tmp_path / 'a'}", 0)
    images = [Image.open(io.BytesIO(source.splits["train"].read(i))) for i in range(21)]
    assert {(image.format, image.size) for image in images} == {("JPEG", (32, 32))}
    for i, image in enumerate(images):
        colour = COLOURS[source.class_names[source.splits["train"].labels[i]]]
        assert np.abs(np.asarray(image).mean((0, 1)) - colour).max() < 8
    # A JPEG that already has the requested size is not encoded again.
    assert (
        run("--data", f"tfrecord:{tmp_path / 'a'}", "--output", tmp_path / "b", "--size", 32) == 0
    )
    again = open_source(f"tfrecord:{tmp_path / 'b'}", 0)
    assert contents(again.splits["train"], again) == contents(source.splits["train"], source)
    shards = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.tfrec")]
    assert pathlib.Path("32x32/train/00-32x32-21.tfrec") in shards


def test_other_formats_become_jpeg(tmp_path, folder):
    for path in folder.rglob("*.jpg"):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    assert run("--data", f"folder:{folder}", "--output", tmp_path / "a", "--size", "original") == 0
    train = open_source(f"tfrecord:{tmp_path / 'a'}", 0).splits["train"]
    image = Image.open(io.BytesIO(train.read(0)))
    assert (image.format, image.size) == ("JPEG", (48, 40))


def test_the_seed_decides_the_order_and_the_bytes(tmp_path, folder):
    shards = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("--data", f"folder:{folder}", "--output", tmp_path / name, "--seed", seed) == 0
        shards[name] = (tmp_path / name / "224x224/train/00-224x224-21.tfrec").read_bytes()
    assert shards["a"] == shards["b"] != shards["c"]
    labels = open_source(f"tfrecord:{tmp_path / 'a'}", 0).splits["train"].labels
    assert labels.tolist() != sorted(labels)


def test_shards_are_about_as_large_as_asked(tmp_path, folder):
    command = ("--data", f"folder:{folder}", "--output", tmp_path / "a", "--size", "original")
    assert run(*command, "--shard-size-mb", 0.005) == 0
    paths = list((tmp_path / "a/original/train").glob("*.tfrec"))
    assert len(paths) > 1
    assert all(path.stat().st_size < 7500 for path in paths)


def test_an_interrupted_conversion_goes_on_with_what_it_lacks(tmp_path, folder):
    command = ("--data", f"folder:{folder}", "--output", tmp_path / "a", "--shards", 3)
    assert run(*command) == 0
    shards = sorted((tmp_path / "a").rglob("*.tfrec"))
    before = [path.read_bytes() for path in shards]
    os.utime(shards[0], (1, 1))
    shards[1].unlink()
    assert run(*command) == 0
    assert [path.read_bytes() for path in shards] == before
    assert shards[0].stat().st_mtime == 1


def test_shards_of_another_conversion_are_neither_mixed_nor_replaced(tmp_path, folder, capsys):
    command = ("--data", f"folder:{folder}", "--output", tmp_path / "a")
    assert run(*command, "--shards", 3) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    for change in (("--shards", 2), ("--shards", 3, "--seed", 5)):
        assert run(*command, *change) == 2
        assert "belongs to another conversion" in capsys.readouterr().err
    write_photo_folder(tmp_path / "other", {"train": 1, "valid": 1})
    os.rename(tmp_path / "other/train/poppy", tmp_path / "other/train/rose")
    os.rename(tmp_path / "other/valid/poppy", tmp_path / "other/valid/rose")
    assert run("--data", f"folder:{tmp_path / 'other'}", "--output", tmp_path / "a") == 2
    assert "classes.txt lists other classes" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*.*")} == before


def test_a_photo_that_cannot_be_read_stops_with_its_name_and_no_half_shard(
    tmp_path, folder, capsys
):
    (folder / "train/poppy/003.jpg").write_bytes(JPEG[:300])
    assert run("--data", f"folder:{folder}", "--output", tmp_path / "a") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "error: train/poppy/003.jpg: " in error
    assert not list((tmp_path / "a").rglob("*.tfrec"))


@pytest.mark.parametrize("form", ["tfrecord", "folder"])
def test_skip_bad_converts_the_rest(tmp_path, folder, caplog, form):
    for name in ("poppy/003.jpg", "sunflower/000.jpg"):
        (folder / "train" / name).write_bytes(JPEG[:300])
    command = ("--data", f"folder:{folder}", "--output", tmp_path / "a", "--size", "original")
    for _ in range(2):  # the second run finds what the first one wrote
        with caplog.at_level(logging.INFO, "flowers"):
            assert run(*command, "--to", form, "--skip-bad") == 0
        assert "2 of 21 train photos cannot be read (train/poppy/003.jpg: " in caplog.text
    source = open_source(f"{form}:{tmp_path / 'a'}", 0)
    assert sizes(source) == {"train": 19, "valid": 9, "test": 6}


def test_class_names_that_would_leave_the_folder_are_refused(tmp_path, capsys):
    write_petals(tmp_path / "in")
    write_names(tmp_path / "in", "rose", "../../evil", "daisy")
    command = ("--data", f"tfrecord:{tmp_path / 'in'}", "--output", tmp_path / "out")
    assert run(*command, "--to", "folder") == 2
    assert "'../../evil' cannot be the name of a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--data", "tfrecord:/nowhere", "--output", "x"], "There is no folder /nowhere"),
        (["--data", "quickstart"], "--output"),
        (
            ["--data", "quickstart", "--output", "x", "--shards", "0"],
            "'0' is not a number of at least 1",
        ),
        (["--data", "quickstart", "--output", "x", "--size", "big"], "'big' is not a number"),
        (
            ["--data", "quickstart", "--output", "x", "--seed", "-1"],
            "'-1' is not a number of at least 0",
        ),
        (["--data", "quickstart", "--output", "x", "--shard", "2"], "did you mean --shards?"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, what):
    monkeypatch.chdir(tmp_path)
    assert convert.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert what in line
    assert os.listdir(tmp_path) == []


def test_the_command_exits_with_its_status():
    command = [sys.executable, "-m", "train.convert", "--data", "oxford_flowers102"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the following arguments are required: --output")
    assert done.stderr.count("\n") == 1
