"""The component for photos: visitors choose, drop, paste or take them."""

from __future__ import annotations

import html
import json
import pathlib

import gradio as gr
from gradio.data_classes import ListFiles

from page.frame import Frame
from page.guard import guard
from page.html import MOST
from page.words import Words

# Texts of the script in the browser.
SAID = (
    *("too_many", "sending", "sending_many", "looking", "not_sent"),
    *("nothing_copied", "clipboard_closed", "no_camera"),
)


def write(say: Words) -> str:
    """The component's HTML."""
    said = html.escape(json.dumps({name: say(name) for name in SAID}, ensure_ascii=False))
    return f"""
<div class="intake" data-most="{MOST}" data-words="{said}">
<label class="zone">
    <input type="file" accept="image/*,.heic,.heif,.avif" multiple>
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 16V5m0 0L7.5 9.5M12 5l4.5 4.5M4 16v2.5
        A1.5 1.5 0 0 0 5.5 20h13a1.5 1.5 0 0 0 1.5-1.5V16"/></svg>
    <span class="words"><strong class="drop">{say("drop")}</strong>
        <span class="drop">{say("or_click")}</span>
        <strong class="tap">{say("choose")}</strong></span>
    <span class="again">{say("another")}</span>
</label>
<div class="ways">
    <input type="file" accept="image/*" capture="environment" hidden>
    <button type="button" class="take"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 8h3.5
        L9 5.5h6L16.5 8H20v11H4z"/><circle cx="12" cy="13" r="3.2"/></svg>{say("take")}</button>
    <button type="button" class="paste"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 4h6
        v3H9zM9 5.5H6V20h12V5.5h-3"/></svg>{say("paste")}</button>
</div>
<p class="status" role="status"></p>
<p class="hint">{say("hint", most=MOST)}</p>
<dialog aria-label="{say("camera")}">
    <video playsinline muted></video>
    <div class="ways"><button type="button" class="shoot">{say("shoot")}</button>
        <button type="button" class="cancel">{say("cancel")}</button></div>
</dialog>
</div>
"""


def photos(frame: Frame) -> gr.HTML:
    """The component: its `upload` event comes once the photos are on the server.

    Its value is a list of files as gradio describes them, so that gradio accepts only uploads; None
    at first.
    """
    component = gr.HTML(
        label=frame.html("intake", write),
        html_template="${label}",  # the value is the photos
        js_on_load=pathlib.Path(__file__).with_name("intake.js").read_text("utf-8"),
        apply_default_css=False,
        elem_id="flowers-photo",
    )
    # With this, gradio checks that files were uploaded, as it does for its own components.
    guard(hasattr(component, "data_model"), "show strangers this machine's files")
    component.data_model = ListFiles
    return component
