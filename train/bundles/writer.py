"""A trained network becomes a bundle: exported, checked, calibrated, measured, described."""

from __future__ import annotations

import collections
import datetime
import importlib.metadata
import io
import logging
import math
import pathlib
import platform
import shutil
import subprocess
from collections.abc import Container, Sequence

import huggingface_hub
import keras
import numpy as np
from PIL import Image

from flowers_model import bundle
from flowers_model import network as networks
from flowers_model.classifier import FlowerClassifier, softmax
from flowers_model.engine import Engine, open_engine
from flowers_model.export import write_onnx
from flowers_model.files import replacing
from flowers_model.names import display, scientific
from flowers_model.photo import PhotoError, decode, fit
from flowers_model.storage import round_kernels
from flowers_model.uncertainty import REFERENCE
from train.calibrate import HeldOut, Outputs, calibrate
from train.data.outliers import others, outliers, pictures
from train.data.pipeline import Photos
from train.devices.precision import full_float32
from train.evaluate import Evaluation, measure
from train.experiment import Experiment
from train.loop import stages
from train.loop.finishing import step
from train.reports import report
from train.sources import Source, Split

log = logging.getLogger("flowers")

ONNX_TOLERANCE = 1e-3  # in probability
CHECKED_PHOTOS = 64  # held-out photos on which the ONNX network is compared with Keras's
GALLERY_SIDE = 384  # pixels, the longer side of a gallery photo


class ExportError(Exception):
    """The ONNX network does not compute what the trained one does."""


