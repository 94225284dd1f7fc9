"""Photos that visitors let the page keep: how they are stored, and that they can be trained on."""

import io
import pathlib

import numpy as np
import pytest
from helpers import COLOURS, photo, use_hub, write_photo_folder
from hub_server import HubServer
from PIL import Image

from flowers_model import hub
from flowers_model.errors import UserError
from flowers_model.photo import decode
from page.server import kept
from page.server.kept import KeptPhotos
from train.data.decoding import evaluation_photos
from train.sources import open_source, open_sources

NAMES = ["blue iris", "colt's foot", "poppy"]
SHADES = dict(zip(NAMES, COLOURS.values(), strict=True))


def keep_some(photos: KeptPhotos, per_class: int = 4) -> None:
    for name, colour in SHADES.items():
        for i in range(per_class):
            photos.keep(decode(photo(colour, i)), name)


def check_source(spec: str, per_class: int = 4) -> None:
    """Training opens what was kept, with the right label on every photo."""
    source = open_source(spec, 0)
    assert source.class_names == tuple(NAMES)
    assert sum(map(len, source.splits.values())) == len(NAMES) * per_class
    for name, split in source.splits.items():
        pixels = evaluation_photos(split, name, 16, 1.0).array
        colours = [SHADES[NAMES[label]] for label in split.labels]
        assert np.abs(pixels.mean(axis=(1, 2)) - colours).max() < 12


def test_kept_photos_are_a_folder_to_train_on(tmp_path):
    keep_some(KeptPhotos(str(tmp_path / "new/kept"), NAMES))
    check_source(f"folder:{tmp_path}/new/kept")
    check_source(f"hub:{tmp_path}/new/kept")


@pytest.mark.parametrize("kind", ["folder", "hub"])
def test_the_first_few_kept_photos_train_beside_a_data_set(tmp_path, kind):
    """A single photo of a class cannot be split, but it can be trained on."""
    write_photo_folder(tmp_path / "data", {"train": 2, "valid": 1, "test": 1})
    photos = KeptPhotos(str(tmp_path / "kept"), ["poppy", "sunflower"])
    for name in ("poppy", "sunflower"):
        photos.keep(decode(photo(COLOURS[name], 77)), name)
    specs = [f"folder:{tmp_path}/data", f"{kind}:{tmp_path}/kept"]
    merged = open_sources(specs, "first", 0)
    assert merged.class_names == tuple(COLOURS)
    assert {name: len(split) for name, split in merged.splits.items()} == {
        "train": 3 * 2 + 2,
        "valid": 3,
        "test": 3,
    }
    assert np.bincount(merged.splits["train"].labels).tolist() == [2, 3, 3]


def test_a_kept_photo_is_small_upright_and_says_nothing_of_its_maker(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned
    exif[0x010F] = "Maker"
    file = io.BytesIO()
    Image.new("RGB", (1500, 3000), (220, 40, 30)).save(file, "JPEG", exif=exif)
    KeptPhotos(str(tmp_path), NAMES).keep(decode(file.getvalue()), "poppy")
    [path] = tmp_path.rglob("*.*")
    assert path.parent.name == "poppy"
    with Image.open(path) as opened:
        assert (opened.format, opened.size) == ("JPEG", (1024, 512))
        assert not opened.getexif()
    assert b"Maker" not in path.read_bytes()


def test_the_same_photo_is_kept_once_a_name_and_no_more_than_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "PHOTOS", 3)
    photos = KeptPhotos(str(tmp_path), NAMES)
    one, two = (decode(photo(COLOURS["poppy"], i)) for i in range(2))
    for _ in range(5):
        photos.keep(one, "poppy")
    photos.keep(one, "blue iris")
    photos = KeptPhotos(str(tmp_path), NAMES)  # a restart counts the photos on disk
    photos.keep(two, "poppy")
    photos.keep(two, "poppy")
    with pytest.raises(UserError, match="no more photos can be kept here"):
        photos.keep(two, "blue iris")
    assert len(list(tmp_path.rglob("*.jpg"))) == 3


