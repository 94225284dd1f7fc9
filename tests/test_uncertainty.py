"""Uncertainty: refusal, label sets, and how they are fitted."""

import numpy as np
import pytest
from helpers import COLOURS, photo, write_tiny_bundle

from flowers_model import FlowerClassifier, bundle
from flowers_model.bundle import BundleError
from flowers_model.calibration import conformal_quantile, fit_temperature
from flowers_model.classifier import softmax
from flowers_model.similar import Similar
from flowers_model.uncertainty import (
    ClassMeanCosine,
    Energy,
    Probability,
    class_means,
    label_sets,
    odds,
)
from train.data.outliers import ood_pictures
from train.evaluation.calibration import Measured, Outputs, calibrate
from train.evaluation.metrics import ood_auroc


def clusters(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings `(N, 8)` of four classes, and their labels."""
    random = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(0, 4, (4, 8))
    labels = random.integers(0, 4, count)
    return (means[labels] + random.normal(0, 1, (count, 8))).astype(np.float32), labels


def outputs(embeddings: np.ndarray) -> Outputs:
    means = np.random.default_rng(99).normal(0, 4, (4, 8))
    return Outputs((embeddings @ means.T).astype(np.float32) / 8, embeddings)


def test_scores_of_a_worked_example():
    means = class_means(np.array([[2, 0], [4, 0], [0, 9]], np.float32), np.array([0, 0, 3]))
    assert means.tolist() == [[3, 0], [0, 9]]
    cosines = ClassMeanCosine(means).score(None, np.array([[5, 0], [3, 4], [-1, 0]]), 1.0)
    assert cosines == pytest.approx([-1, -0.8, 0])
    logits = np.log([[0.5, 0.3, 0.2]])
    assert Probability().score(logits, None, 1.0) == pytest.approx([-0.5])
    assert Energy().score(logits + 2, None, 1.0) == pytest.approx([-2])
    assert Energy().score(logits * 2 + 2, None, 2.0) == pytest.approx([-2])
    # With a temperature per photo, each photo gets the same as it would alone.
    both = Energy().score(np.concatenate([logits, logits * 2]) + 2, None, np.array([1.0, 2.0]))
    assert both == pytest.approx([-2, -2])


# Reference values from when the scores were strings: three photos with each score.
BEFORE = {
    "probability": (-0.9, -0.4, [0.5382063635469014, 1.093756108059289, 0.6619050133226569]),
    "energy": (-3.0, -1.0, [0.10847899177960318, 0.4651994421959338, -1.2292226732184912]),
    "distance": (-0.98, -0.7, [-0.032681483664220454, 1.4593970312959574, -0.05933383824425129]),
}


@pytest.mark.parametrize("name", BEFORE)
def test_a_bundle_from_before_gives_the_same_answers(folder, name):
    center, threshold, expected = BEFORE[name]
    set_calibration(
        folder,
        temperature=1.7,
        refusal=refusal(score=name, center=center, threshold=threshold),
        label_sets=bundle.LabelSets(coverage=0.9, limit=0.6),
    )
    means = np.array([[2, 0.1], [0.2, 3], [1, -1]], np.float32)
    np.save(folder / "refusal.npy", means)
    classifier = FlowerClassifier.from_pretrained(folder)
    logits = np.array([[2, 0.5, -1], [0.1, 0.2, 0.3], [-3, 4, 4.5]], np.float32)
    embeddings = np.array([[1, 0.2], [-0.5, 0.4], [0.3, 2]], np.float32)
    answers = classifier.judge(logits, embeddings)
    assert answers.refusal_scores == pytest.approx(expected, rel=1e-12)
    assert answers.label_sets.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert [one.refused for one in classifier.predictions(answers, 1)] == [x > 1 for x in expected]


def test_a_coverage_is_told_in_whole_numbers_and_never_rounded_up():
    told = {0.9: (9, 10), 0.95: (19, 20), 0.99: (99, 100), 0.5: (5, 10), 0.9995: (999, 1000)}
    assert {coverage: odds(coverage) for coverage in told} == told
    assert odds(1 - 1e-9) == (10, 10)


def test_label_sets_of_a_worked_example():
    probabilities = np.array([[0.1, 0.6, 0.3], [0.05, 0.05, 0.9]])
    assert label_sets(probabilities, 0.0).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert label_sets(probabilities, 0.65).tolist() == [[0, 1, 1], [0, 0, 1]]
    assert label_sets(probabilities, 1.0).all()


def test_the_conformal_quantile_is_the_finite_sample_one():
    assert conformal_quantile(np.arange(1, 10) / 10, 0.9) == 0.9
    assert conformal_quantile(np.arange(1, 9) / 10, 0.9) == 1.0  # too few photos to tell
    assert conformal_quantile(np.arange(1, 100) / 100, 0.9) == 0.9


def test_what_refuses_keeps_its_promise_on_further_flowers():
    train, train_labels = clusters(400, 1)
    valid, labels = clusters(3000, 2)
    # Far away in all directions: the network is confident about each of them.
    strange = np.random.default_rng(5).normal(0, 30, (200, 8)).astype(np.float32)
    calibration, means = calibrate(
        Measured(outputs(valid), labels, outputs(train), train_labels),
        {"far": outputs(strange)},
        seed=0,
    )
    assert calibration.fitted_on == "valid"
    assert calibration.refusal.score == "distance"
    assert calibration.refusal.auroc["distance"] > 0.95 > calibration.refusal.auroc["energy"]
    test, _ = clusters(3000, 3)
    raw = ClassMeanCosine(means).score(None, test, 1.0)
    assert (raw <= calibration.refusal.threshold).mean() == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("sureness", [1.0, 4.0])
def test_label_sets_keep_their_promise_on_further_photos(sureness):
    random = np.random.default_rng(0)

    def photos(count: int) -> tuple[Outputs, np.ndarray]:
        honest = random.normal(0, 2, (count, 6))
        labels = np.array([random.choice(6, p=p) for p in softmax(honest)])
        return Outputs(honest * sureness, random.normal(0, 1, (count, 4))), labels

    (train, train_labels), (valid, labels), (test, test_labels) = (photos(3000) for _ in range(3))
    strange = {"any": Outputs(valid.logits[:50], valid.embeddings[:50])}
    calibration, _ = calibrate(Measured(valid, labels, train, train_labels), strange, seed=0)
    assert calibration.temperature == pytest.approx(sureness, rel=0.1)
    probabilities = softmax(test.logits, calibration.temperature)
    sets = label_sets(probabilities, calibration.label_sets.limit)
    assert sets[np.arange(len(sets)), test_labels].mean() == pytest.approx(0.9, abs=0.025)
    assert sets.any(axis=1).all()
    assert 1.5 < sets.sum(axis=1).mean() < 5


def test_further_photos_count_as_the_earlier_network_answers_them():
    train, train_labels = clusters(400, 1)
    valid, labels = clusters(20, 2)
    further, further_labels = clusters(3000, 4)
    # The earlier network's embeddings point in other directions; only its own class means fit them.
    logits = outputs(further).logits * 3
    turned = Outputs(outputs(train).logits, train[:, ::-1])
    earlier = Measured(Outputs(logits, further[:, ::-1]), further_labels, turned, train_labels)
    strange = np.random.default_rng(5).normal(0, 30, (200, 8)).astype(np.float32)
    calibration, own_means = calibrate(
        Measured(outputs(valid), labels, outputs(train), train_labels),
        {"far": outputs(strange)},
        seed=0,
        earlier=earlier,
    )
    assert "3020 validation photos" in calibration.method
    assert "for 3000 of them, which it was trained on" in calibration.method
    together = np.concatenate([outputs(valid).logits, logits])
    fitted = fit_temperature(together, np.concatenate([labels, further_labels]))
    assert calibration.temperature == pytest.approx(fitted)
    assert calibration.refusal.score == "distance"
    test, _ = clusters(3000, 3)
    raw = ClassMeanCosine(own_means).score(None, test, 1.0)
    assert (raw <= calibration.refusal.threshold).mean() == pytest.approx(0.95, abs=0.02)


def test_the_area_is_the_mean_over_kinds():
    flowers = np.array([0.0, 1.0])
    assert ood_auroc(flowers, [np.array([2.0]), np.array([-1.0, -1.0])]) == 0.5


@pytest.mark.usefixtures("quick_bundles")
def test_other_things_come_in_two_groups_without_a_common_kind():
    flowers = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    choose, measure = ood_pictures("choose", flowers), ood_pictures("measure")
    assert not choose.keys() & measure.keys()
    assert {"noise", "shapes", "scrambled flowers", "city"} <= choose.keys()
    assert {"textures", "text", "person"} <= measure.keys()
    for picture in (picture for kind in (choose | measure).values() for picture in kind):
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
    again = ood_pictures("measure")
    assert all(np.array_equal(a, b) for a, b in zip(measure["text"], again["text"], strict=True))
    tiles = choose["scrambled flowers"][0]  # the same pixels at other places
    assert any(np.array_equal(np.sort(tiles, axis=None), np.sort(f, axis=None)) for f in flowers)


@pytest.fixture
def folder(tmp_path):
    return write_tiny_bundle(tmp_path / "bundle")


def set_calibration(folder, **values) -> None:
    manifest = bundle.read_manifest(folder)
    for name, value in values.items():
        setattr(manifest.calibration, name, value)
    bundle.write_json(folder / bundle.MANIFEST, manifest)


def refusal(**values) -> bundle.Refusal:
    return bundle.Refusal(**{"center": 0, "keeps": 0.95, "auroc": {}} | values)


@pytest.mark.parametrize("engine", ["onnx", "keras"])
def test_every_engine_refuses_by_the_manifest(folder, engine):
    classifier = FlowerClassifier.from_pretrained(folder, engine=engine)
    inputs = classifier.prepare(photo(COLOURS["poppy"]))[None]
    embedding = classifier.answer(inputs).embeddings.astype(np.float32)
    means = np.ones_like(embedding)
    np.save(folder / "refusal.npy", means)
    [raw] = ClassMeanCosine(means).score(None, embedding, 1.0)
    for threshold, refused in ((raw - 0.01, True), (raw + 0.01, False)):
        set_calibration(
            folder,
            refusal=refusal(score="distance", center=-2, threshold=threshold),
            label_sets=bundle.LabelSets(coverage=0.9, limit=1.0),
        )
        classifier = FlowerClassifier.from_pretrained(folder, engine=engine)
        [prediction] = classifier.classify(photo(COLOURS["poppy"]), top=1)
        assert prediction.refused is refused
        assert prediction.refusal_score == pytest.approx((raw + 2) / (threshold + 2))
        assert sorted(prediction.label_set) == sorted(COLOURS)


def test_a_bundle_from_before_refuses_nothing(folder):
    [prediction] = FlowerClassifier.from_pretrained(folder).classify(photo((1, 2, 3)))
    assert prediction.refused is False
    assert prediction.refusal_score is None
    assert prediction.label_set is None


def test_a_refusal_without_its_reference_is_no_whole_bundle(folder):
    set_calibration(folder, refusal=refusal(score="distance", threshold=1))
    with pytest.raises(BundleError, match=r"refusal\.npy"):
        FlowerClassifier.from_pretrained(folder)
    np.save(folder / "refusal.npy", np.array([[object()]]))
    with pytest.raises(BundleError, match=r"refusal\.npy"):
        FlowerClassifier.from_pretrained(folder)


def test_the_gallerys_own_photos_are_most_like_themselves(folder):
    classifier = FlowerClassifier.from_pretrained(folder)
    assert Similar(folder).nearest(np.ones(8, np.float32), 2) == []
    photos = [folder / "gallery" / one.file for one in bundle.read_gallery(folder).photos]
    embeddings = classifier.answer(np.stack([classifier.prepare(p) for p in photos])).embeddings
    np.save(folder / "gallery/embeddings.npy", embeddings.astype(np.float16))
    similar = Similar(folder)
    for i, embedding in enumerate(embeddings):
        assert similar.nearest(embedding, 2)[0] == i
    similar.photos = similar.photos[:1]
    assert similar.nearest(embeddings[0], 2) == []  # of one photo, none is the most similar
    np.save(folder / "gallery/embeddings.npy", embeddings[:2])
    with pytest.raises(BundleError, match="one row per photo"):
        Similar(folder)
    np.save(folder / "gallery/embeddings.npy", np.array([{}] * 3))
    with pytest.raises(BundleError, match="not a plain array"):
        Similar(folder)


def test_every_source_keeps_its_flowers():
    train, train_labels = clusters(400, 1)
    near, near_labels = clusters(900, 2)
    far, far_labels = clusters(100, 3)
    far = far + np.random.default_rng(6).normal(0, 1.5, far.shape).astype(np.float32)
    valid, labels = np.concatenate([near, far]), np.concatenate([near_labels, far_labels])
    strange = np.random.default_rng(5).normal(0, 30, (200, 8)).astype(np.float32)
    own = Measured(outputs(valid), labels, outputs(train), train_labels)
    settings = own, {"far": outputs(strange)}
    together, _ = calibrate(*settings, seed=0)
    origins = ["near"] * 900 + ["far"] * 100
    apart, means = calibrate(*settings, seed=0, origins=origins)
    assert apart.refusal.score == together.refusal.score == "distance"
    raw = ClassMeanCosine(means).score(None, far, 1.0)
    assert (raw <= together.refusal.threshold).mean() < 0.9
    assert (raw <= apart.refusal.threshold).mean() == pytest.approx(0.95, abs=0.01)
    assert "900 of near, 100 of far" in apart.method
    # In the temperature, too, the harder source weighs more than its share of the photos.
    assert apart.temperature > together.temperature
