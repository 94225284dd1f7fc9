"""About the model: what it is, how well it does, and the pictures of its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from flowers_model.bundle import Manifest
from flowers_model.classifier import FlowerClassifier
from page.html import escape, named, table
from page.tabs import snippets

if TYPE_CHECKING:
    from page.context import Page

FIGURES = {
    "reliability": "How far its percentages can be trusted",
    "refusal": "How it tells other things from flowers",
    "confusion": "What it takes for what",
    "history": "Training",
}


def add(page: Page) -> None:
    """Add the card, the figures, and how to call the model."""
    gr.Markdown(describe(page.classifier), latex_delimiters=[], elem_id="card")
    for name, title in FIGURES.items():
        figure = page.classifier.folder / "report" / f"{name}.png"
        if figure.is_file():
            gr.Markdown(f"### {title}")
            gr.Image(
                str(figure),
                label=title,
                alt_text=title,
                show_label=False,
                interactive=False,
                buttons=["fullscreen"],
                elem_classes="figure",
            )
    snippets.add()


def describe(classifier: FlowerClassifier) -> str:
    """What the model is and how well it does, as HTML. All text of the bundle is escaped."""
    manifest = classifier.manifest
    made = manifest.provenance
    splits = ", ".join(f"{count:,} {name}" for name, count in made.splits.items())
    start = "scratch" if made.weights == "none" else made.weights
    calibrated = manifest.calibration.fitted_on
    about = {
        "Photos": made.credits,
        "Data": f"{made.data} ({splits})",
        "Network": f"{made.backbone}, {made.parameters:,} parameters, trained from {start}",
        "Trained": f"{made.created[:10]}, in {made.seconds:,.0f} s, with Keras on {made.backend}",
        "Versions": ", ".join(f"{name} {version}" for name, version in made.versions.items()),
        "Command": made.command,
        "Commit": made.git_commit,
    }
    results = [
        (
            *(split, f"{of.top1:.1%}", f"{of.top5:.1%}", f"{of.loss:.3f}"),
            *(_share(of.ece), _share(of.coverage), _share(of.refused), f"{of.count:,}"),
        )
        for split, of in manifest.metrics.items()
        if split != "train"
    ]
    columns = ("", "right", "among its five", "log loss", "calibration error")
    columns += ("label set right", "refused", "photos")
    held_out = manifest.metrics.get("test", manifest.metrics.get("valid"))
    size = manifest.input.size
    always = "and always answers with a flower that it knows, whatever the photo shows."
    if manifest.calibration.refusal is not None:
        always = "and says so when a photo does not look like a flower that it knows"
        if held_out is not None and held_out.others_refused is not None:
            always += f": to {held_out.others_refused:.0%} of photos of other things"
        always += "."
    return "".join(
        [
            f"<p>It tells {len(manifest.class_names)} flowers apart. It looks at the middle "
            f"square of a photo, at {size} by {size} pixels, {always}</p>",
            "<h3>How well it does</h3>",
            table(results, columns),
            _elsewhere(manifest),
            f"<p>Its percentages are calibrated on <em>{escape(calibrated)}</em>: of the answers "
            "that it is 80% sure of, about 80% are right.</p>"
            if calibrated
            else "",
            "<h3>Flowers that it knows</h3>",
            f"<p>{', '.join(named(manifest.display_names, n) for n in _known(manifest))}</p>",
            "<h3>Where it comes from</h3>",
            table([(name, value) for name, value in about.items() if value]),
        ]
    )


def _elsewhere(manifest: Manifest) -> str:
    """What happens to photos of each source, as HTML; nothing where there is one."""
    rows = [
        (
            *(name, f"{of.top1:.1%}", _share(of.kept_right), _share(of.refused)),
            *(_share(of.sure_wrong), _share(of.ece), f"{of.count:,}"),
        )
        for name, of in manifest.by_source.items()
    ]
    columns = ("photos of", "right", "right and not refused", "refused")
    columns += ("sure and wrong", "calibration error", "photos")
    return f"<h3>Photos from elsewhere</h3>{table(rows, columns)}" if rows else ""


def _known(manifest: Manifest) -> list[str]:
    """The classes by what they are called to people."""
    return sorted(manifest.class_names, key=lambda name: manifest.display_names.get(name, name))


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"
