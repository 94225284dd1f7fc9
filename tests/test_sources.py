"""Photos from folders and from Oxford 102 Flowers: every layout, and the messages for all others.

Sources never decode, so the photos here are any bytes under a photo's name.
"""

import collections
import hashlib
import http.server
import io
import os
import pathlib
import tarfile
import threading
import unicodedata

import numpy as np
import pytest
import scipy.io

from flowers_model import names as flower_names
from flowers_model.errors import UserError
from train.sources import SourceError, open_source, oxford_flowers102, train_on_valid


def write(root: pathlib.Path, *names: str) -> pathlib.Path:
    """Files at `root`, each holding its own name."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"photo {name}".encode())
    return root


def photos(folder: str, count: int) -> list[str]:
    return [f"{folder}/{i:03}.jpg" for i in range(count)]


def message(spec: str, seed: int = 0) -> str:
    """The error of opening `spec`: one line, written for a user."""
    with pytest.raises(SourceError) as caught:
        open_source(spec, seed)
    assert isinstance(caught.value, UserError)
    text = str(caught.value)
    assert "\n" not in text
    return text


def sizes(source) -> dict[str, int]:
    return {name: len(split) for name, split in source.splits.items()}


def per_class(split, source) -> dict[str, int]:
    return dict(collections.Counter(source.class_names[label] for label in split.labels))


# ---------------------------------------------------------------- folder:PATH


def test_class_folders_are_cut_into_three_splits_class_by_class(tmp_path):
    write(tmp_path, *photos("rose", 20), *photos("daisy", 100), *photos("iris", 3))
    source = open_source(f"folder:{tmp_path}", 1)
    assert source.class_names == ("daisy", "iris", "rose")
    assert list(source.splits) == ["train", "valid", "test"]
    assert per_class(source.splits["train"], source) == {"rose": 14, "daisy": 70, "iris": 1}
    assert per_class(source.splits["valid"], source) == {"rose": 3, "daisy": 15, "iris": 1}
    assert per_class(source.splits["test"], source) == {"rose": 3, "daisy": 15, "iris": 1}
    names = [name for split in source.splits.values() for name in split.names]
    assert len(set(names)) == len(names) == 123
    for split in source.splits.values():
        assert split.labels.dtype == np.int32
        for i, name in enumerate(split.names):
            assert name.startswith(source.class_names[split.labels[i]] + "/")
            assert split.read(i) == f"photo {name}".encode()


def test_the_seed_alone_decides_the_cut(tmp_path):
    names = [*photos("rose", 20), *photos("daisy", 20)]
    one = write(tmp_path / "one", *names)
    other = write(tmp_path / "other", *reversed(names))
    cut = open_source(f"folder:{one}", 7).splits["valid"].names
    assert open_source(f"folder:{other}", 7).splits["valid"].names == cut
    assert open_source(f"folder:{one}", 8).splits["valid"].names != cut


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("train", "valid", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "val", "Test"),
        ("training_set", "dev", "test_set"),
        ("trainset", "val images", "test-data"),
        ("images", "validation", "test"),
    ],
)
def test_split_folders_are_known_in_many_spellings(tmp_path, train, valid, test):
    for split, count in ((train, 3), (valid, 2), (test, 1)):
        write(tmp_path, *photos(f"{split}/rose", count), *photos(f"{split}/daisy", count))
    source = open_source(f"folder:{tmp_path}", 0)
    assert source.class_names == ("daisy", "rose")
    assert sizes(source) == {"train": 6, "valid": 4, "test": 2}
    assert source.splits["valid"].names[0] == f"{valid}/daisy/000.jpg"
    assert source.splits["valid"].labels.tolist() == [0, 0, 1, 1]


def test_a_missing_validation_folder_is_cut_from_train(tmp_path):
    for name in ("rose", "daisy"):
        write(tmp_path, *photos(f"train/{name}", 20), *photos(f"test/{name}", 4))
    source = open_source(f"folder:{tmp_path}", 0)
    assert list(source.splits) == ["train", "valid", "test"]
    assert per_class(source.splits["train"], source) == {"rose": 17, "daisy": 17}
    assert per_class(source.splits["valid"], source) == {"rose": 3, "daisy": 3}
    assert all(name.startswith("train/") for name in source.splits["valid"].names)
    assert not set(source.splits["valid"].names) & set(source.splits["train"].names)
    assert all(name.startswith("test/") for name in source.splits["test"].names)


def test_as_it_is_a_folder_needs_neither_train_nor_every_class(tmp_path):
    write(tmp_path / "one", *photos("test/rose", 3), *photos("test/daisy", 2))
    assert sizes(open_source(f"folder:{tmp_path / 'one'}", 0, cut=False)) == {"test": 5}
    with pytest.raises(SourceError, match="has 'test' but no train folder"):
        open_source(f"folder:{tmp_path / 'one'}", 0)
    write(tmp_path / "two", *photos("val/rose", 3), *photos("test/daisy", 2))
    two = open_source(f"folder:{tmp_path / 'two'}", 0, cut=False)
    assert sizes(two) == {"valid": 3, "test": 2}
    assert two.class_names == ("daisy", "rose")
    write(tmp_path / "three", *photos("rose", 1))
    assert sizes(open_source(f"folder:{tmp_path / 'three'}", 0, cut=False)) == {"train": 1}


def test_without_a_test_folder_there_is_no_test_split(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, *photos(f"{split}/rose", 2), *photos(f"{split}/daisy", 2))
    assert sizes(open_source(f"folder:{tmp_path}", 0)) == {"train": 4, "valid": 4}


@pytest.mark.parametrize("wrapper", ["my flowers", "a/b", "images", "train"])
def test_a_folder_around_the_whole_is_passed_over(tmp_path, wrapper):
    write(tmp_path / wrapper, *photos("rose", 4), *photos("daisy", 4))
    write(tmp_path, "__MACOSX/rose/._000.jpg", "LICENSE.txt")
    source = open_source(f"folder:{tmp_path}", 0)
    assert source.class_names == ("daisy", "rose")
    assert sum(sizes(source).values()) == 8


def test_only_photos_count_whatever_the_case_of_their_suffix(tmp_path):
    kinds = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "avif", "heic", "heif", "gif"]
    kinds += ["bmp", "dib", "tif", "tiff", "JPG", "Png"]
    write(tmp_path, *(f"rose/{i}.{kind}" for i, kind in enumerate(kinds)), *photos("daisy", 3))
    write(
        tmp_path, "rose/.hidden.jpg", "rose/Thumbs.db", "rose/.DS_Store", "rose/labels.csv",
        "rose/README.md", "rose/photo.jpg.txt", "rose/jpg", "rose/@eaDir/x.jpg", ".git/x.jpg",
        "overview.png", "classes.txt", "rose/._0.jpg",
    )  # fmt: skip
    source = open_source(f"folder:{tmp_path}", 0)
    names = {name for split in source.splits.values() for name in split.names}
    assert names == {f"rose/{i}.{kind}" for i, kind in enumerate(kinds)} | set(photos("daisy", 3))


def test_a_photo_that_has_gone_is_listed_and_fails_only_when_read(tmp_path):
    for split in ("train", "valid"):
        write(tmp_path, *photos(f"{split}/rose", 2), *photos(f"{split}/daisy", 2))
    (tmp_path / "train/rose/000.jpg").unlink()
    (tmp_path / "train/rose/000.jpg").symlink_to(tmp_path / "nowhere.jpg")
    train = open_source(f"folder:{tmp_path}", 0).splits["train"]
    gone = train.names.index("train/rose/000.jpg")
    with pytest.raises(OSError, match=r"000\.jpg"):
        train.read(gone)
    assert train.read(gone + 1) == b"photo train/rose/001.jpg"


def test_links_to_themselves_and_pipes_are_no_folders_and_hold_no_photo(tmp_path):
    data = write(tmp_path, *photos("rose", 4), *photos("daisy", 4))
    (data / "circle").symlink_to("circle")
    (data / "rose/circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(data / "rose/pipe.jpg")
    read, refused = 0, []
    for split in open_source(f"folder:{data}", 0).splits.values():
        for i, name in enumerate(split.names):
            try:
                read += bool(split.read(i))
            except OSError:
                refused.append(name)
    assert read == 8
    assert sorted(refused) == ["rose/circle.jpg", "rose/pipe.jpg"]


def test_photos_and_folders_may_be_links(tmp_path):
    write(tmp_path / "store", *photos("r", 3), *photos("d", 3))
    data = tmp_path / "data"
    (data / "daisy").mkdir(parents=True)
    (data / "rose").symlink_to(tmp_path / "store/r")
    for i in range(3):
        (data / f"daisy/{i}.jpg").symlink_to(tmp_path / f"store/d/{i:03}.jpg")
    assert sizes(open_source(f"folder:{data}", 0)) == {"train": 2, "valid": 2, "test": 2}


def test_a_class_is_one_in_either_form_of_unicode(tmp_path):
    for split, form in (("train", "NFC"), ("valid", "NFD")):
        for name in ("pensée", "rose"):
            write(tmp_path, *photos(f"{split}/{unicodedata.normalize(form, name)}", 3))
    write(tmp_path, *photos("train/" + unicodedata.normalize("NFD", "pensée"), 2))
    source = open_source(f"folder:{tmp_path}", 0)
    assert source.class_names == ("pensée", "rose")
    assert per_class(source.splits["train"], source) == {"pensée": 5, "rose": 3}
    assert source.splits["valid"].read(0).startswith(b"photo valid/pense")


@pytest.mark.parametrize(("name", "said"), [(b"Pens\xe9e", "is not UTF-8"), (b"  ", "is blank")])
def test_a_class_folder_whose_name_is_none_is_refused(tmp_path, name, said):
    write(tmp_path, *photos("rose", 3), *photos("other", 3))
    (tmp_path / "other").rename(tmp_path / os.fsdecode(name))
    text = message(f"folder:{tmp_path}")
    assert said in text
    text.encode()


def test_reports_and_credits_call_a_folder_by_its_name(tmp_path, monkeypatch):
    garden = write(tmp_path / "My Garden", *photos("rose", 3), *photos("daisy", 3))
    source = open_source(f"folder:{garden}", 0)
    assert (source.name, source.credits) == ("My Garden", "Photos from My Garden")
    monkeypatch.chdir(garden)
    assert open_source("folder:.", 0).name == "My Garden"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_source("folder:~/My Garden", 0).name == "My Garden"


BOTH = [*photos("train/rose", 3), *photos("train/daisy", 3)]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["readme.txt"], ["no class folders"]),
        (["a.jpg", "b.jpg"], ["no class folders"]),
        (["docs/a.txt", "notes/b.csv"], ["without photos", "'docs', 'notes'"]),
        (photos("rose", 9), ["two or more classes, not 'rose'"]),
        (photos("train/rose", 9), ["two or more classes, not 'rose'"]),
        ([*photos("rose", 9), *photos("daisy", 9), "iris/a.txt"], ["without photos", "'iris'"]),
        ([*photos("rose", 9), *photos("daisy", 2)], ["too few", "'daisy' with 2", "3 or more"]),
        (
            [*BOTH, "train/iris/a.jpg", *(f"test/{c}/a.jpg" for c in ("rose", "daisy", "iris"))],
            ["too few", "'iris' with 1", "2 or more"],
        ),
        ([*BOTH, "valid/rose/a.jpg"], ["'valid' lacks 'daisy'"]),
        (
            [*BOTH, "valid/rose/a.jpg", "valid/daisy /a.jpg"],
            ["'train' lacks 'daisy ' and 'valid' lacks 'daisy'"],
        ),
        ([*BOTH, "test/rose/a.jpg", "test/daisy/a.txt"], ["test", "without photos", "'daisy'"]),
        ([*BOTH, "test/a.jpg", "test/b.jpg"], ["test", "no class folders"]),
        ([*BOTH, "val/rose/a.jpg", "valid/rose/a.jpg"], ["two valid folders, 'val' and 'valid'"]),
        ([*BOTH, "rose/a.jpg"], ["mixes", "'train'", "'rose'"]),
        (["test/rose/a.jpg", "val/rose/a.jpg"], ["no train folder"]),
        ([*photos("rose", 9), *photos("daisy/old", 9)], ["daisy", "'old'", "directly"]),
        ([f"class {i}/x.txt" for i in range(9)], ["'class 4' and 4 more"]),
    ],
)
def test_a_folder_that_does_not_fit_gets_one_clear_line(tmp_path, files, said):
    text = message(f"folder:{write(tmp_path, *files)}").lower()
    assert str(tmp_path).lower() in text or "too few" in text
    for words in said:
        assert words in text


def test_an_empty_class_folder_is_named(tmp_path):
    write(tmp_path, *photos("rose", 5), *photos("daisy", 5))
    (tmp_path / "iris").mkdir()
    assert "'iris'" in message(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("flowers", "no photo source 'flowers': known are quickstart, folder:PATH, oxford_fl"),
        ("", "no photo source ''"),
        ("C:\\photos", "folder:PATH"),
        ("folder", "write folder:PATH"),
        ("folder:", "write folder:PATH"),
        ("folder:C:\\no such photos", "no folder C:\\no such photos"),
        ("folder:/no/such/photos", "no folder /no/such/photos"),
        ("oxford_flowers102:/no/such/photos", "no folder /no/such/photos"),
        (f"folder:{__file__}", "is a file"),
        ("quickstart:photos", "takes no path"),
    ],
)
def test_a_wrong_source_gets_one_clear_line(spec, said):
    assert said in message(spec)


# ---------------------------------------------------------- oxford_flowers102

KEYS = {"train": "trnid", "valid": "valid", "test": "tstid"}
CLASSES = 102


def official_number(label: int, split: int) -> int:
    """The number of a class's only photo in a split, in the made-up archive."""
    # 101 and 306 share no factor: neighbouring numbers have labels and splits far apart.
    return (label * 3 + split) * 101 % (CLASSES * 3) + 1


