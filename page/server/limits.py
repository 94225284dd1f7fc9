"""Limits on what visitors may ask of the server, each with a clear message."""

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
REQUESTS = 120  # per client and minute
QUEUE = 60  # waiting events of the page
WAITING = 100  # waiting photos of the API
THREADS = 4  # photos that are decoded at the same time; a large one takes a gigabyte of memory
# The proxies of a Space, which pass on the address of a client.
PROXIES = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"


class BusyError(UserError):
    """Too many photos are waiting."""


class Workers:
    """A few threads for photos, with a queue of limited length."""

    def __init__(self, threads: int, waiting: int):
        self._pool = ThreadPoolExecutor(threads, "photos")
        self._places = threading.Semaphore(threads + waiting)

    def submit(self, work: Callable, *arguments) -> Future:
        """Run `work(*arguments)` in a thread.

        Raises:
            BusyError: if the queue is full.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError("too many photos are waiting already; try again in a moment")
        future = self._pool.submit(work, *arguments)
        future.add_done_callback(lambda _: self._places.release())
        return future


class Limits:
    """ASGI middleware that limits the size of requests, and their number per client and minute.

    Only POST requests count, because all expensive requests are POST.
    """

    def __init__(self, app: ASGIApp, requests: int = REQUESTS):
        self.app = app
        self.requests = requests
        self.seen: collections.Counter[str] = collections.Counter()
        self.until = 0.0  # when the minute ends and all counts start again

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
        """Count a request; returns the seconds that the client must wait, or 0."""
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
    # Read the request first, within limits: many clients read an answer only after sending all.
    left = UPLOAD
    while left > 0:
        part = await receive()
        left -= len(part.get("body", b""))
        if not part.get("more_body"):
            break
    # gradio's clients show the field `detail`.
    answer = JSONResponse({"error": message, "detail": message}, status, headers)
    await answer(scope, receive, send)


def trust_proxies() -> None:
    """On a Space, let uvicorn take a client's address from the proxies in front of it."""
    if os.environ.get("SPACE_ID"):
        os.environ.setdefault("FORWARDED_ALLOW_IPS", PROXIES)
