"""Augmentation: seeded, in range, and weak enough that a photo can still be recognised."""

import functools
from collections.abc import Callable

import keras
import numpy as np
import pytest

from flowers_model.errors import UserError
from flowers_model.photo import fit
from train.data.augment import BATCH_STEPS, PHOTO_STEPS, mixing, photo_steps, policy, steps

SIZE = 64
SELDOM = ("zoomout", "degrade")  # these leave most photos as they are
OFTEN = [name for name in PHOTO_STEPS if name not in SELDOM]


@pytest.fixture(scope="module")
def flower() -> np.ndarray:
    """Three petals about a dark middle on a lit meadow, uint8 (90, 120, 3)."""
    y, x = np.mgrid[-45:45, -60:60]
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    pixels = np.stack([60 + y / 2, 110 + x / 2, 40 + 0 * x], -1)
    pixels[radius < 24 + 16 * np.cos(3 * angle)] = (210, 70, 160)
    pixels[radius < 9] = (90, 60, 20)
    return pixels.astype(np.uint8)


@functools.cache
def graph(names: str, strength: float, crop: float, precision: str) -> Callable:
    """A policy as training runs it; cached, because TensorFlow takes seconds to build some."""
    import tensorflow as tf

    takes = [tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((2,), tf.int32)]
    return tf.function(policy(names, SIZE, 0.6, strength, crop), input_signature=takes)


def views(
    names: str, photo: np.ndarray, count: int = 12, strength: float = 1.0, crop: float = 1.0
) -> np.ndarray:
    augment = graph(names, strength, crop, keras.config.dtype_policy().name)
    return np.stack([augment(photo, [3, i]) for i in range(count)])


