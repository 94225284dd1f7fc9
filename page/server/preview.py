"""The preview of a link to the page: a title, a sentence, a picture."""

from __future__ import annotations

import html
import pathlib
import re

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# The picture of the page in a Space, and in the project.
PICTURES = (_ROOT / "thumbnail.png", _ROOT / "docs/page.png")
_TAGS = re.compile(r'<meta\s[^>]*(?:property="og:|name="twitter:)[^>]*>')


class Preview:
    """ASGI middleware that replaces gradio's preview, which is about gradio, by ours."""

    def __init__(self, app: ASGIApp, title: str, description: str):
        self.app = app
        self.title = title
        self.description = description

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or "gradio_api" in scope["path"]:
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def rewritten(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"")
                if kind.startswith(b"text/html"):
                    start = message
                    return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            whole = self._mend(body.decode(), str(Request(scope).base_url)).encode()
            headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
            headers.append((b"content-length", str(len(whole)).encode()))
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": whole})

        await self.app(scope, receive, rewritten)

    def _mend(self, page: str, address: str) -> str:
        """A page as HTML with our tags; `address` is where it is."""
        tags = {
            "og:type": "website",
            "og:title": self.title,
            "og:description": self.description,
            "og:url": address,
        }
        if routes():
            tags["og:image"] = f"{address}thumbnail.png"
        lines = [f'<meta property="{name}" content="{html.escape(tags[name])}">' for name in tags]
        lines.append('<meta name="twitter:card" content="summary_large_image">')
        lines.append(f'<meta name="description" content="{html.escape(self.description)}">')
        head, end, rest = page.partition("</head>")
        return _TAGS.sub("", head) + "".join(lines) + end + rest


def routes() -> list[Route]:
    """The route of the picture; none if there is no picture."""
    path = next((path for path in PICTURES if path.is_file()), None)

    async def send(request: Request) -> FileResponse:
        return FileResponse(path)

    return [Route("/thumbnail.png", send)] if path else []
