"""Many files at once, and ZIPs with every kind of trouble."""

import contextlib
import csv
import pathlib
import stat
import struct
import zipfile

import pytest
from helpers import COLOURS, photo, write_tiny_bundle

from flowers_model.classifier import FlowerClassifier
from flowers_model.errors import UserError
from page.server import uploads
from page.tabs import batch

MEGABYTE = 2**20


def zipped(path: pathlib.Path, members: dict, method: int = zipfile.ZIP_DEFLATED) -> str:
    """A ZIP of members by name, or by ZipInfo; its path."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return str(path)


def read_all(*files: str) -> dict[str, bytes | str]:
    """The bytes of each item, or the reason why it cannot be read."""
    found = {}
    with uploads.opened([(pathlib.Path(file).name, file) for file in files]) as items:
        for item in items:
            try:
                found[item.name] = item.read()
            except UserError as error:
                found[item.name] = str(error)
    assert not any(isinstance(said, str) and "\n" in said for said in found.values())
    return found


def test_photos_and_zips_are_listed_in_their_order(tmp_path):
    (tmp_path / "first.jpg").write_bytes(photo(COLOURS["poppy"]))
    archive = zipped(tmp_path / "two.zip", {"b.jpg": b"b", "x/y/a.jpg": b"a", "empty/": b""})
    (tmp_path / "last").write_bytes(b"z")
    found = read_all(str(tmp_path / "first.jpg"), archive, str(tmp_path / "last"))
    assert list(found) == ["first.jpg", "b.jpg", "x/y/a.jpg", "last"]
    assert list(found.values()) == [photo(COLOURS["poppy"]), b"b", b"a", b"z"]


def test_what_systems_leave_in_archives_is_passed_over(tmp_path):
    """The same as in folders of photos."""
    clutter = ["__MACOSX/._a.jpg", "x/.DS_Store", ".hidden.jpg", "x/Thumbs.db", "desktop.ini"]
    clutter += ["x/@eaDir/a.jpg", ".hidden/a.jpg", "__MACOSX/x/a.jpg", "THUMBS.DB"]
    archive = zipped(tmp_path / "mac.zip", dict.fromkeys([*clutter, "x/@a.jpg", "../b.jpg"], b"?"))
    assert list(read_all(archive)) == ["x/@a.jpg", "../b.jpg"]


def test_names_that_lead_out_of_a_zip_lead_nowhere(tmp_path, monkeypatch):
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.chdir(room)
    names = ["../outside.jpg", "/etc/absolute.jpg", "C:\\windows.jpg", "a/../../b.jpg"]
    archive = zipped(tmp_path / "out.zip", dict.fromkeys(names, b"inside"))
    before = sorted(tmp_path.rglob("*"))
    assert read_all(archive) == dict.fromkeys(names, b"inside")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_a_zip_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    link = zipfile.ZipInfo("link.jpg")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    found = read_all(zipped(tmp_path / "links.zip", {link: str(tmp_path / "secret")}))
    assert "it is a link, which is not followed" in found["link.jpg"]


def test_an_encrypted_member_is_named_and_the_rest_is_read(tmp_path):
    path = pathlib.Path(zipped(tmp_path / "locked.zip", {"a.jpg": b"a", "b.jpg": b"b"}))
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1  # of the first member
    path.write_bytes(data)
    found = read_all(str(path))
    assert "it is encrypted; a ZIP without a password is needed" in found["a.jpg"]
    assert found["b.jpg"] == b"b"


def test_a_member_that_grows_too_large_is_refused_whatever_its_header_says(tmp_path):
    path = pathlib.Path(
        zipped(tmp_path / "bomb.zip", {"bomb.jpg": bytes(51 * MEGABYTE), "a.jpg": b"a"})
    )
    data = path.read_bytes()
    assert len(data) < MEGABYTE
    lie = data.replace(struct.pack("<L", 51 * MEGABYTE), struct.pack("<L", 10))
    assert lie != data
    said = {}
    for content in (data, lie):
        path.write_bytes(content)
        found = read_all(str(path))
        said[content] = found["bomb.jpg"]
        assert found["a.jpg"] == b"a"
    assert said[data] == "it is too large; at most 50 MB are fine"
    assert said[lie] == "it is damaged in the ZIP; a whole photo is needed"


def test_all_together_are_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "ALL_BYTES", 5 * MEGABYTE)
    (tmp_path / "first.jpg").write_bytes(bytes(3 * MEGABYTE))
    archive = zipped(tmp_path / "more.zip", dict.fromkeys("abc", bytes(MEGABYTE)))
    found = list(read_all(str(tmp_path / "first.jpg"), archive).values())
    assert [len(data) for data in found[:3]] == [3 * MEGABYTE, MEGABYTE, MEGABYTE]
    assert found[3] == (
        "it was not read, for all together are too large; at most 5 MB at a time are fine"
    )


def test_members_that_share_their_bytes_count_each_time(tmp_path, monkeypatch):
    """As in https://www.bamsoftware.com/hacks/zipbomb/: many directory entries for one file."""
    monkeypatch.setattr(uploads, "ALL_BYTES", 5 * MEGABYTE)
    path = pathlib.Path(zipped(tmp_path / "one.zip", {"a.jpg": bytes(MEGABYTE)}))
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    counts = struct.pack("<HHL", 20, 20, 20 * (end - start))
    path.write_bytes(data[:start] + data[start:end] * 20 + data[end : end + 8] + counts + data[-6:])
    with uploads.opened([("one.zip", str(path))]) as items:
        assert len(items) == 20
        read = 0
        for item in items:
            with contextlib.suppress(UserError):
                read += len(item.read())
    assert read <= 5 * MEGABYTE


