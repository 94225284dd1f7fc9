"""The page starts with no gradio in which what protects its visitors is gone."""

from __future__ import annotations

import gradio as gr

from flowers_model.errors import UserError

GRADIO = "6.31.0"  # that all of it is tested with


def guard(there: bool, danger: str) -> None:
    """Check that a part of gradio, which its documents do not promise, is there.

    Args:
        danger: what the page would do without it.

    Raises:
        UserError: where it is not there.
    """
    if not there:
        raise UserError(
            f"with gradio {gr.__version__} this page would {danger}: pip install gradio=={GRADIO}"
        )
