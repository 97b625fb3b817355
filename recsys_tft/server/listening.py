"""The server as a process: a socket, Uvicorn, and an end that leaves no request without an answer."""

import contextlib
import ipaddress
import os
import socket
import sys
import traceback
from collections.abc import Callable

from recsys_tft.errors import InputError, reason
from recsys_tft.faults import sentence_for

_GRACE = 30  # seconds that requests have to end in
_KEPT = 75  # seconds of silence after which a connection is closed: longer than those of proxies, 60 as a rule
_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: if the address cannot be listened at.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        why = os.strerror(number) if number and number > 0 else reason(error)  # else of a name: no such host
        raise InputError(f"{address(host, port)} cannot be listened at ({why}).") from None


def address(host: str, port: int) -> str:
    """As a browser takes it."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_local(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def complain(debug: bool) -> Callable[[str, BaseException], None]:
    """What prints to stderr what has gone wrong: a sentence, or else the whole traceback."""

    def say(what: str, error: BaseException) -> None:
        why = sentence_for(error) or f"{type(error).__name__}: {reason(error)}"
        print(f"error: {what}: {why}", file=sys.stderr, flush=True)
        if debug:
            traceback.print_exception(error)

    return say


def serve(application: Callable, listening: socket.socket) -> None:
    """Serves until SIGTERM or Ctrl-C; what has been asked by then is answered."""
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
    with contextlib.suppress(KeyboardInterrupt):  # Uvicorn has ended by then, and raises the signal again
        uvicorn.Server(config).run(sockets=[listening])