def likeness(view: np.ndarray, photo: np.ndarray) -> float:
    """The correlation of two photos reduced to 8 x 8 pixels, mirrored if that fits better."""

    def places(x):
        return x.reshape(8, SIZE // 8, 8, SIZE // 8, 3).mean(axis=(1, 3))

    view = places(view)
    mirrored = [view, view[::-1], view[:, ::-1], view[::-1, ::-1]]
    return max(np.corrcoef(x.ravel(), places(photo).ravel())[0, 1] for x in mirrored)


@pytest.mark.slow
@pytest.mark.parametrize("name", OFTEN)
def test_a_step_changes_the_photo_and_keeps_it_recognisable(name, flower):
    seen = views(name, flower)
    assert seen.shape == (12, SIZE, SIZE, 3)
    assert seen.dtype == np.float32
    assert seen.min() >= 0
    assert seen.max() <= 255
    original = fit(flower, SIZE).astype(np.float32)
    changes = np.abs(seen - original).mean(axis=(1, 2, 3))
    assert np.median(changes) > 1
    assert len(np.unique(changes.round(3))) > 6
    # Solarization inverts bright parts, so a few views may differ a lot; most do not.
    likenesses = np.array([likeness(view, original) for view in seen])
    assert np.median(likenesses) > 0.5
    assert (likenesses > 0.2).mean() >= 0.75


@pytest.mark.parametrize("name", PHOTO_STEPS)
def test_views_are_a_function_of_the_seed(name, flower):
    one = views(name, flower, 6)
    np.testing.assert_array_equal(one, views(name, flower, 6))
    assert len({view.tobytes() for view in one}) > 3
    anew = policy(name, SIZE, 0.6)  # as when a run is resumed
    for i in (0, 5):
        np.testing.assert_allclose(anew(flower, np.array([3, i], np.int32)), one[i], atol=0.1)


@pytest.mark.parametrize("name", PHOTO_STEPS)
def test_without_strength_a_photo_is_only_fitted(name, flower):
    [view] = views(name, flower, 1, strength=0.0, crop=0.9)
    np.testing.assert_array_equal(view, fit(flower, SIZE, 0.9))


@pytest.mark.parametrize("name", SELDOM)
def test_a_step_changes_some_photos(name, flower):
    seen = views(name, flower, 40)
    original = fit(flower, SIZE).astype(np.float32)
    changed = np.abs(seen - original).mean(axis=(1, 2, 3)) > 0.5
    assert 0.2 < changed.mean() < 0.7
    assert np.median([likeness(view, original) for view in seen]) > 0.5
    assert seen.min() >= 0
    assert seen.max() <= 255


def test_zoomed_out_photos_are_mirrored_beyond_their_edges(flower):
    """No border shows: colours stay those of the photo, and the flower is smaller."""
    flower = np.where(flower == 0, 1, flower)  # black would be a border
    seen = views("zoomout", flower, 40)
    petals = (seen[..., 0] > 180).mean(axis=(1, 2))
    whole = (fit(flower, SIZE)[..., 0] > 180).mean()
    assert seen.min() > 0
    assert petals.min() < 0.8 * whole
    assert len(np.unique(petals.round(4))) > 8


def test_degraded_photos_lose_their_colour_now_and_then(flower):
    grey = np.ptp(views("degrade", flower, 60), axis=-1).max(axis=(1, 2)) < 40
    assert 0 < grey.mean() < 0.3


@pytest.mark.parametrize(
    "name",
    [
        *("light", "geometric", "color"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("randaugment", "augmix")),
    ],
)
def test_strength_scales_the_change(name, flower):
    original = fit(flower, SIZE).astype(np.float32)

    def change(strength):
        seen = views(name, flower, 12, strength=strength)
        # Mirrored photos are as they should be.
        both = [np.abs(seen - x).mean(axis=(1, 2, 3)) for x in (original, original[:, ::-1])]
        return np.minimum(*both).mean()

    assert change(0.1) < 0.5 * change(1.0) < change(1.5)


def test_colours_and_places_change_where_they_should(flower):
    grey = np.repeat(flower[..., :1], 3, axis=2)
    assert np.ptp(views("geometric,light,crop", grey), axis=-1).max() < 1e-3
    flat = np.full((80, 80, 3), (90, 140, 60), np.uint8)
    turned = views("geometric,gridmask,cutout", flat)
    np.testing.assert_allclose(turned, np.broadcast_to(flat[:SIZE, :SIZE], turned.shape), atol=1e-2)


def test_masks_hide_as_much_as_they_say(flower):
    original = fit(flower, SIZE).astype(np.float32)
    for name, low, high in (("cutout", 0.01, 0.26), ("gridmask", 0.05, 0.3)):
        hidden = (np.abs(views(name, flower) - original).max(axis=-1) > 1e-3).mean(axis=(1, 2))
        assert low < hidden.mean() < high
        assert hidden.max() < high + 0.1


def test_mixed_precision_leaves_photos_alone(flower):
    expected = views("randaugment", flower, 6)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        np.testing.assert_array_equal(views("randaugment", flower, 6), expected)
    finally:
        keras.config.set_dtype_policy("float32")


def test_steps_come_in_order_but_a_crop_comes_first(flower):
    assert steps("none") == photo_steps("none") == photo_steps("mixup,cutmix") == []
    assert photo_steps("color,cutmix,inception,cutout") == ["inception", "color", "cutout"]
    assert mixing("inception") is None
    assert not np.array_equal(views("light,color", flower), views("light", flower))


def test_both_ways_to_blend_keep_the_labels_shares():
    import tensorflow as tf

    greys = 10.0 * np.arange(6, dtype=np.float32)
    photos = np.broadcast_to(greys[:, None, None, None], (6, 32, 32, 3))
    x, y = mixing(",".join(BATCH_STEPS))(tf.constant(photos), tf.eye(6), tf.constant([3, 4]))
    np.testing.assert_allclose(np.asarray(y).sum(axis=1), 1, atol=1e-6)
    means = np.asarray(x).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, np.asarray(y) @ greys, atol=1e-3)


def test_a_share_of_the_batches_is_blended():
    import tensorflow as tf

    photos = tf.random.stateless_uniform((4, 8, 8, 3), (1, 2))
    mix = mixing("cutmix", 0.5)
    mixed = [
        not np.array_equal(mix(photos, tf.eye(4), tf.constant([3, i]))[1], np.eye(4))
        for i in range(40)
    ]
    assert 0.25 < np.mean(mixed) < 0.75


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("everything", "has no step 'everything'; give none, or some of inception, crop"),
        ("light,", "has no step ''"),
        ("none,light", "has no step 'none'"),
        ("light,light", "light twice"),
        ("inception,crop", "both crop"),
    ],
)
def test_a_mistaken_list_is_one_clear_line(names, message):
    with pytest.raises(UserError, match=message):
        steps(names)