@pytest.mark.parametrize("name", ["rose", "../poppy", "", "poppy/"])
def test_a_name_that_is_no_class_is_refused(tmp_path, name):
    photos = KeptPhotos(str(tmp_path / "kept"), NAMES)
    with pytest.raises(UserError, match="this name is not on the list"):
        photos.keep(decode(photo(COLOURS["poppy"])), name)
    assert list(tmp_path.rglob("*.jpg")) == []


def test_a_taught_name_is_kept_where_it_can_be_a_folders(tmp_path):
    photos = KeptPhotos(str(tmp_path), NAMES)
    photos.keep(decode(photo(COLOURS["poppy"])), "tulip", new=True)
    for name in ("../tulip", "", ".tulip", "a/b", "@tulip"):
        with pytest.raises(UserError, match=r"cannot be kept under the name .*plain letters"):
            photos.keep(decode(photo(COLOURS["poppy"])), name, new=True)
    assert [path.parent.name for path in tmp_path.rglob("*.jpg")] == ["tulip"]


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "a\\b", "a:b", "a ", "a\n", "__a", "@a"])
def test_a_class_that_cannot_be_a_folder_is_named_at_the_start(tmp_path, name):
    with pytest.raises(UserError, match="which cannot be the name of a folder"):
        KeptPhotos(str(tmp_path), ["poppy", name])


def test_a_place_that_cannot_be_written_to_is_named_at_the_start(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"^photos cannot be kept in .*file/kept.*give a folder"):
        KeptPhotos(str(tmp_path / "file/kept"), NAMES)


# A dataset repo


@pytest.fixture
def server(monkeypatch):
    with HubServer() as server:
        server.add_token("hf_ada", "ada", write=True)
        server.add_token("hf_eve", "eve", write=True)
        use_hub(server, monkeypatch, "hf_ada")
        yield server


def test_a_dataset_repo_receives_the_photos_and_is_trained_on(server, repo_id):
    photos = KeptPhotos(repo_id, NAMES)
    assert server.repo(repo_id, "dataset").private
    keep_some(photos)
    photos.close()
    assert not photos.folder.exists()
    files = server.repo(repo_id, "dataset").files()
    assert sum(path.endswith(".jpg") for path in files) == 12
    check_source(f"hub:{repo_id}")


def test_what_is_in_the_repo_already_stays(server, repo_id):
    earlier = {f"{name}/earlier.jpg": photo(colour, 99) for name, colour in SHADES.items()}
    server.put(repo_id, earlier, type="dataset")
    photos = KeptPhotos(repo_id, NAMES)
    keep_some(photos)
    photos.close()
    check_source(f"hub:{repo_id}", 5)


def test_photos_that_cannot_be_sent_stay_and_are_named(server, repo_id):
    photos = KeptPhotos(repo_id, NAMES)
    keep_some(photos, 1)
    server.fail_next("/commit/", 403, message="no", times=9)
    with pytest.raises(hub.HubError, match=f"cannot write to {repo_id} what is in") as caught:
        photos.close()
    assert str(photos.folder) in str(caught.value)
    assert len(list(photos.folder.rglob("*.jpg"))) == 3


def test_a_repo_that_cannot_be_written_to_is_one_line_at_the_start(server, repo_id, monkeypatch):
    with pytest.raises(hub.HubError, match=r"^cannot write to eve/kept: the Hub forbids it"):
        KeptPhotos("eve/kept", NAMES)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(hub.HubError, match="not logged in; run `hf auth login` or set HF_TOKEN"):
        KeptPhotos(repo_id, NAMES)


def test_a_folder_that_is_there_wins_over_a_repo_of_its_name(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("ada/kept").mkdir(parents=True)
    photos = KeptPhotos("ada/kept", NAMES)
    keep_some(photos, 1)
    photos.close()
    assert server.repos == {}
    assert len(list(tmp_path.glob("ada/kept/*/*.jpg"))) == 3
