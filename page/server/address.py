"""Where the page listens, and that no proxy is asked for it.

Host and port are gradio's own settings, GRADIO_SERVER_NAME and GRADIO_SERVER_PORT. They are read
here alone: gradio, which is told them, would read them when it is imported, where what is wrong
with them is a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

from flowers_model.errors import UserError

NAME, PORT, ROOT = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "GRADIO_ROOT_PATH"
HOST = "127.0.0.1"  # this machine alone
PORTS = range(7860, 7960)  # of which the first free one is taken, where none is named
_NO_PROXY = ("no_proxy", "NO_PROXY")

# Read by gradio when it is imported; without it, every start would be reported to its makers.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
_given = {name: os.environ.pop(name, "") for name in (NAME, PORT)}


def choose(name: str | None = None, port: str | None = None) -> tuple[str, int]:
    """The host and the port to listen on, as `gr.Blocks.launch` takes them.

    Args:
        name: what GRADIO_SERVER_NAME says: an address or a name of this machine; by default what it
            said when this module was imported. IPv6 may stand in brackets.
        port: the same of GRADIO_SERVER_PORT.

    Raises:
        UserError: for a host that is not this machine's, a port that is none, and one on which
            nothing can listen; and for a GRADIO_ROOT_PATH that is no path.
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
    """The error of a port on which nothing can listen; by default the one of the environment."""
    place = port or _given[PORT] or f"{PORTS[0]}, nor on the {len(PORTS) - 1} after it"
    return UserError(f"cannot listen on port {place}: taken, or not allowed; set {PORT} to another")


@contextlib.contextmanager
def without_proxies() -> Iterator[None]:
    """Use no proxy meanwhile: gradio asks its own address when it starts.

    HTTP clients are made for all proxies at once, so that a SOCKS proxy without the package for it
    would keep gradio from being imported.
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
    """Have no proxy asked for this host and this machine from now on, as tools of MCP would."""
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
    """Listen for a moment; OSError where that cannot be."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as one:
            if os.name == "posix":  # as servers do; on Windows it would let two share a port
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
