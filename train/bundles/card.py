"""The model card of a bundle, `README.md`."""

from __future__ import annotations

import pathlib

import huggingface_hub

from flowers_model.bundle import METRICS, Manifest, Metrics
from flowers_model.installation import DISTRIBUTION
from flowers_model.keras_hub_backbones import PREFIX

# The metrics that the Hub shows: its type, our title, the attribute.
MODEL_INDEX = (
    ("accuracy", "top-1 accuracy", "top1"),
    ("top_5_accuracy", "top-5 accuracy", "top5"),
    ("f1", "macro F1", "macro_f1"),
    ("loss", "negative log-likelihood", "loss"),
    ("ece", "expected calibration error", "ece"),
)
BY_SPLIT = (
    *("top1", "top5", "macro_f1", "nll", "ece", "ece_by_chance"),
    *("coverage", "set_size", "refused"),
)
BY_SOURCE = ("top1", "kept_right", "refused", "sure_wrong", "ece", "ece_by_chance")

# `flowers_model.hub.publish` replaces USER/MODEL by the repo's name.
CARD = """---
{metadata}
---
# Flower classifier: {made.preset}

Names {class_count} kinds of flowers in a photo, and says so when a photo does not look like any of
them. {made.backbone}, {made.parameters:,} parameters, {size} x {size} px, trained with Keras on
{made.backend}.

## Results

Measured on `model.onnx` with one view per photo and calibrated probabilities:

{results}

NLL: negative log-likelihood in nats. ECE: expected calibration error; by chance: that of a
perfectly calibrated model with the same probabilities on as many photos. Label set: the names of
which one is right{promise}; coverage is how often it is, size the mean number of names. The page
`report/index.html` has all metrics and figures.

![Loss, accuracy and learning rate](report/history.png)

![Confusion matrix](report/confusion.png)

{by_source}## Use

With this project, on ONNX Runtime. Install its package `{package}` from the folder of a clone
(`pip install FOLDER`) or from its git address (`pip install git+ADDRESS`); then

```python
from flowers_model import FlowerClassifier

classifier = FlowerClassifier.from_pretrained("USER/MODEL")
[prediction] = classifier.classify("photo.jpg")
print(prediction.labels[0], prediction.probabilities[0], prediction.refused)
```

With plain Keras, on any backend{needs}; the network takes raw RGB, 0..255, and returns logits:

```python
import keras

network = keras.saving.load_model("hf://USER/MODEL")
photo = keras.utils.load_img(
    "photo.jpg", target_size=({size}, {size}), interpolation="bilinear", keep_aspect_ratio=True
)
logits = network.predict(keras.utils.img_to_array(photo)[None])
```

`load_model("hf://USER/MODEL")` needs TensorFlow installed, whichever backend Keras uses, and loads
the main branch. Without TensorFlow, or for another revision, download the repo first:

```python
from huggingface_hub import snapshot_download

network = keras.saving.load_model(snapshot_download("USER/MODEL", revision="main"))
```

Class names are in `classifier.json`, in the order of the logits. {misleading}{probabilities}

## Limits

The model knows only the flowers in its list. A photo with a refusal score above 1 does not look
like any of them. {refusal}{method}

## Licence

{licence} The terms of the training photos may restrict what it may be used for:
{credits}.

## Provenance

- Command: `{made.command}`
- Initial weights: {made.weights}; seed {made.seed}; {made.seconds:.0f} s of training
- Photos: {splits}
{taught}- Versions: {versions}
"""


def write_card(folder: pathlib.Path, manifest: Manifest) -> None:
    """Write the card of the bundle in `folder` from its manifest."""
    made = manifest.provenance
    calibration = manifest.calibration
    held_out = manifest.metrics.get(manifest.held_out)
    promise = refusal = ""
    if calibration.label_sets is not None:
        promise = " {} times out of {}".format(*calibration.label_sets.odds)
    if held_out is not None and held_out.others_refused is not None:
        refusal = (
            f"The model refuses {100 * held_out.others_refused:.0f} % of out-of-distribution "
            f"photos, and {held_out.shown('refused')} of those of its flowers "
            f"({manifest.held_out}). "
        )
    probabilities = f"Probabilities are `softmax(logits / {calibration.temperature:.4f})`"
    if calibration.fitted_on:
        probabilities += f", a temperature fitted on the {calibration.fitted_on} split"
    by_source = ""
    if manifest.by_source:
        table = _table("source", manifest.by_source, BY_SOURCE)
        by_source = f"By source of the validation photos:\n\n{table}\n\n"
    card = CARD.format(
        metadata=_metadata(manifest),
        made=made,
        package=DISTRIBUTION,
        credits=made.credits.rstrip("."),
        class_count=len(manifest.class_names),
        size=manifest.input.size,
        results=_table("split", manifest.metrics, BY_SPLIT),
        promise=promise,
        by_source=by_source,
        needs=" with keras-hub installed" if made.backbone.startswith(PREFIX) else "",
        misleading=manifest.misleading,
        probabilities=f"{probabilities}.",
        refusal=refusal,
        method=calibration.method or "",
        licence=f"Weights: {made.license}." if made.license else "No licence is given.",
        splits=", ".join(f"{count:,} {name}" for name, count in made.splits.items()),
        taught="".join(
            f"- Taught after training: {one.name}, from {one.photos} photos\n"
            for one in manifest.taught
        ),
        versions=", ".join(f"{name} {version}" for name, version in made.versions.items()),
    )
    (folder / "README.md").write_text(card, "utf-8")


def _metadata(manifest: Manifest) -> str:
    """The card's YAML, with a model-index of the measured results."""
    made = manifest.provenance
    data = huggingface_hub.ModelCardData(
        license=made.license,
        base_model=made.base_model,
        datasets=made.datasets or None,
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
            for split, metrics in manifest.metrics.items()
            if split != "train"
            for kind, title, name in MODEL_INDEX
            if (value := getattr(metrics, name)) is not None
        ],
    )
    return data.to_yaml()


def _table(what: str, rows: dict[str, Metrics], names: tuple[str, ...]) -> str:
    """Metrics as a table in Markdown, with the interval of the accuracy."""
    lines = [[what, "photos", *(METRICS[name] for name in names)]]
    lines.append(["---"] * len(lines[0]))
    for title, metrics in rows.items():
        cells = [title, f"{metrics.count:,}", *(metrics.shown(name) for name in names)]
        if interval := metrics.top1_interval:
            cells[2] += f" ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
