"""Wrong? A visitor says the right name for a photo, and lets the page keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from flowers_model.errors import UserError
from page.text import escape, read, sorry

if TYPE_CHECKING:
    from page import Page

BUTTON = "Keep this photo"


def add(page: Page, photo: gr.Image) -> gr.Accordion:
    """Add what asks for the right name of the photo that is shown; not there where it is off.

    Args:
        photo: holds the visitor's photo while it is shown.

    Returns:
        What is to be visible for a visitor's own photo alone: labelled photos of the gallery must
        not come back as photos to train on.
    """
    kept = page.kept
    names = sorted(page.classifier.label_names)

    def keep(file: dict | None, name: object) -> str:
        try:
            if not isinstance(name, str):
                raise UserError("choose the right name first")
            kept.keep(read(file), name)
        except FileNotFoundError:  # deleted, as promised
            return "Sorry, the page has forgotten this photo by now; show it again, then press."
        except UserError as error:
            return escape(sorry(error))
        return f"Thank you! The photo is kept as <strong>{escape(name)}</strong>."

    with gr.Accordion("Wrong?", open=False, visible=False, elem_id="wrong") as wrong:
        if kept is not None:
            where = "on this server" if kept.repo_id is None else f"in the data set {kept.repo_id}"
            gr.Markdown(
                f"Say what it really is. “{BUTTON}” keeps this photo, with that name, {where}, for "
                "the page's owner to train on. That press keeps it, and nothing else does."
            )
            with gr.Row():
                right = gr.Dropdown(
                    names, value=None, label="What it really is", min_width=200, elem_id="right"
                )
                press = gr.Button(BUTTON, scale=0, min_width=160, elem_id="keep")
            said = gr.Markdown(latex_delimiters=[], elem_id="kept")
            inside = {"api_visibility": "private", "show_progress": "hidden"}
            press.click(keep, [photo, right], said, api_name="keep", preprocess=False, **inside)
            # Of another photo nothing has been said yet.
            photo.change(None, None, [right, said], js="() => [null, '']", **inside)
    return wrong
