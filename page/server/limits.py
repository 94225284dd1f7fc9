"""How much a visitor may ask of the server: beyond each limit stands a clear message."""

from __future__ import annotations

import collections
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowers_model.errors import UserError
from page import words

MEGABYTE = 1024 * 1024
FILE = 50 * MEGABYTE  # one photo, or the body of one request
UPLOAD = 10 * FILE  # many photos in one upload of gradio's, which go to disk
REQUESTS = 120  # of one client in a minute
QUEUE = 60  # events of the page that wait
WAITING = 100  # photos of the API that wait
THREADS = 4  # photos that are looked at side by side; a large one takes a gigabyte meanwhile
# Where a Space's requests come from: its proxies, which tell whom they speak for.
PROXIES = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"


class BusyError(UserError):
    """More photos wait than may."""


class Workers:
    """A few threads for photos, before which a bounded number of them waits."""

    def __init__(self, threads: int, waiting: int):
        self._pool = ThreadPoolExecutor(threads, "photos")
        self._places = threading.Semaphore(threads + waiting)

    def submit(self, work: Callable, *arguments) -> Future:
        """Have a thread do `work(*arguments)`.

        Raises:
            BusyError: where too many wait already.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError("too many photos are waiting already; try again in a moment")
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(lambda _: self._places.release())
        return future


class Limits:
    """ASGI middleware: the size of a request, and the requests of one client in a minute.

    Only POST counts: all that makes the server work is one.
    """

    def __init__(self, app: ASGIApp, requests: int = REQUESTS):
        self.app = app
        self.requests = requests
        self.seen: collections.Counter[str] = collections.Counter()
        self.until = 0.0  # when the minute is over, and all begin anew

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        largest = UPLOAD if scope["path"].endswith("/upload") else FILE
        say = words.of(Request(scope))
        too_large = say("upload_too_large", most=largest // MEGABYTE)
        length = dict(scope["headers"]).get(b"content-length", b"")
        if wait := self._wait((scope.get("client") or ("",))[0]):
            message = say("too_often", most=self.requests, count=wait)
            await _refuse(429, message, {"Retry-After": str(wait)}, scope, receive, send)
        elif length.isdigit() and int(length) > largest:
            await _refuse(413, too_large, {}, scope, receive, send)
        else:
            taken = 0

            async def counted() -> Message:
                nonlocal taken
                message = await receive()
                taken += len(message.get("body", b""))
                if taken > largest:
                    raise HTTPException(413, too_large)
                return message

            await self.app(scope, counted, send)

    def _wait(self, client: str) -> int:
        """Count a request; the seconds that the client must wait, 0 for none."""
        now = time.monotonic()
        if now >= self.until:
            self.seen.clear()
            self.until = now + 60
        self.seen[client] += 1
        allowed = not self.requests or self.seen[client] <= self.requests
        return 0 if allowed else math.ceil(self.until - now)


async def _refuse(
    status: int, message: str, headers: dict, scope: Scope, receive: Receive, send: Send
) -> None:
    # What is on its way is read first, within reason: many clients look for an answer only then.
    left = UPLOAD
    while left > 0:
        part = await receive()
        left -= len(part.get("body", b""))
        if not part.get("more_body"):
            break
    # gradio's clients show `detail`.
    answer = JSONResponse({"error": message, "detail": message}, status, headers)
    await answer(scope, receive, send)


def trust_proxies() -> None:
    """On a Space, have uvicorn take a client's address from the proxies before it."""
    if os.environ.get("SPACE_ID"):
        os.environ.setdefault("FORWARDED_ALLOW_IPS", PROXIES)
