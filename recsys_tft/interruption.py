"""SIGTERM, from `docker stop`, Kubernetes or `timeout`, ends a command like Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM  # as shells report it


class Terminated(KeyboardInterrupt):
    """The process was asked to end."""


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Raise Terminated in the main thread at the first SIGTERM; cleaning up is not interrupted again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    terminated = False

    def end(number: int, _: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        signal.signal(number, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt as error:
        if not terminated or isinstance(error, Terminated):
            raise
        again = Terminated()  # CatBoost turns errors of callbacks into KeyboardInterrupt
        for note in getattr(error, "__notes__", []):
            again.add_note(note)
        raise again from error
    finally:
        signal.signal(signal.SIGTERM, before)


def sentence(error: KeyboardInterrupt) -> str:
    """The message of an interrupted command: how it ended, and what is left."""
    how = "ended by SIGTERM" if isinstance(error, Terminated) else "interrupted"
    return "; ".join([how, *getattr(error, "__notes__", [])]) + "."
