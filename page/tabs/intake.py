"""Where visitors hand in photos: they choose, drop, paste or take them."""

from __future__ import annotations

import pathlib

import gradio as gr
from gradio.data_classes import ListFiles

from page.html import MOST

HTML = f"""
<div class="intake">
<label class="zone">
    <input type="file" accept="image/*,.heic,.heif,.avif" multiple>
    <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 16V5m0 0L7.5 9.5M12 5l4.5 4.5M4 16v2.5
        A1.5 1.5 0 0 0 5.5 20h13a1.5 1.5 0 0 0 1.5-1.5V16"/></svg>
    <span class="words"><strong class="drop">Drop a photo here</strong>
        <span class="drop">or click to choose one</span>
        <strong class="tap">Choose a photo</strong></span>
    <span class="again">Another photo</span>
</label>
<div class="ways">
    <input type="file" accept="image/*" capture="environment" hidden>
    <button type="button" class="take"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M4 8h3.5
        L9 5.5h6L16.5 8H20v11H4z"/><circle cx="12" cy="13" r="3.2"/></svg>Take a photo</button>
    <button type="button" class="paste"><svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9 4h6
        v3H9zM9 5.5H6V20h12V5.5h-3"/></svg>Paste</button>
</div>
<p class="status" role="status"></p>
<p class="hint">Up to {MOST} photos of one plant give one, surer answer.</p>
<dialog aria-label="Camera">
    <video playsinline muted></video>
    <div class="ways"><button type="button" class="shoot">Take it</button>
        <button type="button" class="cancel">Cancel</button></div>
</dialog>
</div>
"""


def photos() -> gr.HTML:
    """The component: its `upload` event comes once the photos are on the server.

    Its value is a list of files as gradio describes them, so gradio lets none pass that was not
    uploaded; None before the first.
    """
    component = gr.HTML(
        html_template=HTML,
        js_on_load=pathlib.Path(__file__).with_name("intake.js").read_text("utf-8"),
        apply_default_css=False,
        elem_id="photo",
    )
    component.data_model = ListFiles
    return component
