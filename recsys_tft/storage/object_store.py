"""Folders on object stores such as Cloud Storage, where a folder is a prefix of names.

Folders cannot be moved atomically. All functions here are idempotent, and may run on two workers at a time.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

_THREADS, _AT_A_TIME = 16, 100  # requests at a time; objects of a request, the limit of Cloud Storage


def below(folder: str, limit: int | None = None) -> list[str]:
    """All objects below a folder, by name."""
    return sorted(sizes_below(folder, limit))


def sizes_below(folder: str, limit: int | None = None) -> dict[str, int]:
    """The bytes of all objects below a folder."""
    pattern = f"{_literally(folder)}/**"
    return {entry.path: entry.size_in_bytes for entry in FileSystems.match([pattern], [limit])[0].metadata_list}


def folders_with(folder: str, file: str) -> list[str]:
    """The names of the folders in a folder that have a file, by its path in them; in order."""
    entries = FileSystems.match([f"{_literally(folder)}/*/{file}"])[0].metadata_list
    return sorted(entry.path.removeprefix(f"{folder.rstrip('/')}/").partition("/")[0] for entry in entries)


def _literally(folder: str) -> str:
    """A pattern that matches only this folder."""
    return re.sub(r"([*?[])", r"[\1]", folder.rstrip("/"))


def move(moves: Sequence[tuple[str, str]]) -> None:
    """Rename objects, (from, to) each; missing ones have been renamed before."""
    _in_batches(moves, lambda batch: FileSystems.rename(*map(list, zip(*batch, strict=True))), lambda move: move[0])


def delete(paths: Sequence[str]) -> None:
    """Remove objects; missing ones have been removed before."""
    _in_batches(paths, FileSystems.delete, lambda path: path)


def _in_batches(items: Sequence[Any], act: Callable[[list[Any]], None], source: Callable[[Any], str]) -> None:
    """Apply `act` to several items at once; if that fails, to each one whose source still exists."""

    def one_batch(batch: list[Any]) -> None:
        try:
            act(batch)
        except BeamIOError:
            for item in batch:
                if FileSystems.exists(source(item)):
                    act([item])

    batches = [list(items[start : start + _AT_A_TIME]) for start in range(0, len(items), _AT_A_TIME)]
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one_batch, batches))
