"""Datasets from the Hub and from disk (`datasets`), with local files and a small local Hub."""

import concurrent.futures
import pathlib

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from helpers import COLOURS, photo, use_hub, write_photo_folder
from hub_server import HubServer

from flowers_model.errors import UserError
from train.data.decoding import evaluation_photos
from train.sources import Source, SourceError, open_source

NAMES = ["sunflower", "poppy", "blue iris"]  # not sorted: label order is to be kept
FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})


def rows(per_class: int, seed: int = 0) -> dict[str, list]:
    """Columns `image` and `label`; the classes alternate."""
    names = NAMES * per_class
    photos = [photo(COLOURS[name], seed * 1000 + i) for i, name in enumerate(names)]
    return {"image": [{"bytes": p, "path": None} for p in photos], "label": names}


def table(per_class: int, seed: int = 0) -> datasets.Dataset:
    return datasets.Dataset.from_dict(rows(per_class, seed), features=FEATURES)


def parquet(per_class: int, seed: int = 0, data: datasets.Dataset | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    (data or table(per_class, seed)).to_parquet(sink)
    return sink.getvalue().to_pybytes()


def write(folder: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def sizes(source: Source) -> dict[str, int]:
    return {name: len(split) for name, split in source.splits.items()}


def check_photos(source: Source) -> None:
    """Each photo is encoded, and has the colour of the class that its label names."""
    from flowers_model.photo import decode

    for split in source.splits.values():
        assert split.labels.dtype == np.int32
        for i in range(len(split)):
            colour = decode(split.read(i)).mean(axis=(0, 1))
            name = source.class_names[split.labels[i]]
            assert np.abs(colour - COLOURS[name]).max() < 12


def refusal(spec: str) -> str:
    with pytest.raises(UserError) as caught:
        open_source(spec, 0)
    line = str(caught.value)
    assert "\n" not in line
    return line


# Local files


def test_parquet_keeps_names_splits_and_bytes(tmp_path):
    data = {"train": 5, "validation": 2, "test": 3}
    write(tmp_path, {f"data/{s}-0-of-1.parquet": parquet(n, n) for s, n in data.items()})
    source = open_source(f"hub:{tmp_path}", 0)
    assert source.class_names == tuple(NAMES)
    assert sizes(source) == {"train": 15, "valid": 6, "test": 9}
    expected = rows(2, seed=2)
    valid = source.splits["valid"]
    assert [valid.read(i) for i in range(6)] == [cell["bytes"] for cell in expected["image"]]
    assert [NAMES[label] for label in valid.labels] == expected["label"]
    check_photos(source)


@pytest.mark.parametrize("form", ["parquet", "arrow", "save_to_disk"])
def test_one_table_is_cut_by_the_seed(tmp_path, form):
    if form == "save_to_disk":
        table(10).save_to_disk(path := tmp_path / "saved")
    elif form == "parquet":
        write(tmp_path, {"all.parquet": parquet(10)})
        path = tmp_path / "all.parquet"
    else:
        table(10).save_to_disk(tmp_path / "saved")
        [path] = (tmp_path / "saved").glob("*.arrow")
    source, again, other = (open_source(f"hub:{path}", seed) for seed in (1, 1, 2))
    assert sizes(source) == {"train": 18, "valid": 6, "test": 6}
    for name, split in source.splits.items():
        assert np.bincount(split.labels).tolist() == [len(split) // 3] * 3
        assert split.names == again.splits[name].names
    assert source.splits["valid"].names != other.splits["valid"].names
    names = [name for split in source.splits.values() for name in split.names]
    assert len(set(names)) == 30
    check_photos(source)


def test_valid_is_cut_where_there_is_a_test_split(tmp_path):
    write(tmp_path, {"train.parquet": parquet(10), "test.parquet": parquet(2, 1)})
    assert sizes(open_source(f"hub:{tmp_path}", 0)) == {"train": 24, "valid": 6, "test": 6}


def test_an_imagefolder(tmp_path):
    write_photo_folder(tmp_path, {"train": 4, "val": 2})
    source = open_source(f"hub:{tmp_path}", 0)
    assert source.class_names == tuple(sorted(COLOURS))
    assert sizes(source) == {"train": 12, "valid": 6}
    assert source.splits["train"].names[0] == "train/000000/000.jpg"
    check_photos(source)


def test_an_imagefolder_whose_labels_are_in_a_table(tmp_path):
    lines = ["file_name,flower"]
    for i, name in enumerate(NAMES * 4):
        write(tmp_path, {f"train/{i}.jpg": photo(COLOURS[name], i)})
        lines.append(f"{i}.jpg,{name}")
    write(tmp_path, {"train/metadata.csv": "\n".join(lines).encode()})
    source = open_source(f"hub:{tmp_path}", 0)
    assert source.class_names == tuple(sorted(NAMES))
    check_photos(source)


def test_columns_are_named_where_types_do_not_tell(tmp_path):
    columns = rows(4)
    bare = {
        "id": [str(i) for i in range(12)],
        "photo": [cell["bytes"] for cell in columns["image"]],
        "flower": columns["label"],
        "number": [10 * NAMES.index(name) for name in columns["label"]],
    }
    pyarrow.parquet.write_table(pa.table(bare), tmp_path / "bare.parquet")
    path = tmp_path / "bare.parquet"
    source = open_source(f"hub:{path}?image=photo&label=flower", 0)
    check_photos(source)
    assert open_source(f"hub:{path}?image=photo&label=number", 0).class_names == ("0", "10", "20")
    listed = "columns: id (string), photo (binary), flower (string), number (int64)."
    for query, said in {
        "": "has no image column: name one by ?image=COLUMN;",
        "?image=photo": "2 possible label columns: name one by ?label=COLUMN;",
        "?image=flower": "column 'flower' does not hold images;",
        "?image=photo&label=photo": "column 'photo' holds no labels;",
        "?image=foto": "has no column 'foto';",
    }.items():
        line = refusal(f"hub:{path}{query}")
        assert f"{said} {listed}" in line


def test_photos_are_read_by_many_threads(tmp_path):
    write(tmp_path, {"train.parquet": parquet(40)})
    split = open_source(f"hub:{tmp_path}", 0).splits["train"]
    alone = [split.read(i) for i in range(len(split))]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(split.read, list(range(len(split))) * 5)) == alone * 5


def test_a_photo_that_does_not_decode_is_left_to_the_decoder(tmp_path):
    columns = rows(4)
    columns["image"][0]["bytes"] = b"no photo"
    data = datasets.Dataset.from_dict(columns, features=FEATURES)
    write(tmp_path, {"train.parquet": parquet(0, data=data), "val.parquet": parquet(1)})
    assert open_source(f"hub:{tmp_path}", 0).splits["train"].read(0) == b"no photo"


def test_a_path_in_a_table_is_not_followed(tmp_path):
    write(tmp_path, {"secret.jpg": b"secret"})
    columns = rows(4)
    columns["image"] = [{"bytes": None, "path": str(tmp_path / "secret.jpg")}] * 12
    struct = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    data = pa.table({"image": pa.array(columns["image"], struct), "label": columns["label"]})
    pyarrow.parquet.write_table(data, tmp_path / "train.parquet")
    source = open_source(f"hub:{tmp_path / 'train.parquet'}?image=image", 0)
    with pytest.raises(OSError, match="has no photo"):
        source.splits["train"].read(0)


def test_a_readme_does_not_lead_elsewhere(tmp_path):
    write(tmp_path, {"secret/x.parquet": parquet(3)})
    card = f"---\nconfigs:\n- config_name: a\n  data_files: {tmp_path}/secret/*.parquet\n---\n"
    write(tmp_path, {"data/README.md": card.encode(), "data/y.parquet": parquet(3)})
    assert "is outside of it" in refusal(f"hub:{tmp_path}/data")


def test_a_test_split_without_labels_is_left_out(tmp_path, caplog):
    columns = rows(2)
    columns["label"] = [-1] * 6
    secret = datasets.Dataset.from_dict(columns, features=FEATURES)
    files = {"train.parquet": parquet(4), "val.parquet": parquet(2)}
    write(tmp_path, {**files, "test.parquet": parquet(0, data=secret)})
    assert sizes(open_source(f"hub:{tmp_path}", 0)) == {"train": 12, "valid": 6}
    assert "split test is left out, because it has no labels" in caplog.text


def test_a_row_without_label_is_named(tmp_path):
    columns = rows(2)
    columns["label"][4] = -1
    data = datasets.Dataset.from_dict(columns, features=FEATURES)
    write(tmp_path, {"train.parquet": parquet(0, data=data)})
    assert "row 4 of train has no label" in refusal(f"hub:{tmp_path}")


def test_skip_bad_leaves_out_rows_without_label_or_photo(tmp_path, caplog):
    columns = rows(4)
    columns["label"][4] = columns["label"][7] = -1
    columns["image"][6] = None
    data = datasets.Dataset.from_dict(columns, features=FEATURES)
    write(tmp_path, {"train.parquet": parquet(0, data=data), "val.parquet": parquet(2)})
    assert "row 4 of train has no label" in refusal(f"hub:{tmp_path}")
    source = open_source(f"hub:{tmp_path}", 0, skip_bad=True)
    assert f"skipped: 2 of 12 rows of train in {tmp_path} ({tmp_path}: row 4 of" in caplog.text
    train = source.splits["train"]
    assert train.names == tuple(f"train/{row:06}" for row in range(12) if row not in (4, 7))
    assert [NAMES[label] for label in train.labels] == [
        name for row, name in enumerate(columns["label"]) if row not in (4, 7)
    ]
    with pytest.raises(SourceError, match=r"1 of 10 train photos .*train/000006: .*no photo"):
        evaluation_photos(train, "train", 16, 1.0)
    assert len(evaluation_photos(train, "train", 16, 1.0, skip_bad=True)) == 9


def test_one_of_several_configurations_is_chosen(tmp_path):
    card = "---\nconfigs:\n" + "".join(
        f"- config_name: {name}\n  data_files: {name}.parquet\n" for name in ("big", "small")
    )
    write(tmp_path, {"README.md": f"{card}---\n".encode()})
    write(tmp_path, {"big.parquet": parquet(10), "small.parquet": parquet(5)})
    assert sizes(open_source(f"hub:{tmp_path}?config=small", 0))["train"] == 9
    assert "['big', 'small']" in refusal(f"hub:{tmp_path}")


def test_mistakes_get_one_line(tmp_path):
    write(tmp_path, {"cut.parquet": parquet(3)[:300], "a.txt": b"x", "empty/x": b""})
    write(tmp_path, {"text/train.csv": b"a,b\n1,2\n"})
    one = table(4).filter(lambda row: row["label"] != 2)
    write(tmp_path, {"lacking/train.parquet": parquet(0, data=one)})
    write(tmp_path, {"lacking/val.parquet": parquet(2)})
    for spec, said in {
        "hub:": "write hub:USER/DATASET",
        "hub:/nowhere/at/all": "neither an existing path nor a dataset",
        f"hub:{tmp_path}/cut.parquet": "cut.parquet cannot be read: ",
        f"hub:{tmp_path}/a.txt": "neither a folder nor a .parquet or .arrow file",
        f"hub:{tmp_path}/empty": "empty cannot be read: ",
        f"hub:{tmp_path}/text": "holds csv data: only parquet, arrow, imagefolder",
        f"hub:{tmp_path}/a.txt?colour=red": "no option is called 'colour'",
        f"hub:{tmp_path}/a.txt?image": "?image is not of the form",
        f"hub:{tmp_path}/lacking": "'train' lacks 'blue iris'",
    }.items():
        assert said in refusal(spec)


# The Hub


@pytest.fixture
def server(monkeypatch):
    with HubServer() as server:
        server.add_token("hf_ada", "ada")
        server.add_token("hf_eve", "eve")
        use_hub(server, monkeypatch)
        yield server


def put(server: HubServer, repo_id: str, per_class: int = 4, **options) -> str:
    files = {
        "README.md": b"---\nlicense: cc-by-4.0\n---\n# Flowers\n",
        "data/train-00000-of-00002.parquet": parquet(per_class),
        "data/train-00001-of-00002.parquet": parquet(per_class, 1),
        "data/validation-00000-of-00001.parquet": parquet(2, 2),
    }
    return server.put(repo_id, files, type="dataset", **options).sha


def test_a_data_set_of_the_hub(server, repo_id):
    sha = put(server, repo_id)
    source = open_source(f"hub:{repo_id}", 0)
    assert (source.name, source.class_names) == (repo_id, tuple(NAMES))
    assert repo_id in source.credits
    assert sha in source.credits
    assert sizes(source) == {"train": 24, "valid": 6}
    check_photos(source)


def test_photos_of_the_hub_in_class_folders(server, repo_id):
    files = {
        f"{split}/{name}/{i}.jpg": photo(colour, i)
        for split, count in {"train": 4, "valid": 2}.items()
        for name, colour in COLOURS.items()
        for i in range(count)
    }
    server.put(repo_id, files, type="dataset")
    source = open_source(f"hub:{repo_id}", 0)
    assert sizes(source) == {"train": 12, "valid": 6}
    check_photos(source)


def test_a_revision_is_that_revision(server, repo_id):
    put(server, repo_id, 4)
    sha = put(server, repo_id, 5, branch="more")
    assert sizes(open_source(f"hub:{repo_id}", 0))["train"] == 24
    assert sizes(open_source(f"hub:{repo_id}@more", 0))["train"] == 30
    assert sizes(open_source(f"hub:{repo_id}@{sha}?image=image", 0))["train"] == 30


def test_what_was_fetched_is_there_without_a_connection(server, repo_id):
    put(server, repo_id, 4)
    put(server, repo_id, 5, branch="more")
    for name in (repo_id, f"{repo_id}@more"):
        open_source(f"hub:{name}", 0)
    server.stop()
    assert sizes(open_source(f"hub:{repo_id}", 0))["train"] == 24
    assert sizes(open_source(f"hub:{repo_id}@more", 0))["train"] == 30
    assert "cannot reach" in refusal(f"hub:{repo_id}-never")
    assert "cannot reach" in refusal(f"hub:{repo_id}@never")


def test_a_download_that_was_cut_goes_on(server, repo_id):
    put(server, repo_id)
    server.fail_next("/resolve/.*validation", 503)
    server.drop_next("/cdn/", after=1000, reset=True)
    check_photos(open_source(f"hub:{repo_id}", 0))


def test_a_private_data_set_is_for_its_owner(server, repo_id, monkeypatch):
    put(server, repo_id, private=True)
    line = refusal(f"hub:{repo_id}")
    assert f"{server.url} has no such dataset, or it is private and without `hf auth" in line
    monkeypatch.setenv("HF_TOKEN", "hf_eve")
    assert "this token's user may not see it" in refusal(f"hub:{repo_id}")
    monkeypatch.setenv("HF_TOKEN", "hf_ada")
    check_photos(open_source(f"hub:{repo_id}", 0))


def test_what_the_hub_lacks_is_told(server, repo_id):
    assert "has no such dataset" in refusal(f"hub:{repo_id}")
    put(server, repo_id)
    line = refusal(f"hub:{repo_id}@v9")
    assert f"no branch, tag or commit 'v9'; see {server.url}/datasets/{repo_id}/commits" in line
    server.fail_next("/revision/", 403, headers={"X-Error-Code": "GatedRepo"})
    assert f"ask for it at {server.url}/datasets/{repo_id}" in refusal(f"hub:{repo_id}")


def test_a_script_is_not_run(server, repo_id, tmp_path):
    script = f"open({str(tmp_path / 'ran')!r}, 'w')"
    name = repo_id.split("/")[1]
    server.put(repo_id, {f"{name}.py": script.encode()}, type="dataset")
    assert "cannot be read" in refusal(f"hub:{repo_id}")
    assert not (tmp_path / "ran").exists()


def test_words_in_file_names_are_no_splits(tmp_path, caplog):
    write_photo_folder(tmp_path, {"": 10})
    for name in COLOURS:
        (tmp_path / name / "000.jpg").rename(tmp_path / name / "test shot.jpg")
        (tmp_path / name / "001.jpg").rename(tmp_path / name / "dev.jpg")
    source = open_source(f"hub:{tmp_path}", 0)
    assert sum(sizes(source).values()) == 30
    check_photos(source)
    assert "leaves out" not in caplog.text


def test_photos_that_datasets_leaves_out_are_counted(tmp_path, caplog):
    write_photo_folder(tmp_path, {"train": 4, "test": 1})
    for name in COLOURS:
        (tmp_path / "train" / name / "000.jpg").rename(tmp_path / "train" / name / "000.heic")
    open_source(f"hub:{tmp_path}", 0)
    assert "leaves out 3 of 15 photos" in caplog.text
    assert "train/blue iris/000.heic" in caplog.text


def test_photos_that_the_metadata_does_not_name_are_counted(tmp_path, caplog):
    """Their table as spreadsheets save it, with a byte order mark and Windows line endings."""
    write_photo_folder(tmp_path, {"photos": 4})
    names = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.jpg"))]
    table = ["file_name,label", *(f"{name},{name.split('/')[1]}" for name in names[1:])]
    (tmp_path / "metadata.csv").write_text("\r\n".join(table), "utf-8-sig", newline="")
    assert sum(sizes(open_source(f"hub:{tmp_path}?label=label", 0)).values()) == 11
    assert "leaves out 1 of 12 photos" in caplog.text
    assert names[0] in caplog.text


def test_classes_that_differ_in_case_or_blanks_alone_are_said(tmp_path, caplog):
    write_photo_folder(tmp_path, {"": 3})
    (tmp_path / "poppy").rename(tmp_path / "Blue  Iris")
    open_source(f"folder:{tmp_path}", 0)
    [record] = caplog.records
    assert "'Blue  Iris', 'blue iris' differ only in case or blanks" in record.getMessage()


def test_names_are_one_in_either_form_of_unicode_and_blank_cells_are_no_labels(tmp_path):
    table = rows(4)
    table["label"] = ["pensée", "pense\u0301e", "rose"] * 4
    data = datasets.Dataset.from_dict(table)
    data = data.cast_column("image", datasets.Image())
    write(tmp_path, {"a/x.parquet": parquet(0, data=data)})
    assert open_source(f"hub:{tmp_path}/a", 0).class_names == ("pensée", "rose")
    table["label"][2] = " "
    data = datasets.Dataset.from_dict(table).cast_column("image", datasets.Image())
    write(tmp_path, {"b/x.parquet": parquet(0, data=data)})
    assert "row 2 of train has no label" in refusal(f"hub:{tmp_path}/b")
    assert open_source(f"hub:{tmp_path}/b", 0, skip_bad=True).class_names == ("pensée", "rose")


def test_a_card_that_is_no_yaml_is_told_with_its_line(tmp_path):
    card = b"---\nlicense: mit\ntags: [a, b\n: x\n---\n# Mine\n"
    write(tmp_path, {"README.md": card, "data.parquet": parquet(3)})
    with pytest.raises(
        SourceError, match=r"line \d of its README.md is not valid YAML \(.*\): correct"
    ) as said:
        open_source(f"hub:{tmp_path}", 0)
    assert "\n" not in str(said.value)


def test_a_name_that_no_row_has_is_no_class(tmp_path, caplog):
    features = FEATURES | {"label": datasets.ClassLabel(names=["never", *NAMES, "nor this"])}
    data = datasets.Dataset.from_dict(rows(4), features=datasets.Features(features))
    write(tmp_path, {"data.parquet": parquet(4, data=data)})
    source = open_source(f"hub:{tmp_path / 'data.parquet'}", 0)
    assert source.class_names == tuple(NAMES)
    assert {len(np.unique(split.labels)) for split in source.splits.values()} == {3}
    assert "classes without any photo are left out: 'never', 'nor this'" in caplog.text
