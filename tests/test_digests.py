"""Photos keep their splits when photos are added, removed or reordered."""

import pytest
from helpers import COLOURS, photo

from flowers_model import bundle
from train.data import digests
from train.sources import SourceError, open_source


@pytest.fixture
def data(tmp_path):
    """Ten photos per class, split by the seed."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "data" / name / f"{i}.jpg").write_bytes(photo(colour, 100 * number + i))
    return tmp_path / "data"


@pytest.fixture
def run(data, tmp_path):
    """The folder of a run that was started on these photos."""
    folder = tmp_path / "run"
    digests.begin(opened(data), folder, begun=False)
    return folder


def opened(data):
    return open_source(f"folder:{data}", 0)


def contents(source) -> dict[str, list[bytes]]:
    return {
        name: [split.read(i) for i in range(len(split))] for name, split in source.splits.items()
    }


def add(data, count: int = 4):
    """Add photos that sort before and after the others in each class, and a copy of one."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        for i in range(count):
            (data / name / f"{'-' if i % 2 else 'z'}{i}.jpg").write_bytes(
                photo(colour, 1000 + 100 * number + i)
            )
        (data / name / "copy.jpg").write_bytes((data / name / "0.jpg").read_bytes())


def test_a_run_goes_on_with_the_photos_that_it_began_with(data, run, caplog):
    labels = opened(data).splits["test"].labels.tolist()
    before = contents(opened(data))
    assert contents(digests.begin(opened(data), run, begun=True)) == before
    assert not caplog.text
    add(data)
    (data / "poppy/5.jpg").rename(data / "poppy/renamed.jpg")
    assert contents(opened(data))["test"] != before["test"]
    again = digests.begin(opened(data), run, begun=True)
    assert contents(again) == before
    assert again.splits["test"].labels.tolist() == labels
    assert "15 photos are new and left out" in caplog.text
    assert "0 are gone" in caplog.text


def test_photos_that_have_gone_are_said(data, run, caplog):
    before = contents(opened(data))
    gone = before["train"][0]
    [file] = [path for path in data.rglob("*.jpg") if path.read_bytes() == gone]
    file.unlink()
    after = contents(digests.begin(opened(data), run, begun=True))
    assert after == before | {"train": before["train"][1:]}
    assert "0 photos are new and left out (a new run would use them), 1 are gone" in caplog.text


def test_before_anything_is_trained_the_photos_may_change(data, run):
    add(data)
    source = digests.begin(opened(data), run, begun=False)
    assert contents(source) == contents(opened(data))
    assert contents(digests.begin(opened(data), run, begun=True)) == contents(source)


def test_a_run_is_not_gone_on_with_on_other_classes(data, run):
    (data / "poppy").rename(data / "tulip")
    with pytest.raises(SourceError, match=r"have changed since the run started: 'poppy' is gone"):
        digests.begin(opened(data), run, begun=True)


def test_a_damaged_list_of_splits_is_one_line(data, run):
    (run / "splits.json").write_text('{"class_names": [', "utf-8")
    with pytest.raises(bundle.BundleError, match=r"splits\.json") as caught:
        digests.begin(opened(data), run, begun=True)
    assert "\n" not in str(caught.value)


def test_a_model_is_not_measured_on_photos_that_it_was_trained_on(data, run, caplog):
    record = bundle.read_splits(run)
    before = contents(opened(data))
    assert contents(digests.as_trained(opened(data), [record])) == before
    assert not caplog.text
    add(data)
    cut = contents(opened(data))
    assert set(cut["test"]) & set(before["train"])
    after = contents(digests.as_trained(opened(data), [None, record]))
    known = {one for photos in before.values() for one in photos}
    for name in before:
        assert set(after[name]) & known == set(before[name])
        assert set(after[name]) - known == set(cut[name]) - known
    assert "12 are new to the model and stay where they are" in caplog.text


def test_of_several_models_the_one_that_learned_from_a_photo_decides(data, run):
    record = bundle.read_splits(run)
    train, valid, test = (record.photos[name] for name in ("train", "valid", "test"))
    photos = {"train": train + test[:1], "valid": valid, "test": test[1:]}
    other = record.model_copy(update={"photos": photos})
    before = contents(opened(data))
    after = contents(digests.as_trained(opened(data), [record, other]))
    assert after["test"] == before["test"][1:]
    assert before["test"][0] in after["train"]


def test_other_photos_stay_where_they_are(data, run, tmp_path, caplog):
    record = bundle.read_splits(run)
    for split in ("train", "valid"):
        for name in ("poppy", "sunflower"):
            (tmp_path / "other" / split / name).mkdir(parents=True)
            (tmp_path / "other" / split / name / "0.jpg").write_bytes(f"{split} {name}".encode())
    source = opened(tmp_path / "other")
    assert digests.as_trained(source, [record]) is source
    assert not caplog.text
