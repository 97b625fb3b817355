"""Files of a data folder on this machine, found without loading Beam."""

import difflib
import glob
import pathlib
from collections.abc import Iterator

from recsys_tft.errors import InputError
from recsys_tft.tables.sources import Entry


def entries(data_dir: str, table: str) -> list[tuple[str, list[Entry]]]:
    """The entries of each data folder whose names begin with a table's.

    A name is a glob only if there is no folder of that name.

    Raises:
        InputError: if there is no such folder, or one cannot be read.
    """
    if pathlib.Path(data_dir).is_dir():
        return [(data_dir, list(_walk(pathlib.Path(data_dir), table)))]
    if pathlib.Path(data_dir).exists():
        raise InputError(f"{data_dir}: is a file; expected the folder with the four tables.")
    folders = [path for path in sorted(glob.glob(data_dir)) if pathlib.Path(path).is_dir()]  # noqa: PTH207 as it is
    if not folders:
        raise InputError(f"{data_dir}: there is no such folder.")
    return [(folder, list(_walk(pathlib.Path(folder), table))) for folder in folders]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not data, but a writer's side file."""
    return name.startswith(("_", "."))


def _walk(root: pathlib.Path, table: str) -> Iterator[Entry]:
    """List the folder; links come last, so that a file is listed once, under its own path."""
    met, folders = {_identity(root)}, [root]
    links: list[pathlib.Path] = []
    follows = False  # whether only links are left, which may lead to what is there
    while folders or links:
        follows = follows or not folders
        path = folders.pop() if folders else links.pop(0)
        name = path.relative_to(root).as_posix()
        if path != root and path.is_symlink():
            if _identity(path) in met:
                yield Entry(name, path.stat().st_size, "a link to what is there")
                continue
            met.add(_identity(path))
        if path.is_file():
            yield Entry(name, path.stat().st_size)
            continue
        for child in _children(path):
            if path == root and not child.name.startswith(table):
                continue
            if not (child.is_dir() or child.is_file()):
                yield Entry(child.relative_to(root).as_posix(), 0, "no file")
            elif child.is_symlink():
                links.append(child)
            elif follows and _identity(child) in met:
                yield Entry(child.relative_to(root).as_posix(), child.stat().st_size, "a link to what is there")
            elif child.is_file() or not is_hidden(child.name) or "=" in child.name:
                met.add(_identity(child))
                folders.append(child)
            else:
                yield Entry(child.relative_to(root).as_posix(), 0, "hidden")


def _identity(path: pathlib.Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _children(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from None


def similar(data_dir: str, table: str) -> str:
    """A hint at a file or folder with a name similar to a table."""
    if not pathlib.Path(data_dir).is_dir():
        return ""
    if pathlib.Path(data_dir, table).is_dir():
        return f" The folder {table}/ has no data."
    there = {path.name.partition(".")[0].lower(): path.name for path in _children(pathlib.Path(data_dir))}
    close = difflib.get_close_matches(table, there, n=1, cutoff=0.75)
    return f" Is {there[close[0]]} meant?" if close else ""
