"""From a source to batches: the same pixels as serving, the same order for the same seed."""

import io
import logging

import numpy as np
import pytest
from helpers import photo, write_photo_folder
from PIL import Image

from flowers_model.photo import decode, fit
from train.data import decoding, pipeline
from train.data.augment import mixing, policy
from train.data.decoding import Photos, evaluation_photos, together, training_photos
from train.sources import SourceError, Split, open_source

LABELS = np.arange(6, dtype=np.int32) % 3
ORDER = pipeline.Order(2, 5)


def split_of(photos: list[bytes]) -> Split:
    labels = np.arange(len(photos), dtype=np.int32) % 3
    return Split(tuple(f"{i}.jpg" for i in range(len(photos))), labels, photos.__getitem__)


@pytest.fixture
def photos() -> list[bytes]:
    return [photo((40 * i, 200 - 30 * i, 90), i, (50 + i, 60 - i)) for i in range(6)]


def test_evaluation_sees_bit_for_bit_what_serving_sees(photos):
    ours = evaluation_photos(split_of(photos), "test", 32, 0.9)
    for data, array in zip(photos, ours.array, strict=True):
        np.testing.assert_array_equal(array, fit(decode(data), 32, 0.9))


def test_unaugmented_training_sees_bit_for_bit_what_serving_sees(photos):
    source = evaluation_photos(split_of(photos), "train", 32, 0.9)
    data = batches(source, augment=None)
    order = ORDER.of_epoch(LABELS, 0)
    seen = np.concatenate([x for x, _ in data])
    np.testing.assert_array_equal(seen, source.array[order].astype(np.float32))


def test_a_turned_phone_photo_trains_as_it_is_served():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    picture.save(turned, "PNG", exif=exif)
    whole = training_photos(split_of([turned.getvalue()]), "train", 100)
    np.testing.assert_array_equal(whole.read(0), np.asarray(picture.rotate(270, expand=True)))


def batches(
    photos, mix="none", first_epoch=0, epochs=1, seed=5, oversample=False, weights=None, **views
):
    views = {"augment": policy("inception", 24, 0.35), "size": 24, "seed": seed} | views
    order = pipeline.Order(2, seed, oversample, first_epoch, epochs)
    data = pipeline.training_batches(
        *(photos, 3, order, None if views["augment"] is None else pipeline.Views(**views)),
        mix=mixing(mix),
        weights=weights,
    )
    return [tuple(map(np.asarray, batch)) for batch in data]


def test_batches_are_a_function_of_seed_and_epoch_alone(photos):
    whole = training_photos(split_of(photos), "train", 24)
    three = batches(whole, epochs=3)
    assert len(three) == 9
    resumed = batches(whole, first_epoch=2, epochs=3)
    for (x, y), (again_x, again_y) in zip(three[6:], resumed, strict=True):
        np.testing.assert_array_equal(x, again_x)
        np.testing.assert_array_equal(y, again_y)
    other = batches(whole, seed=6)
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(three, other, strict=False))


@pytest.mark.slow
@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_blended_batches_come_again_after_a_resume(photos, mix):
    whole = training_photos(split_of(photos), "train", 24)
    three = batches(whole, mix=mix, epochs=3)
    resumed = batches(whole, mix=mix, first_epoch=2, epochs=3)
    for (x, y), (again_x, again_y) in zip(three[6:], resumed, strict=True):
        np.testing.assert_array_equal(x, again_x)
        np.testing.assert_array_equal(y, again_y)
    assert len({y.tobytes() for _, y in three}) == 9


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_a_label_has_the_share_that_its_photo_has(mix):
    import tensorflow as tf

    # Photo i is a flat grey of 10 * i, so its mean says what it is made of.
    greys = 10.0 * np.arange(6, dtype=np.float32)
    photos = np.broadcast_to(greys[:, None, None, None], (6, 32, 32, 3))
    x, y = mixing(mix)(tf.constant(photos), tf.eye(6), tf.constant([3, 4]))
    y = np.asarray(y)
    np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.asarray(x).mean(axis=(1, 2, 3)), y @ greys, atol=1e-3)
    assert ((y > 0).sum(axis=1) <= 2).all()
    assert len(np.unique(y.max(axis=1))) > 1  # each photo has a share of its own
    colours = [len(np.unique(photo)) for photo in np.asarray(x)]
    assert max(colours) == (2 if mix == "cutmix" else 1)


def test_an_epoch_shows_each_photo_once_and_differently_each_time(photos):
    whole = training_photos(split_of(photos), "train", 24)
    order = np.concatenate([ORDER.of_epoch(LABELS, epoch) for epoch in range(2)])
    assert sorted(order[:6]) == sorted(order[6:]) == list(range(6))
    two = np.concatenate([x for x, _ in batches(whole, epochs=2)])
    again = {int(i): two[6:][k] for k, i in enumerate(order[6:])}
    assert all(not np.array_equal(two[k], again[int(i)]) for k, i in enumerate(order[:6]))


def test_augmented_photos_stay_in_range_and_keep_their_labels(photos):
    whole = training_photos(split_of(photos), "train", 24)
    order = ORDER.of_epoch(LABELS, 0)
    data = batches(whole)
    x = np.concatenate([x for x, _ in data])
    assert x.shape == (6, 24, 24, 3)
    assert x.dtype == np.float32
    assert x.min() >= 0
    assert x.max() <= 255
    assert np.concatenate([y for _, y in data]).argmax(axis=1).tolist() == (order % 3).tolist()


