"""The theme of the page, and its launch settings."""

import pathlib

import gradio as gr

from page.server import limits

THEME = gr.themes.Soft(
    primary_hue="emerald",
    secondary_hue="emerald",
    neutral_hue="stone",
    radius_size="lg",
    font=["system-ui", "sans-serif"],  # installed fonts, so that nothing is downloaded
    font_mono=["ui-monospace", "monospace"],
).set(
    body_background_fill="#faf9f5",
    body_background_fill_dark="#131512",
    body_text_color="#23291f",
    body_text_color_dark="#eceee7",
    body_text_color_subdued="#5c6355",
    body_text_color_subdued_dark="#a9b0a0",
    background_fill_primary="#ffffff",
    background_fill_primary_dark="#1c1f1a",
    block_background_fill_dark="#1c1f1a",
    input_background_fill_dark="#131512",
    border_color_primary="#dfe0d6",
    border_color_primary_dark="#363b31",
    block_label_background_fill="#e2f0e7",
    block_label_background_fill_dark="#20382c",
    block_label_text_color="#0f5a3e",
    block_label_text_color_dark="#bfe9d3",
    block_title_text_color="#0f5a3e",
    block_title_text_color_dark="#bfe9d3",
    button_primary_background_fill="#14724f",
    button_primary_background_fill_dark="#6fd3a4",
    button_primary_background_fill_hover="#0f5a3e",
    button_primary_background_fill_hover_dark="#bfe9d3",
    button_primary_text_color="#ffffff",
    button_primary_text_color_dark="#131512",
    color_accent="#14724f",
    link_text_color="#14724f",
    link_text_color_dark="#6fd3a4",
)
# Arguments of `gr.Blocks.launch`.
SETTINGS = {
    "theme": THEME,
    "css_paths": pathlib.Path(__file__).with_name("style.css"),
    "max_file_size": limits.FILE,
    "run_history": False,  # gradio would keep the photos in the visitor's browser
    "ssr_mode": False,  # this would need a second server, in Node
    "footer_links": ["api", "gradio", "settings"],
}
