"""The page's server: gradio's server with limits, with our own routes, and without downloads.

gradio downloads URLs that a visitor names instead of uploading a file: the `path` of a file, in a
call of any endpoint or MCP tool, and what follows `/gradio_api/file=`. So strangers could send
requests from this machine. Here both are refused before a host is looked up. The third way,
`/gradio_api/proxy=`, works only for pages that are made of other pages.
"""

from __future__ import annotations

import contextlib
import time

import gradio as gr
import httpx
from gradio import processing_utils
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from page import theme
from page.frame import Frame
from page.guard import guard
from page.server import address, embed, limits, preview
from page.server.kept import KeptPhotos

REFUSAL = "Sorry, this server fetches nothing from other places: send the photo itself."


class Refusing(httpx.AsyncBaseTransport):
    """A transport that refuses every connection."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise gr.Error(REFUSAL, print_exception=False)


def forbid_downloads() -> None:
    """Prevent gradio from downloading inputs.

    Raises:
        UserError: if gradio has no setting for that.
    """
    guard(hasattr(processing_utils, "async_transport"), "fetch what strangers name")
    processing_utils.async_transport = Refusing()


class NoFetching:
    """ASGI middleware that refuses `/gradio_api/file=` with a URL."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "://" in scope["path"]:
            await JSONResponse({"error": REFUSAL}, 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class Blocks(gr.Blocks):
    """`gr.Blocks` with the restrictions above.

    Attributes:
        routes: our own routes; they precede those of gradio.
        requests: limit per client and minute; 0 for none.
        mcp: whether AI assistants can use the page by the Model Context Protocol.
        frame: the static texts of the page; None for none.
        description: the description in previews of links to the page.
        kept: where corrected photos are kept, closed when the page ends; None to keep none.
    """

    routes: tuple[Route, ...] = ()
    requests: int = limits.REQUESTS
    mcp: bool = False
    frame: Frame | None = None
    description: str = ""
    kept: KeptPhotos | None = None

    def launch(self, *arguments, **settings):
        """As `gr.Blocks.launch`.

        Raises:
            UserError: if the page would not be safe with this version of gradio.
        """
        forbid_downloads()
        limits.trust_proxies()
        middleware = [
            Middleware(GZipMiddleware),  # gradio does not compress
            Middleware(preview.Preview, self.title, self.description),
            Middleware(NoFetching),
            Middleware(limits.Limits, self.requests),
        ]
        routes = [*self.routes, *preview.routes(), *embed.routes()]
        of_app = {"routes": routes, "middleware": middleware}
        settings = {"mcp_server": self.mcp or None, **settings}  # None: the environment decides
        if self.frame is not None:
            settings["i18n"] = gr.I18n(**self.frame.texts)
        return super().launch(*arguments, app_kwargs=of_app, **settings)

    def serve(self, host: str, port: int) -> None:
        """Launch the page at the host and port of `address.choose`, until it is stopped.

        Raises:
            UserError: if the port is taken.
        """
        try:
            with address.without_proxies():
                self.launch(
                    server_name=host, server_port=port, prevent_thread_lock=True, **theme.SETTINGS
                )
        except OSError as error:
            raise address.taken() from error
        address.never_by_proxy(host)
        with contextlib.suppress(KeyboardInterrupt):
            while self.is_running:
                time.sleep(0.1)
        # `block_thread` would not close the connections of present visitors, wait for them in vain,
        # and end before gradio has deleted its files.
        self.close()
        if self.kept is not None:
            self.kept.close()