def test_only_photos_of_rare_classes_are_augmented(photos):
    whole = training_photos(split_of(photos), "train", 24)
    rare = np.array([True, False, False])
    plain = policy("none", 24, 0.35, crop=0.9)
    data = batches(whole, plain=plain, rare=rare)
    order = ORDER.of_epoch(LABELS, 0)
    seen = np.concatenate([x for x, _ in data])
    same = [
        np.array_equal(x, fit(whole.read(i), 24, 0.9)) for x, i in zip(seen, order, strict=True)
    ]
    assert same == (order % 3 != 0).tolist()


@pytest.mark.parametrize("mix", ["none", "mixup"])
def test_class_weights_follow_the_shares_of_the_labels(photos, mix):
    whole = training_photos(split_of(photos), "train", 24)
    weights = np.array([1, 2, 4], np.float32)
    for _, y, w in batches(whole, mix=mix, weights=weights, epochs=2):
        np.testing.assert_allclose(w, y @ weights, rtol=1e-6)
    features = np.arange(6, dtype=np.float32)[:, None]
    for x, y, w in pipeline.feature_batches(features, whole.labels, 3, ORDER, weights):
        np.testing.assert_array_equal(np.asarray(y).argmax(1), np.asarray(x)[:, 0] % 3)
        np.testing.assert_array_equal(w, weights[np.asarray(y).argmax(1)])


def test_oversampled_batches_come_again_after_a_resume(photos):
    split = Split(tuple("abcdef"), np.array([0, 0, 0, 0, 1, 2], np.int32), photos.__getitem__)
    whole = training_photos(split, "train", 24)
    three = batches(whole, epochs=3, oversample=True)
    resumed = batches(whole, first_epoch=2, epochs=3, oversample=True)
    for (x, y), (again_x, again_y) in zip(three[6:], resumed, strict=True):
        np.testing.assert_array_equal(x, again_x)
        np.testing.assert_array_equal(y, again_y)
    for epoch in range(3):
        labels = np.concatenate([y for _, y in three[3 * epoch : 3 * epoch + 3]])
        assert labels.sum(axis=0).tolist() == [2, 2, 2]


def test_large_photos_are_reduced_but_keep_their_shape():
    large = photo((10, 200, 10), size=(400, 200))
    whole = training_photos(split_of([large]), "train", 40)
    assert whole.read(0).shape == (50, 100, 3)
    # A JPEG is decoded at a part of its size first, which hardly shows.
    full = np.asarray(Image.fromarray(decode(large)).resize((100, 50), Image.Resampling.BILINEAR))
    assert np.abs(whole.read(0).astype(int) - full).mean() < 1


def test_photos_that_do_not_fit_in_memory_are_read_again(photos, monkeypatch):
    kept = training_photos(split_of(photos), "train", 24)
    monkeypatch.setattr(decoding, "IN_MEMORY", 0)
    again = training_photos(split_of(photos), "train", 24)
    fitted = evaluation_photos(split_of(photos), "test", 24, 1.0)
    for i in range(6):
        np.testing.assert_array_equal(kept.read(i), again.read(i))
        np.testing.assert_array_equal(fitted.array[i], fit(decode(photos[i]), 24))


def test_a_container_with_little_memory_keeps_fewer_photos(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(decoding, "LIMITS", (str(limit), str(tmp_path / "of another kernel")))
    limit.write_text("max\n")
    unlimited = decoding.in_memory()
    assert 0 < unlimited <= decoding.IN_MEMORY
    limit.write_text(f"{600 * 2**20}\n")
    assert decoding.in_memory() == min(unlimited, 100 * 2**20)


def test_a_few_unreadable_photos_are_counted_named_and_skipped(tmp_path, caplog):
    folder = write_photo_folder(tmp_path, {"train": 10, "valid": 2})
    (folder / "train/poppy/003.jpg").write_bytes(b"broken")
    split = open_source(f"folder:{folder}", 0).splits["train"]
    with caplog.at_level(logging.INFO, "flowers"):
        photos = evaluation_photos(split, "train", 16, 1.0)
    assert len(photos) == len(photos.array) == 29
    assert "poppy/003.jpg" not in " ".join(photos.names)
    assert "1 of 30 train photos cannot be read" in caplog.text
    assert "003.jpg" in caplog.text
    for name, label, array in zip(photos.names, photos.labels, photos.array, strict=True):
        i = split.names.index(name)
        assert split.labels[i] == label
        np.testing.assert_array_equal(array, fit(decode(split.read(i)), 16))


def test_too_many_unreadable_photos_are_an_error(tmp_path):
    folder = write_photo_folder(tmp_path, {"train": 10, "valid": 2})
    for i in (3, 4):
        (folder / f"train/poppy/00{i}.jpg").write_bytes(b"broken")
    split = open_source(f"folder:{folder}", 0).splits["train"]
    with pytest.raises(SourceError, match=r"2 of 30 train photos.*more than 5%"):
        training_photos(split, "train", 16)
    assert len(training_photos(split, "train", 16, skip_bad=True)) == 28
    ready = evaluation_photos(split, "train", 16, 1.0, skip_bad=True)
    assert len(ready) == len(ready.array) == 28


def test_photos_of_which_none_is_readable_are_an_error():
    split = split_of([b"broken", b""])
    with pytest.raises(SourceError, match=r"2 of 2 test photos.*none is left"):
        evaluation_photos(split, "test", 16, 1.0, skip_bad=True)


def test_outliers_have_labels_that_are_sure_of_nothing(photos):
    known = training_photos(split_of(photos), "train", 24)
    strange = Photos(["x", "y"], np.array([-1, -1], np.int32), known.read)
    both = together(known, strange)
    labels = np.concatenate([labels for _, labels in batches(both)])
    assert len(labels) == 8
    uniform = np.isclose(labels, 1 / 3).all(axis=1)
    assert uniform.sum() == 2
    assert (labels[~uniform].max(axis=1) == 1).all()
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
