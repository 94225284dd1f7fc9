"""The tab that compares two of the page's models, or all of them averaged, on a photo."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import gradio as gr
import numpy as np
from PIL import Image

from flowers_model.classifier import FlowerClassifier, Prediction
from flowers_model.ensemble import average
from flowers_model.errors import UserError
from page import words
from page.context import PRIVATE, Page
from page.html import escape, flower, read, sorry, table
from page.verdict import verdict
from page.words import Words

AVERAGED = "All of them, averaged"  # listed with the names of the models
TOP = 5
PREVIEW = 1024  # longest side of the photo that is shown, pixels


def open_models(sources: Sequence[str]) -> dict[str, FlowerClassifier]:
    """Open models, by the names that visitors see.

    Args:
        sources: bundles' folders, or Hub repos.

    Returns:
        The models by the name of their repo or folder, without the rest of the path.

    Raises:
        UserError: if one cannot be opened; the message names it.
    """
    models: dict[str, FlowerClassifier] = {}
    for source in sources:
        name = str(source)
        if os.path.isdir(source):
            folder = pathlib.Path(source).resolve()
            # A run's model is runs/RUN/bundle.
            name = folder.parent.name if folder.name == "bundle" else folder.name
        count = sum(known.partition(" #")[0] == name for known in models)
        name = f"{name} #{count + 1}" if count else name
        try:
            models[name] = FlowerClassifier.from_pretrained(source)
        except UserError as error:
            if str(source) in str(error):
                raise
            raise UserError(f"{source}: {error}") from error
    return models


def answer_all(models: dict[str, FlowerClassifier], photo: np.ndarray) -> dict[str, Prediction]:
    """The answers of all models to a photo, uint8 `(H, W, 3)`.

    Includes their average if they have the same classes.
    """
    each = {name: model.answer(model.prepare(photo)[None]) for name, model in models.items()}
    found = {name: models[name].predictions(answers, TOP)[0] for name, answers in each.items()}
    if can_average(models):
        together = average(list(models.values()), [[one] for one in each.values()])
        first = next(iter(models.values()))
        [found[AVERAGED]] = first.predictions(together, TOP)
    return found


def can_average(models: dict[str, FlowerClassifier]) -> bool:
    """Whether the models have the same classes, in any order."""
    return len({frozenset(model.label_names) for model in models.values()}) == 1


def add(page: Page) -> None:
    """Add a photo, and the answers of two models to it."""
    models, frame = page.classifiers, page.frame
    choices = [*models, AVERAGED] if can_average(models) else [*models]

    def show(file: dict | None, one: str, other: str, request: gr.Request) -> list:
        say, chosen = words.of(request), (one, other)
        try:
            pixels = read(file)
        except UserError as error:
            return [None, None, *[f'<p role="alert">{escape(sorry(error, say))}</p>'] * len(chosen)]
        found = answer_all(models, pixels)
        preview = Image.fromarray(pixels)
        preview.thumbnail((PREVIEW, PREVIEW))
        return [preview, found, *(tell(found, name, request) for name in chosen)]

    def tell(found: dict[str, Prediction] | None, name: str, request: gr.Request) -> str:
        """The answer of one model, from those of all models."""
        if name not in choices:
            raise gr.Error("Sorry, this model is not on the list.", print_exception=False)
        return "" if found is None else _answer(found[name], words.of(request))

    gr.Markdown(frame.text("compare_averaged" if AVERAGED in choices else "compare_two"))
    with gr.Row():
        photo = gr.Image(
            sources=["upload", "webcam", "clipboard"],
            label=frame.text("your_photo"),
            placeholder=frame.text("drop"),
            format="jpeg",
            height=360,
            min_width=280,
            buttons=[],
            elem_id="flowers-compared",
        )
        menus, answers = [], []
        for number, title in enumerate(("model_one", "model_other")):
            with gr.Column(min_width=280, elem_id=f"flowers-model-{number}", elem_classes="model"):
                menus.append(gr.Dropdown(choices, value=choices[number], label=frame.text(title)))
                answers.append(gr.HTML(apply_default_css=False))
    measured = frame.html("measured", lambda say: _measured(models, say))
    gr.HTML(measured, apply_default_css=False, elem_id="flowers-measured")

    # The answers in names and numbers, without the photo.
    found = gr.State()
    inside = {**PRIVATE, "preprocess": False}
    photo.upload(show, [photo, *menus], [photo, found, *answers], api_name="compare", **inside)
    photo.clear(lambda: (None, "", ""), None, [found, *answers], api_name="hide_compared", **inside)
    for number, (menu, answer) in enumerate(zip(menus, answers, strict=True)):
        menu.input(tell, [found, menu], answer, api_name=f"choose_model_{number}", **inside)


def _answer(prediction: Prediction, say: Words) -> str:
    """The likeliest names with bars, as HTML."""
    said = verdict(prediction, say)
    lines = [f"<h2>{said.title}</h2>"]
    if prediction.refused:
        lines.append(f"<p>{say('guess')}</p>")
    elif said.names:
        lines.append(f"<p>{said.promise} {say.listed(said.names)}</p>")
    bars = "".join(
        f"<li><span>{flower(prediction, label, say)}</span><span>{say.percent(share)}</span>"
        f'<span class="bar"><span style="width:{100 * share:.1f}%"></span></span></li>'
        for label, share in zip(prediction.labels, prediction.probabilities, strict=True)
    )
    return f"{''.join(lines)}<ul>{bars}</ul>"


def _measured(models: dict[str, FlowerClassifier], say: Words) -> str:
    """A table of the models' measured results."""
    rows = []
    for name, model in models.items():
        right = five = photos = say("not_measured")
        if (split := model.manifest.held_out) is not None:
            of = model.manifest.metrics[split]
            right, five = say.share(of.top1), say.share(of.top5)
            photos = f"{say.number(of.count)} ({split})"
        made = model.manifest.provenance
        rows.append((name, made.backbone, len(model.label_names), right, five, photos))
    columns = ("model", "network", "flowers", "right", "five", "photos")
    head = [say(f"column_{name}") for name in columns]
    return f"<h3>{say('compare_results')}</h3>{table(rows, head)}"
