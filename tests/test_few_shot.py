"""Columns for new classes: how they are fitted, and what the other classes pay."""

import dataclasses

import numpy as np
import pytest

from flowers_model import few_shot
from flowers_model.grow import Head
from flowers_model.statistics import Statistics
from flowers_model.uncertainty import softmax

DEPTH, OLD = 8, 4
RANDOM = np.random.default_rng(0)
MEANS = 2 * np.eye(DEPTH)[:OLD]


def around(mean, count, spread=0.5):
    return mean + spread * RANDOM.standard_normal((count, DEPTH))


@pytest.fixture(scope="module")
def statistics():
    labels = np.repeat(np.arange(OLD), 100)
    return Statistics(
        means=MEANS.astype(np.float32),
        counts=np.full(OLD, 100),
        covariance=0.25 * np.eye(DEPTH, dtype=np.float32),
        held_out=np.vstack([around(mean, 100) for mean in MEANS]).astype(np.float32),
        held_out_labels=labels,
        held_out_sources=np.zeros(len(labels), int),
        strangers=around(np.full(DEPTH, -1.0), 10).astype(np.float32),
        stranger_kinds=np.zeros(10, int),
        taught=np.zeros((0, DEPTH), np.float32),
        taught_labels=np.zeros(0, int),
    )


@pytest.fixture(scope="module")
def head():
    # Linear discriminants of classes with this covariance.
    return Head((MEANS.T / 0.25).astype(np.float32), -np.sum(MEANS**2, axis=1) / 0.5)


def right(logits, labels):
    return logits.argmax(axis=1) == labels


def learn(head, statistics, embeddings, labels):
    return few_shot.learn(head, statistics, 1.0, embeddings, np.asarray(labels))


@pytest.mark.parametrize("lean", [0.3, 0.8], ids=["apart", "close to an old class"])
def test_old_classes_lose_one_percent_of_probability_at_most(statistics, head, lean):
    mean = lean * MEANS[0] + (1 - lean) * 2 * np.eye(DEPTH)[OLD]
    embeddings = around(mean, 10)
    learned = learn(head, statistics, embeddings, [OLD] * 10)
    photos = np.arange(len(statistics.held_out)), statistics.held_out_labels
    before, after = (
        softmax(logits, few_shot.SOFTENED)[photos].mean()
        for logits in (statistics.held_out @ head.kernel + head.bias, learned.held_out)
    )
    assert before - few_shot.COST <= after < before
    # Few photos that took no part in it become wrong.
    labels = np.repeat(np.arange(OLD), 1000)
    photos = np.vstack([around(each, 1000) for each in MEANS])
    before = right(photos @ head.kernel + head.bias, labels)
    after = right(photos @ learned.head.kernel + learned.head.bias, labels)
    assert (before & ~after).mean() < 0.015
    # Nothing is lost to caution where there is room for the new class.
    others = around(mean, 500) @ learned.head.kernel + learned.head.bias
    assert right(others, OLD).mean() > (0.85 if lean < 0.5 else 0.02)


@pytest.mark.parametrize("kind", ["held_out", "taught", "strangers"])
def test_answers_come_from_heads_that_have_not_seen_the_photo(statistics, head, kind):
    embeddings = np.vstack([around(2 * np.eye(DEPTH)[k], 4) for k in (OLD, OLD + 1)])
    labels = np.repeat([OLD, OLD + 1], 4)

    def lead(step):
        """By how much the first new class leads the second for a photo that is moved."""
        photos = {"taught": embeddings.copy()}
        photos |= {name: getattr(statistics, name).copy() for name in ("held_out", "strangers")}
        photos[kind][2] += step
        taught = photos.pop("taught")
        past = dataclasses.replace(statistics, **photos)
        logits = getattr(learn(head, past, taught, labels), kind)[2]
        return logits[OLD] - logits[OLD + 1]

    # A head that does not know the photo answers it linearly.
    step = 2 * (MEANS[1] - 2 * np.eye(DEPTH)[OLD])
    assert lead(step) + lead(-step) == pytest.approx(2 * lead(0), rel=0.01, abs=0.05)


def test_a_single_photo_has_no_held_out_answer(statistics, head):
    embeddings = around(2 * np.eye(DEPTH)[OLD], 1)
    learned = learn(head, statistics, embeddings, [OLD])
    assert np.isnan(learned.taught).all()
    assert np.isfinite(learned.held_out).all()


def test_improving_a_class_costs_it_nothing_where_it_was_confused_before(statistics, head):
    # Two old classes overlap: each takes photos of the other.
    means = MEANS.copy()
    means[1] = 0.8 * MEANS[0] + 0.2 * MEANS[1]
    photos = np.vstack([around(mean, 100) for mean in means]).astype(np.float32)
    past = dataclasses.replace(statistics, means=means.astype(np.float32), held_out=photos)
    before = Head((means.T / 0.25).astype(np.float32), -np.sum(means**2, axis=1) / 0.5)
    learned = learn(before, past, around(means[0], 20), [0] * 20).head
    others = around(means[0], 1000)
    shares = [right(others @ one.kernel + one.bias, 0).mean() for one in (before, learned)]
    assert shares[1] > shares[0] - 0.05


def test_all_classes_can_be_improved_at_once(statistics, head):
    labels = np.repeat(np.arange(OLD), 3)
    embeddings = np.vstack([around(mean, 3) for mean in MEANS])
    learned = learn(head, statistics, embeddings, labels)
    assert right(learned.held_out, statistics.held_out_labels).mean() > 0.95
