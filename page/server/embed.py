"""The script with which other web pages embed this one, as `<gradio-app src="…">`.

It is one of gradio's files, and gradio's documentation describes it, but gradio's server does not
serve it.
"""

from __future__ import annotations

import pathlib

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

SCRIPT = pathlib.Path(gr.__file__).parent / "templates/frontend/gradio.js"


def routes() -> list[Route]:
    """The route of the script."""

    async def send(request: Request) -> FileResponse:
        return FileResponse(SCRIPT, media_type="text/javascript")

    return [Route("/gradio.js", send)]
