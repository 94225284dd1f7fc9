"""The host and port of the page, and access to it without a proxy.

Host and port are gradio's own settings, GRADIO_SERVER_NAME and GRADIO_SERVER_PORT. They are read
here and passed to gradio: gradio itself reads them when it is imported, and ends in a traceback if
they are wrong.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

from flowers_model.errors import UserError

NAME, PORT, ROOT = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "GRADIO_ROOT_PATH"
HOST = "127.0.0.1"  # only this machine
PORTS = range(7860, 7960)  # the first free one is used if none is set
_NO_PROXY = ("no_proxy", "NO_PROXY")

# gradio reads it when it is imported; without it, gradio reports every start to its makers.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
_given = {name: os.environ.pop(name, "") for name in (NAME, PORT)}


def choose(name: str | None = None, port: str | None = None) -> tuple[str, int]:
    """The host and the port to listen on, for `gr.Blocks.launch`.

    Args:
        name: an address or a name of this machine; by default the value of GRADIO_SERVER_NAME when
            this module was imported. IPv6 addresses may be in brackets.
        port: the port; by default the value of GRADIO_SERVER_PORT.

    Raises:
        UserError: if the host is not this machine, if the port is invalid or cannot be used, or if
            GRADIO_ROOT_PATH is not a path.
    """
    root = os.environ.get(ROOT, "")
    if root and not root.startswith(("/", "http://", "https://")):
        raise UserError(f"{ROOT} is {root!r}: give a path that begins with /, or an address")
    name, port = name or _given[NAME], port or _given[PORT]
    host = name.strip().removeprefix("[").removesuffix("]") or HOST
    ports = PORTS if not port else [_number(port)]
    for number in ports:
        try:
            _try(host, number)
        except (OSError, UnicodeError) as error:
            if getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES):
                continue
            raise UserError(
                f"{NAME} is {name!r}, which is no address of this machine: leave it out to be seen "
                "from this machine alone, or give 0.0.0.0, or :: for IPv6, to be seen from all"
            ) from error
        return (f"[{host}]" if ":" in host else host), number
    raise taken(port)


def taken(port: str | None = None) -> UserError:
    """The error for a port that cannot be used; by default that of the environment."""
    place = port or _given[PORT] or f"{PORTS[0]}, nor on the {len(PORTS) - 1} after it"
    return UserError(f"cannot listen on port {place}: taken, or not allowed; set {PORT} to another")


@contextlib.contextmanager
def without_proxies() -> Iterator[None]:
    """A context without proxies: gradio requests its own address when it starts.

    HTTP clients are set up for all proxies at once, so a SOCKS proxy without the package for it
    would make the import of gradio fail.
    """
    kept = {name: os.environ.get(name) for name in _NO_PROXY}
    os.environ.update(dict.fromkeys(_NO_PROXY, "*"))
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def never_by_proxy(host: str) -> None:
    """From now on, use no proxy for this host and this machine, as the tools of MCP would."""
    kept = next((os.environ[name] for name in _NO_PROXY if os.environ.get(name)), "")
    own = ("localhost", HOST, "::1", host.strip("[]"))
    hosts = dict.fromkeys(filter(None, (*kept.split(","), *own)))
    os.environ.update(dict.fromkeys(_NO_PROXY, ",".join(hosts)))


def _number(port: str) -> int:
    try:
        if 1 <= int(port) <= 65535:
            return int(port)
    except ValueError:
        pass
    kubernetes = "; Kubernetes sets it so for a service called gradio-server"
    raise UserError(
        f"{PORT} is {port!r}: give a number from 1 to 65535"
        + (kubernetes if port.startswith("tcp://") else "")
    )


def _try(host: str, port: int) -> None:
    """Listen for a moment; raises OSError if that fails."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as one:
            if (
                os.name == "posix"
            ):  # as servers do; on Windows this would let two servers share a port
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
