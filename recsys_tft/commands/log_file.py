"""`--log-file`: output of a command and logs of libraries, with times and levels."""

import argparse
import contextlib
import logging
import shlex
import time
import warnings
from collections.abc import Iterator, Sequence

from recsys_tft import libraries
from recsys_tft.errors import UsageError, reason, redacted

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
LOGGER = logging.getLogger("recsys_tft")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--log-file", metavar="FILE", help="also append a log with times and levels, including that of libraries"
    )


class _Redacted(logging.Formatter):
    """Hides secrets, in tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


@contextlib.contextmanager
def logging_to(path: str | None, arguments: Sequence[str]) -> Iterator[None]:
    """Append the log of a command to a file while the block runs.

    Raises:
        UsageError: if the file cannot be written.
    """
    if path is None:
        yield
        return
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--log-file is {path}, which cannot be written: {reason(error)}.") from None
    handler.setFormatter(_Redacted(_FORMAT))
    root, began = logging.getLogger(), time.monotonic()
    level, disabled = root.level, root.manager.disable
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.disable(logging.NOTSET)
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    LOGGER.info("recsys-tft %s", shlex.join(arguments))
    try:
        with libraries.noise_in(path):
            yield
    finally:
        LOGGER.info("Ended after %.1f s", time.monotonic() - began)
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()
        root.setLevel(level)
        logging.disable(disabled)
