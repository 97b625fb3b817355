"""Checks paths given by users, local or on a filesystem of Beam, before anything large is loaded."""

import functools
import importlib.util
import pathlib
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar, cast

from recsys_tft.errors import InputError, UsageError, reason

Result = TypeVar("Result")
PATIENCE = 8.0  # seconds for a filesystem to answer; clients of Cloud Storage try for two minutes
# By scheme: a module of the filesystem, and the extra of apache-beam that installs it.
_FILESYSTEMS = {"gs": ("google.cloud.storage", "gcp"), "s3": ("boto3", "aws"), "hdfs": ("hdfs", "hadoop"),
                "azfs": ("azure.storage.blob", "azure")}  # fmt: skip


def scheme(place: str) -> str | None:
    """The part before `://`; None for a local path."""
    return place.partition("://")[0] if "://" in place else None


def check(option: str, place: str | None) -> None:
    """Refuse a path on an unknown filesystem.

    Args:
        option: that has the path, for the error.
        place: a path, local or with a scheme; None: not given.

    Raises:
        UsageError: naming the option and what is needed.
    """
    if place is None:
        return
    if not place.strip() or "\0" in place:
        raise UsageError(f"{option} is {place!r}; expected the name of a folder or file.")
    try:
        place.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{option} is {place!r}, which is not UTF-8; rename it.") from None
    scheme_ = scheme(place)
    if scheme_ is None:
        return
    rest = place.partition("://")[2]
    if scheme_ == "file":
        raise UsageError(f"{option} is '{place}'; write only the path: /{rest.lstrip('/')}.")
    if scheme_ not in _FILESYSTEMS and scheme_ not in _registered():
        known = ", ".join(f"{name}://" for name in _FILESYSTEMS)
        raise UsageError(f"{option} is '{place}'; {scheme_}:// is not a filesystem of Beam; expected one of {known}.")
    if scheme_ in _FILESYSTEMS and not _is_installed(module := _FILESYSTEMS[scheme_][0]):
        package = f"pip install 'apache-beam[{_FILESYSTEMS[scheme_][1]}]'"
        raise UsageError(f"{option} is '{place}'; {scheme_}:// needs the package {module}: run `{package}`.")
    if not rest.strip("/") or (rest.startswith("/") and scheme_ != "hdfs"):
        raise UsageError(f"{option} is '{place}'; expected the name of a bucket, such as {scheme_}://bucket/folder.")


def _registered() -> set[str | None]:
    """Schemes of filesystems that are registered with Beam, if it is loaded."""
    beam = sys.modules.get("apache_beam.io.filesystem")
    return {kind.scheme() for kind in beam.FileSystem.get_all_subclasses()} if beam else set()


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package above it
        return False


def check_data(place: str) -> None:
    """Refuse a local folder of raw tables that does not exist.

    Raises:
        InputError: if it is neither a folder nor a pattern that matches one.
    """
    check("--data-dir", place)
    is_pattern = any(character in place for character in "*?[")
    if pathlib.Path(place).is_file():
        raise InputError(f"{place}: is a file; expected the folder with the four tables.")
    if not (scheme(place) or is_pattern or pathlib.Path(place).is_dir()):
        raise InputError(f"{place}: there is no such folder.")


def reach(places: Iterable[str]) -> None:
    """Query all buckets at once, so that one that does not answer is reported within PATIENCE.

    Raises:
        InputError: naming the place and why it cannot be reached.
    """
    remote = sorted({place for place in places if scheme(place)})
    waiting = [_Asked(place, functools.partial(_listed, place)) for place in remote]
    for one in waiting:
        one.result()


def answered(place: str, ask: Callable[[], Result]) -> Result:
    """Call `ask` about a place; an InputError passes unchanged.

    Raises:
        InputError: if there is no answer within PATIENCE.
    """
    return _Asked(place, ask).result()


class _Asked(Generic[Result]):
    """A query of a path, on a thread that is abandoned if it does not answer."""

    def __init__(self, place: str, ask: Callable[[], Result]):
        self._place, self._ask = place, ask
        self._found: Result | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._ask()
        except Exception as error:  # raised in `result`
            self._error = error

    def result(self) -> Result:
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise InputError(
                f"{self._place}: no answer within {PATIENCE:.0f} s; check the network, the proxies and the "
                "credentials of this machine."
            )
        if self._error is not None:
            raise self._error
        return cast(Result, self._found)


def _listed(place: str) -> None:
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.match([f"{place.rstrip('/')}/*"], [1])
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: cannot be reached ({reason(error)}).") from error