def content(number: int) -> bytes:
    return f"flower {number}".encode()


def pack(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """The three official files in miniature: one photo of each class in each split."""
    count = CLASSES * 3
    labels = np.zeros((1, count), np.uint8)
    ids = {key: [] for key in KEYS.values()}
    for label in range(CLASSES):
        for split, key in enumerate(KEYS.values()):
            number = official_number(label, split)
            labels[0, number - 1] = label + 1
            ids[key].append(number)
    files = {}
    for name, values in (
        ("imagelabels.mat", {"labels": labels}),
        ("setid.mat", {key: np.array([list_], np.uint16) for key, list_ in ids.items()}),
    ):
        file = io.BytesIO()
        scipy.io.savemat(file, values)
        files[name] = file.getvalue()
    files["102flowers.tgz"] = pack(
        {f"jpg/image_{i:05d}.jpg": content(i) for i in range(1, count + 1)}
    )
    return files


@pytest.fixture
def official(made, monkeypatch) -> dict[str, bytes]:
    """The made-up official files, with their checksums in place of the real ones."""
    for name, data in made.items():
        expect(monkeypatch, name, data)
    return dict(made)


def expect(monkeypatch, name: str, data: bytes) -> None:
    monkeypatch.setitem(oxford_flowers102.CHECKSUMS, name, hashlib.md5(data).hexdigest())


def put(root: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (root / name).write_bytes(data)
    return root


def everything(source) -> set[tuple[str, str, bytes]]:
    """(split, class name, bytes) of every photo."""
    return {
        (name, source.class_names[split.labels[i]], split.read(i))
        for name, split in source.splits.items()
        for i in range(len(split))
    }


def expected() -> set[tuple[str, str, bytes]]:
    names = flower_names.oxford_flowers102()
    return {
        (name, names[label], content(official_number(label, split)))
        for label in range(CLASSES)
        for split, name in enumerate(KEYS)
    }


def write_folder_form(root: pathlib.Path, class_folder) -> pathlib.Path:
    for label in range(CLASSES):
        for split, name in enumerate(KEYS):
            number = official_number(label, split)
            folder = root / name / class_folder(label)
            folder.mkdir(parents=True)
            (folder / f"image_{number:05d}.jpg").write_bytes(content(number))
    return root


def test_the_official_names_are_in_label_order():
    names = flower_names.oxford_flowers102()
    assert len(set(names)) == len(names) == 102
    assert (names[0], names[51], names[101]) == ("pink primrose", "wild pansy", "blackberry lily")
    assert [name for name in names if name != name.strip()] == []


def test_scientific_names_are_known_of_most_of_oxfords_flowers():
    names = flower_names.oxford_flowers102()
    known = flower_names.scientific([*names, "a flower of my own"])
    assert set(known) < set(names)
    assert len(known) > 70
    assert known["foxglove"] == "Digitalis purpurea"
    assert "watercress" not in known  # its photos show nasturtiums


def test_the_official_archive_gives_the_official_splits(tmp_path, official):
    root = put(tmp_path / "oxford", official)
    source = open_source(f"oxford_flowers102:{root}", 0)
    assert source.name == "oxford_flowers102"
    assert "research use" in source.credits
    assert source.class_names == flower_names.oxford_flowers102()
    assert list(source.splits) == ["train", "valid", "test"]
    assert sizes(source) == {"train": 102, "valid": 102, "test": 102}
    assert everything(source) == expected()
    train = source.splits["train"]
    assert train.labels.dtype == np.int32
    assert train.names == tuple(sorted(train.names))
    assert train.names[0].startswith("jpg/image_00")


def test_the_archive_is_unpacked_once_beside_itself(tmp_path, official):
    root = put(tmp_path, official)
    open_source(f"oxford_flowers102:{root}", 0)
    assert sorted(os.listdir(root)) == ["102flowers.tgz", "imagelabels.mat", "jpg", "setid.mat"]
    (root / "102flowers.tgz").unlink()
    assert everything(open_source(f"oxford_flowers102:{root}", 0)) == expected()


@pytest.mark.parametrize("class_folder", ["name", "label", "padded label"])
def test_the_folder_form_agrees_with_the_archive(tmp_path, official, class_folder):
    folder = {
        "name": lambda label: flower_names.oxford_flowers102()[label],
        "label": lambda label: str(label + 1),
        "padded label": lambda label: f"{label + 1:03}",
    }[class_folder]
    root = write_folder_form(tmp_path / "flower_data", folder)
    # The .mat files beside it change nothing, and neither does a folder around it.
    put(root, {name: data for name, data in official.items() if name.endswith(".mat")})
    (root / "cat_to_name.json").write_text("{}")
    for path in (root, tmp_path):
        source = open_source(f"oxford_flowers102:{path}", 0)
        assert source.class_names == flower_names.oxford_flowers102()
        assert everything(source) == expected()


def test_a_member_that_would_leave_the_folder_is_not_unpacked(tmp_path, official, monkeypatch):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in (
            "../evil.jpg", "jpg/../../evil.jpg", "/tmp/evil-flower.jpg", "jpg/image_00001.jpg/x",
        ):  # fmt: skip
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("jpg/image_00001.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
        member = tarfile.TarInfo("jpg/image_00002.jpg")
        archive.addfile(member)
    official["102flowers.tgz"] = packed.getvalue()
    expect(monkeypatch, "102flowers.tgz", packed.getvalue())
    root = put(tmp_path / "deep/oxford", official)
    assert "image_00001.jpg" in message(f"oxford_flowers102:{root}")
    assert os.listdir(root / "jpg") == ["image_00002.jpg"]
    assert not list(tmp_path.rglob("*evil*"))
    assert not os.path.exists("/tmp/evil-flower.jpg")


def test_an_archive_that_breaks_off_leaves_nothing_behind(tmp_path, official, monkeypatch):
    half = official["102flowers.tgz"][: len(official["102flowers.tgz"]) // 2]
    official["102flowers.tgz"] = half
    expect(monkeypatch, "102flowers.tgz", half)
    root = put(tmp_path, official)
    assert "cannot be unpacked" in message(f"oxford_flowers102:{root}")
    assert sorted(os.listdir(root)) == sorted(official)


@pytest.mark.parametrize("name", ["102flowers.tgz", "imagelabels.mat", "setid.mat"])
def test_a_file_that_is_not_the_official_one_is_refused(tmp_path, official, name):
    root = put(tmp_path, official | {name: official[name] + b"!"})
    text = message(f"oxford_flowers102:{root}")
    assert name in text
    assert "checksum" in text
    assert not (root / "jpg").exists()


@pytest.mark.parametrize("name", ["imagelabels.mat", "setid.mat"])
def test_a_missing_mat_file_is_named_with_where_to_get_it(tmp_path, official, name):
    del official[name]
    text = message(f"oxford_flowers102:{put(tmp_path, official)}")
    assert f"lacks {name}" in text
    assert oxford_flowers102.BASE_URL + name in text


def test_photos_missing_from_the_unpacked_archive_are_counted(tmp_path, official):
    root = put(tmp_path, official)
    open_source(f"oxford_flowers102:{root}", 0)
    for label in (3, 7):
        (root / f"jpg/image_{official_number(label, 1):05d}.jpg").unlink()
    assert "2 photos of the valid split" in message(f"oxford_flowers102:{root}")


def test_other_folders_are_not_oxford(tmp_path):
    names = flower_names.oxford_flowers102()
    good = write_folder_form(tmp_path / "good", lambda label: names[label])
    os.rename(good / "test", tmp_path / "test")
    assert "102flowers.tgz" in message(f"oxford_flowers102:{good}")
    os.rename(tmp_path / "test", good / "test")
    for split in KEYS:
        os.rename(good / split / "rose", good / split / "Rose bush")
    assert "'Rose bush' is not one of its classes" in message(f"oxford_flowers102:{good}")
    for split in KEYS:
        os.rename(good / split / "Rose bush", good / split / "1")  # pink primrose once more
    assert "101 of the 102 classes" in message(f"oxford_flowers102:{good}")
    (tmp_path / "empty").mkdir()
    assert "is not Oxford 102 Flowers" in message(f"oxford_flowers102:{tmp_path / 'empty'}")


# --------------------------------------------------------------- the download


class Site(http.server.ThreadingHTTPServer):
    """The authors' site: serves `files` with ranges; the first `drops` replies break off."""

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Page)
        self.files = files
        self.drops = 0
        self.ranges = True
        self.requests: list[tuple[str, str | None]] = []


class Page(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self):
        name, wanted = self.path.rpartition("/")[2], self.headers["Range"]
        self.server.requests.append((name, wanted))
        if name not in self.server.files:
            return self.send_error(404)
        data = self.server.files[name]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        if not self.server.ranges:
            start = 0
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        rest = data[start:]
        if self.server.drops and name.endswith(".tgz"):
            self.server.drops -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)

    def log_message(self, *args):
        pass


@pytest.fixture
def site(official, monkeypatch, tmp_path):
    server = Site(official)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/flowers/102/"
    monkeypatch.setattr(oxford_flowers102, "BASE_URL", url)
    monkeypatch.setenv("FLOWERS_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path) -> pathlib.Path:
    return tmp_path / "cache/oxford_flowers102"


def test_without_a_path_the_official_files_are_downloaded_once(site, cache):
    assert everything(open_source("oxford_flowers102", 0)) == expected()
    assert sorted(name for name, _ in site.requests) == sorted(site.files)
    assert sorted(os.listdir(cache)) == ["102flowers.tgz", "imagelabels.mat", "jpg", "setid.mat"]
    site.requests.clear()
    (cache / "102flowers.tgz").unlink()  # to save space: the photos are already unpacked
    assert everything(open_source("oxford_flowers102:", 0)) == expected()
    assert site.requests == []


def test_a_dropped_connection_is_taken_up_where_it_broke(site):
    site.drops = 1
    assert everything(open_source("oxford_flowers102", 0)) == expected()
    half = len(site.files["102flowers.tgz"]) // 2
    assert [r for name, r in site.requests if name.endswith("tgz")] == [None, f"bytes={half}-"]


def test_a_later_run_goes_on_with_what_an_earlier_one_got(site, cache):
    site.drops = 100
    text = message("oxford_flowers102")
    assert "102flowers.tgz could not be downloaded" in text
    assert not (cache / "102flowers.tgz").exists()
    site.drops = 0
    site.requests.clear()
    assert everything(open_source("oxford_flowers102", 0)) == expected()
    ((name, wanted),) = site.requests
    assert name == "102flowers.tgz"
    assert wanted not in (None, "bytes=0-")


def test_a_site_without_ranges_is_downloaded_from_the_start(site):
    site.drops = 1
    site.ranges = False
    assert everything(open_source("oxford_flowers102", 0)) == expected()


def test_a_whole_file_that_was_not_yet_moved_in_place_is_used(site, cache):
    put(cache, {"102flowers.tgz.part": site.files["102flowers.tgz"]})
    assert everything(open_source("oxford_flowers102", 0)) == expected()
    assert not (cache / "102flowers.tgz.part").exists()


@pytest.mark.parametrize("name", ["102flowers.tgz", "imagelabels.mat"])
def test_a_wrong_checksum_is_said_and_the_file_removed(site, cache, name):
    right = site.files[name]
    site.files[name] = right[:-1] + b"!"
    text = message("oxford_flowers102")
    assert name in text
    assert "checksum" in text
    assert not list(cache.glob(f"{name}*"))
    site.files[name] = right
    assert everything(open_source("oxford_flowers102", 0)) == expected()


def test_a_file_that_the_site_no_longer_has_is_said(site):
    del site.files["setid.mat"]
    text = message("oxford_flowers102")
    assert "setid.mat could not be downloaded" in text
    assert "404" in text


def test_no_network_is_said(site, monkeypatch):
    # The discard port of the loopback: nothing listens there.
    monkeypatch.setattr(oxford_flowers102, "BASE_URL", "http://127.0.0.1:9/")
    assert "check the network" in message("oxford_flowers102")


# ------------------------------------------------------------ the real photos


@pytest.fixture
def real() -> pathlib.Path:
    data = os.environ.get("FLOWERS_TEST_DATA")
    if not data:
        pytest.skip("FLOWERS_TEST_DATA does not say where oxford_flowers102/ is")
    return pathlib.Path(data) / "oxford_flowers102"


def test_the_real_photos_carry_their_official_labels_and_splits(real):
    source = open_source(f"oxford_flowers102:{real}", 0)
    assert sizes(source) == {"train": 1020, "valid": 1020, "test": 4141}
    labels = scipy.io.loadmat(real / "imagelabels.mat")["labels"].ravel()
    ids = scipy.io.loadmat(real / "setid.mat")
    for name, split in source.splits.items():
        numbers = np.array([int(photo[-9:-4]) for photo in split.names])
        assert (labels[numbers - 1] == split.labels + 1).all()
        assert set(numbers) <= set(ids[KEYS[name]].ravel())
        assert set(split.labels) == set(range(102))
        assert split.read(0).startswith(b"\xff\xd8")


def test_the_real_mat_files_have_the_checksums_that_are_asked_for(real):
    for name in ("imagelabels.mat", "setid.mat"):
        digest = hashlib.md5((real / name).read_bytes()).hexdigest()
        assert digest == oxford_flowers102.CHECKSUMS[name]


def test_part_of_valid_can_train(tmp_path):
    files = [*photos("train/a", 3), *photos("train/b", 3)]
    files += [*photos("valid/a", 5), *photos("valid/b", 10)]
    source = open_source(f"folder:{write(tmp_path, *files)}", 0)
    final = train_on_valid(source, 0.4, 0)
    assert np.bincount(final.splits["valid"].labels).tolist() == [2, 4]
    assert np.bincount(final.splits["train"].labels).tolist() == [6, 9]

    def contents(splits):
        return {
            name: (split.labels[i], split.read(i))
            for split in splits.values()
            for i, name in enumerate(split.names)
        }

    assert contents(final.splits) == contents(source.splits)
    valid = final.splits["valid"].names
    assert train_on_valid(source, 0.4, 0).splits["valid"].names == valid
    assert train_on_valid(source, 0.4, 1).splits["valid"].names != valid
    assert len(train_on_valid(source, 0.0, 0).splits["valid"]) == 2
