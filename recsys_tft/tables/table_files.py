"""Locations of a table: its files, the columns in its folder names, and the entries that are not read.

docs/input.md has the rules. A path is a glob only if it does not exist.
"""

import dataclasses
import re
import urllib.parse
from collections.abc import Iterable, Sequence

from recsys_tft.errors import InputError
from recsys_tft.storage.files import is_local, open_to_read
from recsys_tft.tables import local_folders, stored_folders
from recsys_tft.tables.local_folders import is_hidden
from recsys_tft.tables.sources import CSV, PARQUET, Entry, Keys, TableFile

_FORMATS = {".parquet": PARQUET, ".pq": PARQUET, ".parq": PARQUET, ".csv": CSV, ".tsv": CSV}
_FORMATS |= {".csv.gz": CSV, ".tsv.gz": CSV}
_NO_EXTENSION = re.compile(r"[^.]+|part-\d+[^.]*\.c\d+")  # as BigQuery and Spark name files
_NOTHING = "__HIVE_DEFAULT_PARTITION__"  # the folder of rows without the key
_LOG = re.compile(r"(.+/)?(_delta_log|\.hoodie)(?=/|$)|.+/metadata(?=/[^/]+\.metadata\.json$)")  # Delta, Hudi, Iceberg
_TOLD = "(a log of the table, by which files may have been replaced or deleted; all files are read: export the table)"
_SHOWN = 8  # names in a list, before the rest is only counted


class NoTable(InputError):
    """A data folder has no file of a table.

    Args:
        data_dir: the folder.
        table: the name.
        hint: a sentence on what may be meant as the table; empty if nothing is.
    """

    def __init__(self, data_dir: str, table: str, hint: str):
        super().__init__(
            f"{data_dir}: found no table {table}; expected {table}.parquet or {table}.csv, or a folder {table}/ of "
            f"Parquet or CSV files.{hint}"
        )
        self.hint = hint


@dataclasses.dataclass(frozen=True)
class Found:
    """The files of a table in order, and the names of entries that are not read."""

    files: tuple[TableFile, ...]
    unread: tuple[str, ...] = ()


def find(data_dir: str, table: str) -> Found:
    """The files of one table.

    Raises:
        InputError: if the folder does not exist, or has the table twice; NoTable if it has none.
    """
    files, unread = [], []
    for folder, entries in _listed(data_dir, table):
        of_folder, others = _table_files(folder, table, entries, _matched(data_dir, folder))
        files += of_folder
        unread += others
    if files:
        return Found(tuple(sorted(files, key=lambda file: file.path)), tuple(unread))
    there = f" There is {listed(unread)}, which is not read." if unread else ""
    there = there or (local_folders.similar(data_dir, table) if is_local(data_dir) else "")
    raise NoTable(data_dir, table, there)


def listed(names: Sequence[str]) -> str:
    """`a, b, c`, shortened if there are many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _listed(data_dir: str, table: str) -> list[tuple[str, list[Entry]]]:
    """The entries of each data folder whose names begin with the table's."""
    if is_local(data_dir):
        return local_folders.entries(data_dir, table)
    return stored_folders.entries(data_dir.rstrip("/"), table)


def _matched(data_dir: str, folder: str) -> list[str]:
    """The parts of a folder's path that match a pattern, whose keys are columns too."""
    pairs = zip(data_dir.rstrip("/").split("/"), folder.rstrip("/").split("/"), strict=False)
    return [part for pattern, part in pairs if pattern != part]


def _table_files(
    folder: str, table: str, entries: Iterable[Entry], above: Sequence[str]
) -> tuple[list[TableFile], list[str]]:
    """The files of a table in a folder, and names of the other entries.

    Raises:
        InputError: if the table exists twice.
    """
    by_place: dict[str, list[Entry]] = {}
    for entry in entries:
        by_place.setdefault(_place(table, entry.name), []).append(entry)
    unread = [_entry_text(entry) for entry in by_place.pop("", [])]
    files_by_place: dict[str, list[TableFile]] = {}
    for place in sorted(by_place, key=lambda name: (name.endswith("-*"), name.endswith("/"), name)):
        files, others = _data_files(folder, by_place[place], above)
        unread += others
        files_by_place |= {place: files} if files else {}
    if len(files_by_place) > 1:
        first, second = (min(file.path for file in files) for files in list(files_by_place.values())[:2])
        raise InputError(f"{folder}: the table {table} exists twice, as {first} and {second}.")
    return next(iter(files_by_place.values()), []), sorted(unread)


def _place(table: str, name: str) -> str:
    """The layout of the table that an entry belongs to: a file, a folder, a name with `-`."""
    head, is_below, _ = name.partition("/")
    stem, kind = _format(head)
    if is_below:
        return f"{head}/" if head == table or (stem == table and kind) else ""
    if kind and stem == table:
        return head
    return f"{table}-*" if kind and stem.startswith(f"{table}-") else ""


def _format(name: str) -> tuple[str, str | None]:
    """A name without its extension, and the format of that; None for an unknown extension."""
    for extension in sorted(_FORMATS, key=len, reverse=True):
        if name.lower().endswith(extension):
            return name[: -len(extension)], _FORMATS[extension]
    return name, None


def _data_files(folder: str, entries: Iterable[Entry], above: Sequence[str]) -> tuple[list[TableFile], list[str]]:
    """The Parquet files of one layout, or else its CSV files; and names of the others."""
    files: dict[str, list[TableFile]] = {PARQUET: [], CSV: []}
    unread, logs = [], set()
    for entry in entries:
        if log := _LOG.match(entry.name):
            logs.add(f"{log[0]}/ {_TOLD}")
        *folders, name = entry.name.split("/")
        if not name or name.endswith("_$folder$") or is_hidden(name):
            continue
        hidden = [part for part in folders if is_hidden(part)]
        if hidden and not any("=" in part for part in hidden):
            continue
        path = f"{folder.rstrip('/')}/{entry.name}" if folder.strip("/") else f"{folder}{entry.name}"
        kind = None if hidden or entry.fault else _kind(path, name, entry.size, alone=not folders)
        if kind is None:
            unread.append(_entry_text(entry))
        else:
            if _shown(path) != path:
                raise InputError(f"{_shown(path)}: the name is not UTF-8; rename it.")
            files[kind].append(TableFile(path, entry.size, kind, _keys([*above, *folders[1:]])))
    if files[PARQUET]:
        unread += [f"{file.path.removeprefix(folder).lstrip('/')} (beside Parquet files)" for file in files[CSV]]
    return files[PARQUET] or files[CSV], [*unread, *logs]


def _kind(path: str, name: str, size: int, alone: bool) -> str | None:
    """The format of a file; None for an empty one in a folder, which may be unfinished."""
    if not size and not alone:
        return None
    _, kind = _format(name)
    return PARQUET if kind is None and _NO_EXTENSION.fullmatch(name) and _is_parquet(path) else kind


def _is_parquet(path: str) -> bool:
    try:
        with open_to_read(path) as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None


def _keys(folders: Sequence[str]) -> Keys:
    pairs = (map(urllib.parse.unquote, folder.split("=", 1)) for folder in folders if "=" in folder)
    return tuple((name, None if value in ("", _NOTHING) else value) for name, value in pairs)


def _entry_text(entry: Entry) -> str:
    fault = entry.fault or ("0 bytes" if not entry.size else "")
    return f"{_shown(entry.name)} ({fault})" if fault else _shown(entry.name)


def _shown(path: str) -> str:
    """A path with an escape in the place of each byte that is not UTF-8."""
    return path.encode(errors="backslashreplace").decode()
