"""The page's server: gradio's, with limits, with routes of our own, and fetching nothing.

gradio downloads what a visitor names instead of uploading it: a file's `path` that is a URL, in a
call of any endpoint or of an MCP tool, and what follows `/gradio_api/file=`. That lets strangers
send requests from this machine. Here both are refused, before any host is even looked up. Its
third way, `/gradio_api/proxy=`, opens for pages made of other pages alone.
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
    """Makes no connection."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise gr.Error(REFUSAL, print_exception=False)


def forbid_downloads() -> None:
    """Have gradio download nothing for inputs.

    Raises:
        UserError: where gradio does not have the setting for it.
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
    """`gr.Blocks` that are launched with the above.

    Attributes:
        routes: of our own; they go before gradio's.
        requests: of one client in a minute; 0 for any number.
        mcp: whether assistants may call it, too, by the Model Context Protocol.
        frame: the page's words; None for none.
        description: what the preview of a link to it says.
        kept: where photos are kept that visitors name, closed when the page ends; None: nowhere.
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
            UserError: where this gradio is one that the page would not be safe with.
        """
        forbid_downloads()
        limits.trust_proxies()
        middleware = [
            Middleware(GZipMiddleware),  # gradio itself compresses nothing
            Middleware(preview.Preview, self.title, self.description),
            Middleware(NoFetching),
            Middleware(limits.Limits, self.requests),
        ]
        routes = [*self.routes, *preview.routes(), *embed.routes()]
        of_app = {"routes": routes, "middleware": middleware}
        settings = {"mcp_server": self.mcp or None, **settings}  # None: as the environment says
        if self.frame is not None:
            settings["i18n"] = gr.I18n(**self.frame.texts)
        return super().launch(*arguments, app_kwargs=of_app, **settings)

    def serve(self, host: str, port: int) -> None:
        """Launch as the page is, at the host and port of `address.choose`, until stopped.

        Raises:
            UserError: for a port that is taken.
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
        # `block_thread` would leave open the connections of visitors who are still there, wait for
        # them in vain, and end before gradio has deleted its files.
        self.close()
        if self.kept is not None:
            self.kept.close()
