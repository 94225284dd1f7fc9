"""Code snippets that call the page's API."""

from __future__ import annotations

import json

import gradio as gr

from page.context import PRIVATE
from page.frame import Frame

# The visitor's browser replaces this by the address of the page.
SERVER = "https://SERVER"
PYTHON = f"""\
from gradio_client import Client, handle_file

client = Client("{SERVER}")
answer = client.predict(handle_file("photo.jpg"), api_name="/classify")
print(answer["label"], answer["confidences"])
"""
CURL = f"""\
curl --data-binary @photo.jpg {SERVER}/classify
"""
JAVASCRIPT = f"""\
// In a page, photo is the file of an <input type="file">.
import {{ readFile }} from "node:fs/promises";

const photo = await readFile("photo.jpg");
const response = await fetch("{SERVER}/classify", {{ method: "POST", body: photo }});
const answer = await response.json();
console.log(answer.label, answer.confidences);
"""
FILL = f"""() => {{
    const server = (window.location.origin + window.location.pathname).replace(/\\/+$/, "");
    const codes = {json.dumps([PYTHON, CURL, JAVASCRIPT])};
    return codes.map((code) => code.replaceAll("{SERVER}", server));
}}"""


def add(frame: Frame) -> None:
    """Add the snippets, which the browser fills in when the page is opened."""
    gr.Markdown(frame.html("call_it", lambda say: f"### {say('call_it')}"))
    settings = {"interactive": False, "wrap_lines": True, "lines": 1, "elem_classes": "snippet"}
    codes = [
        gr.Code(PYTHON, language="python", label="Python: pip install gradio_client", **settings),
        gr.Code(CURL, language="shell", label="curl", **settings),
        gr.Code(JAVASCRIPT, language="javascript", label="JavaScript", **settings),
    ]
    gr.Markdown(frame.text("call_all"))
    gr.on(None, None, None, codes, js=FILL, **PRIVATE)
