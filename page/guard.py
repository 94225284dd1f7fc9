"""Checks that gradio still has the undocumented parts that protect the page's visitors."""

from __future__ import annotations

import gradio as gr

from flowers_model.errors import UserError

GRADIO = "6.31.0"  # the version that is tested


def guard(there: bool, danger: str) -> None:
    """Check that an undocumented part of gradio exists.

    Args:
        danger: what the page would do without it.

    Raises:
        UserError: if it does not.
    """
    if not there:
        raise UserError(
            f"with gradio {gr.__version__} this page would {danger}: pip install gradio=={GRADIO}"
        )
