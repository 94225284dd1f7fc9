"""The tab about the model: its facts, its results, and the figures of its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from flowers_model.bundle import Manifest
from flowers_model.classifier import FlowerClassifier
from page.html import escape, named, table
from page.tabs import snippets
from page.words import ENGLISH, Words

if TYPE_CHECKING:
    from page.context import Page

FIGURES = ("reliability", "refusal", "confusion", "history")


def add(page: Page) -> None:
    """Add the card, the figures, and code snippets."""
    card = page.frame.html("card", lambda say: describe(page.classifier, say))
    gr.Markdown(card, latex_delimiters=[], elem_id="flowers-card")
    for name in FIGURES:
        title = f"figure_{name}"
        figure = page.classifier.folder / "report" / f"{name}.png"
        if figure.is_file():
            gr.Markdown(
                page.frame.html(f"{title}_head", lambda say, title=title: f"### {say(title)}")
            )
            gr.Image(
                str(figure),
                label=page.frame.text(title),
                alt_text=ENGLISH(title),
                show_label=False,
                interactive=False,
                buttons=["fullscreen"],
                elem_classes="figure",
            )
    snippets.add(page.frame)


def describe(classifier: FlowerClassifier, say: Words) -> str:
    """The facts and results of the model as HTML; all text of the bundle is escaped."""
    manifest = classifier.manifest
    made = manifest.provenance
    splits = ", ".join(f"{say.number(count)} {name}" for name, count in made.splits.items())
    network = {
        "backbone": made.backbone,
        "parameters": say.number(made.parameters),
        "start": say("card_scratch") if made.weights == "none" else made.weights,
    }
    training = {
        "date": made.created[:10],
        "seconds": say.number(made.seconds),
        "backend": made.backend,
    }
    calibrated = manifest.calibration.fitted_on
    about = {
        "card_photos": made.credits,
        "card_data": f"{made.data} ({splits})",
        "card_network": say("card_network_is", **network),
        "card_trained": say("card_trained_is", **training),
        "card_versions": ", ".join(f"{name} {version}" for name, version in made.versions.items()),
        "card_command": made.command,
        "card_commit": made.git_commit,
    }
    results = [
        (
            *(split, say.share(of.top1), say.share(of.top5), say.number(of.loss, 3)),
            *(say.share(of.ece), say.share(of.coverage), say.share(of.refused)),
            say.number(of.count),
        )
        for split, of in manifest.metrics.items()
        if split != "train"
    ]
    columns = ("right", "five", "loss", "ece", "set", "refused", "photos")
    size = manifest.input.size
    looks = say("card_looks", count=len(manifest.class_names), size=size)
    names = [named(manifest.display_names, name, say) for name in _known(manifest)]
    return "".join(
        [
            f"<p>{looks} {_refuses(manifest, say)}</p>",
            f"<h3>{say('card_results')}</h3>",
            table(results, ("", *(say(f"column_{name}") for name in columns))),
            _elsewhere(manifest, say),
            f"<p>{say('card_calibrated', data=f'<em>{escape(calibrated)}</em>')}</p>"
            if calibrated
            else "",
            f"<h3>{say('card_flowers')}</h3>",
            f"<p>{say.listed(names)}</p>",
            f"<h3>{say('card_origin')}</h3>",
            table([(say(name), value) for name, value in about.items() if value]),
        ]
    )


def _refuses(manifest: Manifest, say: Words) -> str:
    """What the model does with out-of-distribution photos."""
    if manifest.calibration.refusal is None:
        return say("card_always")
    held_out = manifest.metrics.get(manifest.held_out)
    if held_out is None or held_out.others_refused is None:
        return say("card_refuses")
    return say("card_refuses_share", share=say.share(held_out.others_refused, 0))


def _elsewhere(manifest: Manifest, say: Words) -> str:
    """The results on the photos of each source, as HTML; empty if there is only one source."""
    rows = [
        (
            *(name, say.share(of.top1), say.share(of.kept_right), say.share(of.refused)),
            *(say.share(of.sure_wrong), say.share(of.ece), say.number(of.count)),
        )
        for name, of in manifest.by_source.items()
    ]
    columns = ("source", "right", "kept_right", "refused", "sure_wrong", "ece", "photos")
    head = [say(f"column_{name}") for name in columns]
    return f"<h3>{say('card_elsewhere')}</h3>{table(rows, head)}" if rows else ""


def _known(manifest: Manifest) -> list[str]:
    """The classes by display name."""
    return sorted(manifest.class_names, key=lambda name: manifest.display_names.get(name, name))
