"""Class imbalance: class weights in the loss, balanced sampling, focal loss."""

import dataclasses

import keras
import numpy as np
import pytest

from flowers_model.errors import UserError
from train.data.balance import SCHEMES, class_counts, class_weights, even_draws
from train.data.pipeline import Order
from train.experiment import Experiment
from train.loop import stages

# Training photos of the 104 classes of Kaggle's "Petals to the Metal", the 50 000 photos of one
# project's training set.
PETALS = np.fromstring(
    """
    1088 104 80 84 2812 348 72 420 348 336 544 172 368 1052 908 84 220 200 360 104 76 384 192 76
    340 332 84 136 476 436 420 96 92 80 72 144 228 104 76 292 256 384 252 440 72 688 500 1044 1688
    2252 804 420 460 1840 148 232 356 252 144 232 108 116 372 112 220 132 84 3128 1040 376 416 548
    668 1840 500 1224 476 556 344 472 612 404 536 448 124 116 480 584 384 184 424 444 96 556 524
    508 400 164 136 96 124 100 1560 2972""",
    dtype=np.int64,
    sep=" ",
)


@pytest.mark.parametrize("scheme", SCHEMES[1:])
def test_weights_favour_rare_classes_and_average_one_a_photo(scheme):
    weights = class_weights(scheme, PETALS)
    assert weights.dtype == np.float32
    assert (weights @ PETALS) / PETALS.sum() == pytest.approx(1, rel=1e-5)
    assert weights.argmax() == PETALS.argmin()
    assert weights.argmin() == PETALS.argmax()
    np.testing.assert_array_equal(np.argsort(PETALS[:3]), np.argsort(-weights[:3]))


def test_weights_are_what_their_names_say():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat(np.arange(104), PETALS)
    balanced = compute_class_weight("balanced", classes=np.arange(104), y=labels)
    np.testing.assert_allclose(class_weights("balanced", PETALS), balanced, rtol=1e-5)
    ratio = np.sqrt(PETALS.max() / PETALS.min())
    roots = class_weights("inverse-sqrt", PETALS)
    assert roots.max() / roots.min() == pytest.approx(ratio, rel=1e-5)
    numbers = class_weights("effective-number", PETALS)
    expected = (1 - 0.999**3128) / (1 - 0.999**72)  # Cui et al., equation 2
    assert numbers.max() / numbers.min() == pytest.approx(expected, rel=1e-5)
    assert class_weights("none", PETALS) is None
    for scheme in SCHEMES[1:]:
        np.testing.assert_allclose(class_weights(scheme, np.full(5, 10)), 1, rtol=1e-6)


def test_counts_include_classes_without_photos():
    assert class_counts(np.array([0, 2, 2]), 4).tolist() == [1, 0, 2, 0]


def test_draws_are_even_and_leave_no_photo_out():
    labels = np.repeat([0, 1, 2], [30, 6, 2])
    drawn = even_draws(labels, 5, 0, 90)
    assert class_counts(labels[drawn], 3).tolist() == [30, 30, 30]
    times = np.bincount(drawn, minlength=38)
    assert set(times[:30]) == {1}
    assert set(times[30:36]) == {5}
    assert set(times[36:]) == {15}
    np.testing.assert_array_equal(drawn[40:], even_draws(labels, 5, 40, 90))
    assert not np.array_equal(drawn, even_draws(labels, 6, 0, 90))


def test_outliers_are_a_tenth_of_even_draws():
    labels = np.concatenate([np.repeat(np.arange(18), 5), np.full(7, -1)])
    drawn = even_draws(labels, 5, 0, 200)
    assert (labels[drawn] == -1).sum() == 20
    assert class_counts(labels[drawn], 18).tolist() == [10] * 18
    times = np.bincount(drawn, minlength=97)[90:]
    assert sorted(set(times)) == [2, 3]  # 20 draws of 7 photos
    np.testing.assert_array_equal(drawn[40:], even_draws(labels, 5, 40, 200))


def test_an_even_epoch_is_as_long_and_a_function_of_seed_and_epoch():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [30, 6, 2]))
    even = Order(4, 5, oversample=True)
    for epoch in range(3):
        order = even.of_epoch(labels, epoch)
        assert len(order) == len(Order(4, 5).of_epoch(labels, epoch)) == 36
        np.testing.assert_array_equal(order, even.of_epoch(labels, epoch))
        assert class_counts(labels[order], 3).tolist() == [12, 12, 12]
        assert not np.array_equal(labels[order], np.tile([0, 1, 2], 12))


def test_focal_loss_without_gamma_is_crossentropy_and_with_it_less():
    logits = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    labels = 0.8 * np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4, 0, 1, 2]] + 0.04  # soft ones

    def loss(**settings):
        experiment = dataclasses.replace(Experiment(), **settings)
        return float(keras.ops.convert_to_numpy(stages._loss(experiment)(labels, logits)))

    plain = loss()
    assert loss(loss="focal", focal_gamma=0.0) == pytest.approx(plain, rel=1e-4)
    assert loss(loss="focal", focal_gamma=3.0) < loss(loss="focal") < plain


def test_evening_out_twice_is_refused():
    with pytest.raises(UserError, match="choose one"):
        dataclasses.replace(Experiment(), oversample=True, class_weights="balanced")
