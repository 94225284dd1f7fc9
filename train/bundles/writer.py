"""Turn a trained network into a bundle: export, check, calibrate, evaluate and describe it."""

from __future__ import annotations

import collections
import logging
import pathlib
import shutil
from collections.abc import Sequence

import keras
import numpy as np

from flowers_model import bundle
from flowers_model.classifier import FlowerClassifier, softmax
from flowers_model.engine import Engine, open_engine
from flowers_model.export import write_onnx
from flowers_model.files import replacing
from flowers_model.names import display, scientific
from flowers_model.photo import decode, fit
from flowers_model.statistics import Statistics, measure_classes, write_statistics
from flowers_model.storage import round_kernels
from train.bundles.card import write_card
from train.bundles.gallery import write_gallery
from train.bundles.provenance import provenance
from train.data.decoding import Photos
from train.data.outliers import ood_pictures, outliers, pictures
from train.devices.precision import full_float32
from train.evaluation.calibration import Measured, Outputs, calibrate
from train.evaluation.metrics import Evaluation, measure
from train.experiment import Experiment
from train.loop.finishing import step
from train.loop.history import write_history_csv
from train.loop.network import build_network
from train.loop.training import Trained
from train.reports import report
from train.reports.figures import history_figure
from train.sources import Split

log = logging.getLogger("flowers")

ONNX_TOLERANCE = 1e-3  # in probability
CHECKED_PHOTOS = 64  # held-out photos on which the ONNX network is compared with Keras's


class ExportError(Exception):
    """The ONNX network does not give the results of the trained network."""


def write_bundle(
    folder: pathlib.Path,
    trained: Trained,
    photos: dict[str, Photos],
    *,
    preset: str,
    command: str,
    splits: bundle.Splits | None = None,
) -> bundle.Manifest:
    """Write the bundle of a trained network, atomically.

    Args:
        folder: the folder of the bundle; an older bundle there is replaced.
        photos: decoded evaluation photos of train, valid and, if it exists, test.
        preset, command: how the run was started, for the manifest.
        splits: the splits to record in the bundle; None to record none.

    Raises:
        ExportError: if the ONNX network differs by more than 1e-3 in probability.
    """
    network, experiment, source = trained.network, trained.experiment, trained.source
    history = trained.history
    step("saving the network")
    strange = outliers(experiment.outliers)
    with replacing(folder) as room:
        stock = _in_float32(network, experiment, len(source.class_names))
        if experiment.storage == "float16":
            round_kernels(stock)
        bundle.save_network(stock, room)
        step("the export to ONNX")
        write_onnx(room)
        engine = open_engine(room)
        step("the check of the ONNX network")
        held_out = bundle.held_out(photos)
        manifest = bundle.Manifest(
            class_names=list(source.class_names),
            scientific_names=scientific(source.class_names),
            display_names=display(source.class_names),
            input=bundle.Input(size=experiment.image_size, crop=experiment.crop),
            calibration=bundle.Calibration(),
            metrics={},
            onnx_difference=_onnx_difference(stock, engine, photos[held_out]),
            provenance=provenance(
                experiment,
                source,
                history,
                network,
                preset,
                command,
                dict(collections.Counter(strange["train"].origins)),
            ),
        )
        step("the gallery")
        write_gallery(room, source, held_out, experiment)
        if splits is not None:
            bundle.write_json(room / bundle.SPLITS, splits)
        step("the history")
        write_history_csv(history, room / "report/history.csv")
        history_figure(history, room / "report/history.png")
        manifest = _calibrate_and_measure(room, manifest, engine, photos, strange)
    return manifest


def recalibrate(
    bundle_folder: pathlib.Path,
    folder: pathlib.Path,
    photos: dict[str, Photos],
    strange: dict[str, Split],
    earlier: Measured | None = None,
) -> bundle.Manifest:
    """Copy a bundle, and calibrate and evaluate the copy again, atomically.

    Args:
        bundle_folder: the bundle, which does not change.
        folder: the folder of the copy; an older bundle there is replaced.
        photos: as for `write_bundle`, with labels in the order of the bundle's classes.
        strange: out-of-distribution photos, split by `train.data.outliers.outliers`.
        earlier: as for `train.evaluation.calibration.calibrate`.
    """
    manifest = bundle.check(bundle_folder)
    with replacing(folder) as room:
        shutil.copytree(bundle_folder, room)
        (room / bundle.REFUSAL_FILE).unlink(missing_ok=True)
        return _calibrate_and_measure(room, manifest, open_engine(room), photos, strange, earlier)


