"""The page does not start with a Gradio version that lacks what protects its visitors."""

import pathlib
from types import SimpleNamespace

import pytest
from gradio import processing_utils

from flowers_model.errors import UserError
from page.frame import Frame
from page.guard import GRADIO
from page.server import blocks
from page.tabs import intake

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_without_the_setting_for_downloads_the_page_is_not_launched(monkeypatch):
    monkeypatch.delattr(processing_utils, "async_transport")
    with blocks.Blocks() as demo, pytest.raises(UserError) as error:
        demo.launch()
    assert "this page would fetch what strangers name: pip install gradio==" in str(error.value)


def test_without_the_check_of_uploads_there_is_no_place_for_photos(monkeypatch):
    monkeypatch.setattr(intake.gr, "HTML", lambda **_: SimpleNamespace())
    with pytest.raises(UserError, match="would show strangers this machine's files: pip install"):
        intake.photos(Frame())


def test_the_gradio_that_is_recommended_is_the_one_that_is_required():
    assert f'"gradio~={GRADIO}"' in (ROOT / "pyproject.toml").read_text("utf-8")