def test_a_table_of_contents_without_end_is_not_read(tmp_path):
    names = [f"{i:06}{'x' * 60}.jpg" for i in range(12_000)]
    found = read_all(zipped(tmp_path / "names.zip", dict.fromkeys(names, b"")))
    assert found == {"names.zip": "this ZIP lists too many files; at most 50 at a time are fine"}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_cannot_be_bounded_is_refused(tmp_path, method):
    found = read_all(zipped(tmp_path / "odd.zip", {"a.jpg": b"a"}, method))
    assert "compressed in a way that is not read here" in found["a.jpg"]


def test_damaged_zips_are_named(tmp_path):
    path = pathlib.Path(zipped(tmp_path / "whole.zip", {"a.jpg": photo(COLOURS["poppy"])}))
    data = path.read_bytes()
    (tmp_path / "half.zip").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.zip").write_bytes(b"Dear diary")
    (tmp_path / "none.zip").write_bytes(b"")
    broken = bytearray(data)
    broken[60] ^= 255
    (tmp_path / "broken.zip").write_bytes(broken)
    found = read_all(*(str(tmp_path / f"{n}.zip") for n in ("half", "text", "none", "broken")))
    whole = "this ZIP is damaged or cut short; a whole one is needed"
    assert found == {
        "half.zip": whole,
        "text.zip": whole,
        "none.zip": whole,
        "a.jpg": "it is damaged in the ZIP; a whole photo is needed",
    }


def test_a_zip_is_known_by_its_content_and_a_photo_with_one_behind_it_is_a_photo(tmp_path):
    archive = pathlib.Path(zipped(tmp_path / "garden", {"a.jpg": b"a"}))
    both = tmp_path / "both.jpg"
    both.write_bytes(photo(COLOURS["poppy"]) + archive.read_bytes())
    assert list(read_all(str(archive), str(both))) == ["a.jpg", "both.jpg"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> FlowerClassifier:
    return FlowerClassifier.from_pretrained(write_tiny_bundle(tmp_path_factory.mktemp("bundle")))


def test_each_file_gets_the_answer_that_it_gets_alone_or_a_reason(classifier, tmp_path):
    data = photo(COLOURS["poppy"])
    members = {"garden/poppy.jpg": data, "notes.txt": b"Dear diary", "inner.zip": b"PK\x03\x04"}
    archive = zipped(tmp_path / "garden.zip", members)
    with uploads.opened([("garden.zip", archive)]) as items:
        rows = [batch.answer(classifier, item) for item in items]
    assert [row.name for row in rows] == list(members)
    assert [rows[0].prediction] == classifier.classify(data, top=1)
    for row in rows[1:]:
        assert row.prediction is None
        assert row.problem.startswith("this photo cannot be read as a photo;")


def test_no_cell_of_the_csv_begins_like_a_formula(classifier):
    [prediction] = classifier.classify(photo(COLOURS["poppy"]), top=1)
    names = [
        *("=1+1.jpg", "+1.jpg", "-1.jpg", "@SUM(A1).jpg", "\t=1.jpg", " =1.jpg", "\r\n=1.jpg"),
        *("\uff1d1.jpg", '=HYPERLINK("http://x","y").jpg', 'a";=1.jpg', "a,=1.jpg", "rose.jpg"),
    ]
    texts = [batch.write_line(batch.Row(name, prediction)) for name in names]
    lines = list(csv.reader(texts))
    assert {len(line) for line in lines} == {len(batch.COLUMNS)}
    assert all(line[1] == prediction.labels[0] for line in lines)
    for line in lines:
        assert not line[0].lstrip().startswith(batch.FORMULAS)
        assert line[0].isprintable()
    assert lines[-1][0] == "rose.jpg"
    # Nor if a spreadsheet splits cells at semicolons: quotes prevent that.
    assert all(text.startswith('"') and text.endswith('"') for text in texts)


def test_classes_that_look_like_formulas_are_made_harmless_too(classifier):
    [found] = classifier.classify(photo(COLOURS["poppy"]), top=1)
    found.labels[0] = "=evil"
    [line] = csv.reader([batch.write_line(batch.Row("a.jpg", found))])
    assert line[1] == "'=evil"
