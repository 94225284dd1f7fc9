"""The quickstart photos: the same for a seed, balanced, and told apart by structure, not colour."""

import io

import numpy as np
import pytest
from PIL import Image

from train.sources import SourceError
from train.sources.quickstart import PER_CLASS, quickstart
from train.sources.quickstart.canvas import SIZE


def pixels(photo: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photo)))


@pytest.fixture(scope="module")
def source():
    return quickstart(7)


def test_the_same_seed_draws_the_same_bytes_in_any_order(source):
    train, again = source.splits["train"], quickstart(7).splits["train"]
    chosen = [3, 500, len(train) - 1]
    forwards = {i: train.read(i) for i in chosen}
    backwards = {i: again.read(i) for i in reversed(chosen)}
    assert forwards == backwards


def test_another_seed_draws_other_photos(source):
    other = quickstart(8)
    for name, split in source.splits.items():
        assert split.read(0) != other.splits[name].read(0)


def test_splits_and_classes_share_no_photo(source):
    photos = [
        split.read(int(i))
        for split in source.splits.values()
        for label in range(len(source.class_names))
        for i in np.flatnonzero(split.labels == label)[:2]
    ]
    assert len(set(photos)) == len(photos) == 6 * len(source.class_names)


def test_every_class_occurs_equally_often_in_every_split(source):
    assert len(source.class_names) >= 10
    assert list(source.class_names) == sorted(set(source.class_names))
    for name, split in source.splits.items():
        assert split.labels.dtype == np.int32
        assert np.bincount(split.labels).tolist() == [PER_CLASS[name]] * len(source.class_names)


def test_names_are_unique_paths_that_hold_split_and_class(source):
    names = [n for split in source.splits.values() for n in split.names]
    assert len(set(names)) == len(names)
    for name, split in source.splits.items():
        assert len(split) == len(split.names) == len(split.labels)
        for path, label in zip(split.names, split.labels, strict=True):
            assert path.startswith(f"{name}/{source.class_names[label]}/")


def test_photos_are_rgb_jpegs_of_the_stated_size(source):
    for i in range(0, len(source.splits["valid"]), 40):
        photo = source.splits["valid"].read(i)
        image = Image.open(io.BytesIO(photo))
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SIZE, SIZE))
        assert pixels(photo).std() > 10  # a picture, not a plain surface


@pytest.mark.slow
def test_mean_colour_does_not_tell_the_classes_apart(source):
    def mean_colours(name: str, per_class: int) -> tuple[np.ndarray, np.ndarray]:
        split = source.splits[name]
        chosen = np.arange(len(split)) % PER_CLASS[name] < per_class
        colours = [pixels(split.read(int(i))).mean((0, 1)) for i in np.flatnonzero(chosen)]
        return np.stack(colours), split.labels[chosen]

    known, known_labels = mean_colours("train", 10)
    asked, asked_labels = mean_colours("test", 5)
    classes = range(len(source.class_names))
    centres = np.stack([known[known_labels == k].mean(0) for k in classes])
    nearest = np.square(asked[:, None] - centres).sum(-1).argmin(1)
    assert np.mean(nearest == asked_labels) < 0.35


def test_a_negative_seed_is_refused():
    with pytest.raises(SourceError, match="0 or larger"):
        quickstart(-1)
