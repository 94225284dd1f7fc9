"""How the page looks, and how it is launched."""

import pathlib

import gradio as gr

TITLE = "Which flower is this?"
UPLOAD_LIMIT = "50mb"
THEME = gr.themes.Soft(
    primary_hue="emerald",
    secondary_hue="emerald",
    neutral_hue="stone",
    radius_size="lg",
    font=["system-ui", "sans-serif"],  # the visitor's own: nothing to download, from nowhere
    font_mono=["ui-monospace", "monospace"],
)
# What `gr.Blocks.launch` is given.
SETTINGS = {
    "theme": THEME,
    "css_paths": pathlib.Path(__file__).with_name("style.css"),
    "max_file_size": UPLOAD_LIMIT,
    "run_history": False,  # gradio would keep the photos in the visitor's browser
    "footer_links": ["api", "gradio", "settings"],
}
# A grid of labelled photos.
WALL = {
    "interactive": False,
    "allow_preview": False,
    "buttons": [],
    "object_fit": "cover",
    "height": "auto",
    "elem_classes": "wall",
    "show_label": False,
}