def _calibrate_and_measure(
    room: pathlib.Path,
    manifest: bundle.Manifest,
    engine: Engine,
    photos: dict[str, Photos],
    strange: dict[str, Split],
    earlier: Measured | None = None,
) -> bundle.Manifest:
    """Write everything in a bundle that follows from its network, gallery and history."""
    given = manifest.input

    def run(those: Sequence[np.ndarray]) -> Outputs:
        inputs = np.stack([fit(picture, given.size, given.crop) for picture in those])
        return Outputs(*engine.run(inputs, ("logits", "embedding")))

    step("measuring")
    log.info("measuring %s", ", ".join(photos))
    outputs = {
        name: Outputs(*engine.run(split.array, ("logits", "embedding")))
        for name, split in photos.items()
    }
    step("calibration")
    chosen_by = ood_pictures("choose", photos["valid"].array) | pictures(strange["choose"])
    strangers = {kind: run(those) for kind, those in chosen_by.items()}
    manifest = _calibrated(room, manifest, photos, outputs, strangers, earlier)

    step("measuring")
    classifier = FlowerClassifier(room, manifest, engine)
    scores = {
        kind: classifier.judge(*run(those)).refusal_scores
        for kind, those in (ood_pictures("measure") | pictures(strange["measure"])).items()
    }
    evaluations, by_source = _evaluated(classifier, photos, outputs, scores)
    manifest = manifest.model_copy(
        update={
            "metrics": {name: one.metrics for name, one in evaluations.items()},
            "by_source": by_source,
        }
    )
    bundle.write_json(room / bundle.MANIFEST, manifest)
    shown = [decode(room / "gallery" / one.file) for one in bundle.read_gallery(room).photos]
    if shown:
        with replacing(room / "gallery/embeddings.npy") as temporary:
            np.save(temporary, run(shown).embeddings.astype(np.float16))
    step("the report")
    counts = np.bincount(photos["train"].labels, minlength=len(manifest.class_names))
    title = f"{manifest.provenance.preset} ({manifest.provenance.backbone})"
    report.write_report(
        *(room / "report", title, manifest, evaluations, counts, scores),
        # Without photos in the gallery, there should be none here either.
        with_photos=bool(shown),
    )
    step("the model card")
    write_card(room, manifest)
    step("the last check")
    manifest = bundle.check(room)
    step("moving the bundle to its place")
    return manifest


def _calibrated(
    room: pathlib.Path,
    manifest: bundle.Manifest,
    photos: dict[str, Photos],
    outputs: dict[str, Outputs],
    strangers: dict[str, Outputs],
    earlier: Measured | None,
) -> bundle.Manifest:
    """The manifest with a new calibration; writes the files that belong to it."""
    train, valid = photos["train"], photos["valid"]
    calibration, reference = calibrate(
        Measured(outputs["valid"], valid.labels, outputs["train"], train.labels),
        strangers,
        manifest.provenance.seed,
        earlier,
        valid.origins,
    )
    if reference is not None:
        with replacing(room / bundle.REFUSAL_FILE) as temporary:
            np.save(temporary, reference)
    count = len(manifest.class_names)
    # A class without photos has no mean; then a copied bundle keeps its statistics.
    if len(np.unique(train.labels)) == count:
        write_statistics(room, _statistics(outputs, photos, strangers, count))
    return manifest.model_copy(update={"calibration": calibration})


def _evaluated(
    classifier: FlowerClassifier,
    photos: dict[str, Photos],
    outputs: dict[str, Outputs],
    scores: dict[str, np.ndarray],
) -> tuple[dict[str, Evaluation], dict[str, bundle.Metrics]]:
    """The evaluation of each split, and the metrics of each source of the validation photos."""
    evaluations, by_source = {}, {}
    for name, split in photos.items():
        answers = classifier.judge(*outputs[name])
        metrics = measure(answers, split.labels, scores)
        evaluations[name] = Evaluation(split.names, split.labels, answers, split.read, metrics)
    held_back = photos["valid"]
    for origin in dict.fromkeys(held_back.origins):
        rows = np.flatnonzero(np.array(held_back.origins) == origin)
        answers = evaluations["valid"].answers.subset(rows)
        by_source[origin] = measure(answers, held_back.labels[rows], scores)
    return evaluations, by_source


def _statistics(
    outputs: dict[str, Outputs],
    photos: dict[str, Photos],
    strangers: dict[str, Outputs],
    class_count: int,
) -> Statistics:
    """What teaching needs to know about these photos; see `flowers_model.statistics`."""
    train, valid = photos["train"], photos["valid"]
    origins = valid.origins or ("",) * len(valid.labels)
    number = {name: i for i, name in enumerate(dict.fromkeys(origins))}
    embeddings = [those.embeddings for those in strangers.values()]
    depth = outputs["train"].embeddings.shape[1]
    return Statistics(
        *measure_classes(outputs["train"].embeddings, train.labels, class_count),
        held_out=outputs["valid"].embeddings,
        held_out_labels=valid.labels,
        held_out_sources=np.array([number[name] for name in origins]),
        strangers=np.concatenate(embeddings),
        stranger_kinds=np.repeat(np.arange(len(embeddings)), [*map(len, embeddings)]),
        taught=np.zeros((0, depth), np.float32),
        taught_labels=np.zeros(0, int),
    )


def _in_float32(network: keras.Model, experiment: Experiment, class_count: int) -> keras.Model:
    """The network rebuilt in float32 with nothing frozen, as it is published."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        stock = build_network(experiment, class_count, weights=None)
    finally:
        keras.config.set_dtype_policy(policy)
    stock.set_weights(network.get_weights())
    return stock


def _onnx_difference(network: keras.Model, engine: Engine, photos: Photos) -> float:
    inputs = photos.array[:: max(len(photos) // CHECKED_PHOTOS, 1)][:CHECKED_PHOTOS]
    [onnx] = engine.run(inputs)
    with full_float32(network):
        trained = network.predict(inputs.astype(np.float32), batch_size=16, verbose=0)
    difference = float(np.abs(softmax(onnx) - softmax(trained)).max())
    if not difference <= ONNX_TOLERANCE:
        raise ExportError(
            f"model.onnx differs from the trained network by {difference:.2g} in probability, "
            f"more than {ONNX_TOLERANCE:g}"
        )
    return difference