def write_bundle(
    folder: pathlib.Path,
    network: keras.Model,
    experiment: Experiment,
    source: Source,
    photos: dict[str, Photos],
    history: list[stages.Row],
    *,
    preset: str,
    command: str,
    splits: bundle.Splits | None = None,
) -> bundle.Manifest:
    """Write the bundle of a trained network, whole or not at all.

    Args:
        folder: where the bundle goes; an older one there is replaced.
        network: the trained network.
        photos: decoded evaluation photos of train, valid and, where there is one, test.
        history: the rows of `train.loop.stages.train`.
        preset, command: what to say in the manifest.
        splits: which photos are in which split, if that is kept.

    Raises:
        ExportError: where the ONNX network differs by more than 1e-3 in probability.
    """
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
        held_out = _held_out(photos)
        manifest = bundle.Manifest(
            class_names=list(source.class_names),
            scientific_names=scientific(source.class_names),
            display_names=display(source.class_names),
            input=bundle.Input(size=experiment.image_size, crop=experiment.crop),
            calibration=bundle.Calibration(),
            metrics={},
            onnx_difference=_onnx_difference(stock, engine, photos[held_out]),
            provenance=_provenance(
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
        _write_gallery(room, source, held_out, experiment)
        if splits is not None:
            bundle.write_json(room / bundle.SPLITS, splits)
        step("the history")
        stages.write_history_csv(history, room / "report/history.csv")
        report.history_figure(history, room / "report/history.png")
        manifest = _calibrate_and_measure(room, manifest, engine, photos, strange)
    return manifest


def recalibrate(
    bundle_folder: pathlib.Path,
    folder: pathlib.Path,
    photos: dict[str, Photos],
    strange: dict[str, Split],
    earlier: HeldOut | None = None,
) -> bundle.Manifest:
    """Copy a bundle and calibrate and measure the copy anew, whole or not at all.

    Args:
        bundle_folder: the bundle, which stays as it is.
        folder: where the copy goes; an older one there is replaced.
        photos: as `write_bundle` takes them, labels in the order of the bundle's classes.
        strange: as `train.data.outliers.outliers` cuts them.
        earlier: as `train.calibrate.calibrate` takes it.
    """
    manifest = bundle.check(bundle_folder)
    with replacing(folder) as room:
        shutil.copytree(bundle_folder, room)
        (room / REFERENCE).unlink(missing_ok=True)
        return _calibrate_and_measure(room, manifest, open_engine(room), photos, strange, earlier)


def _held_out(splits: Container[str]) -> str:
    return "test" if "test" in splits else "valid"


def _calibrate_and_measure(
    room: pathlib.Path,
    manifest: bundle.Manifest,
    engine: Engine,
    photos: dict[str, Photos],
    strange: dict[str, Split],
    earlier: HeldOut | None = None,
) -> bundle.Manifest:
    """Write all of a bundle that follows from its network, gallery and history."""
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
    chosen_by = others("choose", photos["valid"].array) | pictures(strange["choose"])
    calibration, means = calibrate(
        outputs["valid"],
        photos["valid"].labels,
        outputs["train"],
        photos["train"].labels,
        {kind: run(those) for kind, those in chosen_by.items()},
        manifest.provenance.seed,
        earlier,
        photos["valid"].origins,
    )
    if means is not None:
        with replacing(room / REFERENCE) as temporary:
            np.save(temporary, means)
    manifest = manifest.model_copy(update={"calibration": calibration})

    step("measuring")
    classifier = FlowerClassifier(room, manifest, engine)
    scores = {
        kind: classifier.judge(*run(those)).refusal_scores
        for kind, those in (others("measure") | pictures(strange["measure"])).items()
    }
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
        # Who wants no photo of the data in the gallery wants none here either.
        with_photos=bool(shown),
    )
    step("the model card")
    _write_card(room, manifest)
    step("the last check")
    manifest = bundle.check(room)
    step("moving the bundle to its place")
    return manifest


def _in_float32(network: keras.Model, experiment: Experiment, class_count: int) -> keras.Model:
    """The same network, built anew in float32 with nothing frozen, as it is published."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        stock = build_network(experiment, class_count, weights=None)
    finally:
        keras.config.set_dtype_policy(policy)
    stock.set_weights(network.get_weights())
    return stock


def build_network(experiment: Experiment, class_count: int, weights: str | None) -> keras.Model:
    """The network that an experiment describes, starting from `weights`."""
    return networks.build(
        experiment.backbone,
        class_count,
        experiment.image_size,
        weights=weights,
        alpha=experiment.alpha,
        filters=experiment.filters,
        head_units=experiment.head_units,
        dropout=experiment.dropout,
    )


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


def _provenance(
    experiment: Experiment,
    source: Source,
    history: list[stages.Row],
    network: keras.Model,
    preset: str,
    command: str,
    learned: dict[str, int],
) -> bundle.Provenance:
    packages = ("keras", keras.backend.backend(), "onnxruntime", "numpy", "pillow")
    weights = experiment.weights or "none"
    if weights not in ("imagenet", "none"):
        path = pathlib.Path(weights).absolute()
        weights = f"{path.parent.name}/{path.name}" if path.is_dir() else path.name
    return bundle.Provenance(
        preset=preset,
        command=command,
        seed=experiment.seed,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=round(sum(row["seconds"] for row in history), 1),
        data=source.name,
        credits=source.credits,
        splits={name: len(split) for name, split in source.splits.items()},
        valid_share=experiment.valid_share,
        sources=_by_source(source),
        outliers=learned,
        backbone=experiment.backbone,
        weights=weights,
        parameters=networks.parameter_count(network),
        trainable_parameters=sum(math.prod(one.shape) for one in network.trainable_variables),
        optimizer_bytes=_optimizer_bytes(network),
        backend=keras.backend.backend(),
        versions={"python": platform.python_version()}
        | {name: _version(name) for name in packages},
        git_commit=_git_commit(),
    )


def _by_source(source: Source) -> dict[str, dict[str, int]]:
    """Photos by source and split; {} where there is one source."""
    counts: dict[str, dict[str, int]] = {}
    for split, photos in source.splits.items():
        for name, count in collections.Counter(photos.origins).items():
            counts.setdefault(name, {})[split] = count
    return counts


def _optimizer_bytes(network: keras.Model) -> int | None:
    """What the optimizer keeps, in float32; None where this process did not train the network."""
    optimizer = getattr(network, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return None
    return 4 * sum(math.prod(one.shape) for one in optimizer.variables)


def _version(package: str) -> str:
    names = (package, f"{package}-cpu")  # tensorflow comes under either name
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _git_commit() -> str | None:
    root = pathlib.Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _write_gallery(room: pathlib.Path, source: Source, name: str, experiment: Experiment) -> None:
    """The same number of photos of each class, drawn with the seed from a held-out split."""
    split: Split = source.splits[name]
    random = np.random.default_rng([experiment.seed, 0x6A11E])
    photos, failed = [], None
    for label, class_name in enumerate(source.class_names):
        kept = 0
        for i in random.permutation(np.flatnonzero(split.labels == label)):
            if kept == experiment.gallery:
                break
            try:
                picture = Image.fromarray(decode(split.read(int(i))))
            except (PhotoError, OSError) as error:
                failed = error
                continue  # counted and named when the split was read
            picture.thumbnail((GALLERY_SIDE, GALLERY_SIDE))
            file = f"{label:03}-{kept}.jpg"
            encoded = io.BytesIO()
            picture.save(encoded, "JPEG", quality=88)
            (room / "gallery").mkdir(exist_ok=True)
            (room / "gallery" / file).write_bytes(encoded.getvalue())
            photos.append(bundle.GalleryPhoto(file=file, label=class_name))
            kept += 1
    if failed is not None and not photos:
        raise failed  # the data has gone since
    bundle.write_json(
        room / "gallery/index.json", bundle.Gallery(credits=source.credits, photos=photos)
    )


def _elsewhere(manifest: bundle.Manifest) -> str:
    """What happens to photos of each source, for the card; nothing where there is one."""
    if not manifest.by_source:
        return ""
    rows = "\n".join(
        f"| {name} | {m.top1:.1%} | {m.kept_right:.1%} | {m.refused:.1%} | {m.sure_wrong:.1%} "
        f"| {m.ece:.3f} | {m.count} |"
        for name, m in manifest.by_source.items()
    )
    return f"""## Photos from elsewhere

Photos of each source that were held back from training (validation):

| source | right | right and not refused | refused | over 80 % sure and wrong | ECE | photos |
|---|---|---|---|---|---|---|
{rows}

"""


def _write_card(room: pathlib.Path, manifest: bundle.Manifest) -> None:
    made = manifest.provenance
    data = huggingface_hub.ModelCardData(
        library_name="keras",
        pipeline_tag="image-classification",
        tags=["flowers", "image-classification", "onnx"],
        metrics=["accuracy"],
        model_name=f"flowers-{made.preset}",
        eval_results=[
            huggingface_hub.EvalResult(
                task_type="image-classification",
                dataset_type=made.data,
                dataset_name=made.data,
                dataset_split=split,
                metric_type=kind,
                metric_name=title,
                metric_value=round(value, 4),
            )
            for split, figures in manifest.metrics.items()
            if split != "train"
            for kind, title, value in (
                ("accuracy", "top-1 accuracy", figures.top1),
                ("top_5_accuracy", "top-5 accuracy", figures.top5),
                ("f1", "macro F1", figures.macro_f1),
                ("loss", "negative log-likelihood", figures.loss),
                ("ece", "expected calibration error", figures.ece),
            )
        ],
    )
    rows = "\n".join(
        f"| {split} | {m.top1:.1%} ({m.top1_interval.low:.1%} to {m.top1_interval.high:.1%}) "
        f"| {m.top5:.1%} | {m.macro_f1:.3f} | {m.loss:.3f} | {m.ece:.3f} "
        f"| {m.coverage:.1%}, {m.set_size:.2f} names | {m.refused:.1%} | {m.count} |"
        for split, m in manifest.metrics.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    size = manifest.input.size
    held_out = manifest.metrics[_held_out(manifest.metrics)]
    card = f"""---
{data.to_yaml()}
---
# Flower classifier: {made.preset}

Names {len(manifest.class_names)} kinds of flowers in a photo. {made.backbone} with
{made.parameters:,} parameters, {size} x {size} px, trained with Keras on {made.backend}.

## Results

Measured on `model.onnx`, one view a photo, with calibrated probabilities.

| split | top-1 (95 % interval) | top-5 | macro F1 | NLL | ECE | label set | refused | photos |
|---|---|---|---|---|---|---|---|---|
{rows}

NLL: negative log-likelihood, nats. ECE: expected calibration error. Label set: how many
have the right name in their list of names, and how long it is. All of it, with pictures, is on one
page, `report/index.html`.

![Loss, accuracy and learning rate](report/history.png)

![Confusion matrix](report/confusion.png)

## Use

With this project's code, on ONNX Runtime:

```python
from flowers_model import FlowerClassifier

classifier = FlowerClassifier.from_pretrained("USER/MODEL")
print(classifier.classify("photo.jpg"))
```

With plain Keras, on any backend; the network takes raw RGB, 0..255, and gives logits:

```python
import keras
from huggingface_hub import snapshot_download

network = keras.saving.load_model(snapshot_download("USER/MODEL"))
photo = keras.utils.load_img("photo.jpg", target_size=({size}, {size}), keep_aspect_ratio=True)
logits = network.predict(keras.utils.img_to_array(photo)[None])
```

Class names are in `classifier.json`, in the order of the logits. {manifest.misleading}Probabilities
are `softmax(logits / {manifest.calibration.temperature:.4f})`, a temperature fitted on
{manifest.calibration.fitted_on}.

{_elsewhere(manifest)}## Limits

It knows no flower that is not in its list. A photo whose refusal score is above 1 does not look
like one of them: so are {held_out.others_refused:.0%} of photos of other things, and
{held_out.refused:.1%} of those of its flowers. {manifest.calibration.method}

## Provenance

- Photos: {made.credits}
- Command: `{made.command}`
- Started from: {made.weights} weights; seed {made.seed}; {made.seconds:.0f} s of training
- Photos in {", ".join(f"{name}: {count}" for name, count in made.splits.items())}
- {versions}
"""
    (room / "README.md").write_text(card, "utf-8")
