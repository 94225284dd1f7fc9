"""Feedback: visitors give the right name of photos, and let the page keep them."""

from __future__ import annotations

import gradio as gr

from flowers_model.bundle import Manifest
from flowers_model.errors import UserError
from page import words
from page.context import PRIVATE
from page.frame import Frame
from page.html import escape, read, sorry
from page.server.kept import KeptPhotos
from page.words import ENGLISH, Words


def add(kept: KeptPhotos, manifest: Manifest, photos: gr.HTML, frame: Frame) -> None:
    """Add the components that ask for the right name of the photos.

    The style sheet shows them only below answers to a visitor's own photos: labelled photos of the
    gallery must not become training photos.

    Args:
        manifest: contains the classes to choose from.
        photos: the visitor's photos, a list of files; None for a labelled photo.
    """

    def keep(files: list[dict] | None, name: object, request: gr.Request) -> str:
        say = words.of(request)
        try:
            if not files:
                raise UserError(say("feedback_no_photo"))
            if not isinstance(name, str):
                raise UserError(say("feedback_no_name"))
            for pixels in [read(file) for file in files]:
                kept.keep(pixels, name)
        except FileNotFoundError:  # deleted, as promised
            return _said(say("feedback_gone"))
        except UserError as error:
            return _said(sorry(error, say))
        return _said(say("feedback_kept", name=name, photos=say.photos(len(files))))

    def explain(say: Words) -> str:
        text = say("feedback_say", button=say("feedback_keep"), where=kept.where(say))
        return f"<p>{text}</p>"

    with gr.Accordion(frame.text("feedback_wrong"), open=False, elem_id="flowers-wrong"):
        gr.HTML(frame.html("feedback", explain), apply_default_css=False)
        with gr.Row():
            right = gr.Dropdown(
                _choices(manifest),
                value=None,
                label=frame.text("feedback_really"),
                min_width=200,
                elem_id="flowers-right",
            )
            press = gr.Button(
                frame.text("feedback_keep"), scale=0, min_width=220, elem_id="flowers-keep"
            )
        said = gr.HTML("", apply_default_css=False, elem_id="flowers-kept")
    press.click(keep, [photos, right], said, api_name="keep", preprocess=False, **PRIVATE)
    # New photos have no feedback yet.
    photos.upload(None, None, [right, said], js="() => [null, '']", **PRIVATE)


def _choices(manifest: Manifest) -> list[tuple[str, str]]:
    """Pairs of display name and class; a misleading class name is shown as well."""
    shown = manifest.display_names
    return sorted(
        (f"{shown[name]} ({ENGLISH('own', name=name)})" if name in shown else name, name)
        for name in manifest.class_names
    )


def _said(text: str) -> str:
    return f'<p role="status">{escape(text)}</p>'
