"""Folders of filesystems that have none, such as Cloud Storage: a folder is what the names of its objects begin with.

Nothing moves a folder at once there. Everything here can be repeated from the beginning, and by two workers at a time.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

_THREADS, _AT_A_TIME = 16, 100  # requests at a time, and objects in one, which is as many as Cloud Storage takes


def below(folder: str, limit: int | None = None) -> list[str]:
    """The objects in a folder and the folders in it, by name."""
    return sorted(sizes_below(folder, limit))


def sizes_below(folder: str, limit: int | None = None) -> dict[str, int]:
    """The bytes of the same objects."""
    pattern = f"{_literally(folder)}/**"
    return {found.path: found.size_in_bytes for found in FileSystems.match([pattern], [limit])[0].metadata_list}


def folders_with(folder: str, file: str) -> list[str]:
    """The names of the folders in a folder that hold a file, by its path in them; in order."""
    found = FileSystems.match([f"{_literally(folder)}/*/{file}"])[0].metadata_list
    return sorted(each.path.removeprefix(f"{folder.rstrip('/')}/").partition("/")[0] for each in found)


def _literally(folder: str) -> str:
    """A pattern that stands for a folder alone."""
    return re.sub(r"([*?[])", r"[\1]", folder.rstrip("/"))


def move(moves: Sequence[tuple[str, str]]) -> None:
    """Rename objects, (from, to) each; those that are not there any more have been renamed before."""
    _in_batches(moves, lambda batch: FileSystems.rename(*map(list, zip(*batch, strict=True))), lambda move: move[0])


def delete(paths: Sequence[str]) -> None:
    """Remove objects; those that are not there any more have been removed before."""
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
