"""Wrong? A visitor says the right name for photos, and lets the page keep them."""

from __future__ import annotations

import gradio as gr

from flowers_model.bundle import Manifest
from flowers_model.errors import UserError
from page.html import escape, read, sorry
from page.server.kept import KeptPhotos

BUTTON = "Keep it under this name"


def add(kept: KeptPhotos, manifest: Manifest, photos: gr.HTML) -> None:
    """Add what asks for the right name of the photos that were answered.

    The style sheet shows it below the answer to a visitor's own photos alone: labelled ones of
    the gallery must not come back as photos to train on.

    Args:
        manifest: has the classes, of which one may be chosen.
        photos: the visitor's photos, a list of files; None for a labelled one.
    """

    def keep(files: list[dict] | None, name: object) -> str:
        try:
            if not files:
                raise UserError("there is no photo of yours here; show one first")
            if not isinstance(name, str):
                raise UserError("choose the right name first")
            for pixels in [read(file) for file in files]:
                kept.keep(pixels, name)
        except FileNotFoundError:  # deleted, as promised
            return _said("Sorry, the page has forgotten the photo by now; show it again.")
        except UserError as error:
            return _said(sorry(error))
        photo = "photo is" if len(files) == 1 else f"{len(files)} photos are"
        return _said(f"Thank you! The {photo} kept as {name}.")

    where = "on this server" if kept.repo_id is None else f"in the data set {kept.repo_id}"
    with gr.Accordion("Wrong?", open=False, elem_id="wrong"):
        gr.HTML(
            f"<p>Say what it really is. “{BUTTON}” keeps what you sent, with that name, "
            f"{escape(where)}, for the page's owner to train on. Nothing else here is kept.</p>",
            apply_default_css=False,
        )
        with gr.Row():
            right = gr.Dropdown(
                _choices(manifest),
                value=None,
                label="It really is",
                min_width=200,
                elem_id="right",
            )
            press = gr.Button(BUTTON, scale=0, min_width=220, elem_id="keep")
        said = gr.HTML("", apply_default_css=False, elem_id="kept")
    inside = {"api_visibility": "private", "show_progress": "hidden"}
    press.click(keep, [photos, right], said, api_name="keep", preprocess=False, **inside)
    # Of other photos nothing has been said yet.
    photos.upload(None, None, [right, said], js="() => [null, '']", **inside)


def _choices(manifest: Manifest) -> list[tuple[str, str]]:
    """What people call each class, with its own name where that misleads, and the class."""
    shown = manifest.display_names
    return sorted(
        (f"{shown[name]} (“{name}” in the data set)" if name in shown else name, name)
        for name in manifest.class_names
    )


def _said(text: str) -> str:
    return f'<p role="status">{escape(text)}</p>'
