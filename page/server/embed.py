"""The script by which pages of other places show this one, as `<gradio-app src="…">`.

Gradio has it among its files and its documentation names it, at the makers' own host; its server
does not send it.
"""

from __future__ import annotations

import pathlib

import gradio as gr
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

SCRIPT = pathlib.Path(gr.__file__).parent / "templates/frontend/gradio.js"


def routes() -> list[Route]:
    """Where the script is."""

    async def send(request: Request) -> FileResponse:
        return FileResponse(SCRIPT, media_type="text/javascript")

    return [Route("/gradio.js", send)]
