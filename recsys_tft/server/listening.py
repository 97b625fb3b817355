"""The server as a process: a socket, Uvicorn, and a graceful shutdown."""

import contextlib
import ipaddress
import os
import socket
import sys
import traceback
from collections.abc import Callable

from recsys_tft.errors import InputError, reason
from recsys_tft.faults import sentence_for

_GRACE = 30  # seconds for running requests at shutdown
_KEPT = 75  # keep-alive in seconds: longer than that of proxies, usually 60
_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Raises:
        InputError: if the address cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        why = os.strerror(number) if number and number > 0 else reason(error)  # otherwise a name: no such host
        raise InputError(f"{address(host, port)}: cannot listen there ({why}).") from None


def address(host: str, port: int) -> str:
    """The URL for a browser."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_local(host: str) -> bool:
    """Whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def complain(debug: bool) -> Callable[[str, BaseException], None]:
    """A function that prints errors to stderr as a sentence; in debug mode with the traceback."""

    def say(what: str, error: BaseException) -> None:
        why = sentence_for(error) or f"{type(error).__name__}: {reason(error)}"
        print(f"error: {what}: {why}", file=sys.stderr, flush=True)
        if debug:
            traceback.print_exception(error)

    return say


def serve(application: Callable, listening: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C; running requests are answered."""
    import uvicorn

    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=_KEPT,
    )
    with contextlib.suppress(KeyboardInterrupt):  # Uvicorn has ended, and raises the signal again
        uvicorn.Server(config).run(sockets=[listening])
