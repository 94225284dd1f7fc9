"""The model card of a bundle, `README.md`."""

from __future__ import annotations

import pathlib

import huggingface_hub

from flowers_model import bundle


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


def write_card(room: pathlib.Path, manifest: bundle.Manifest) -> None:
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
    held_out = manifest.metrics[manifest.held_out]
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
