"""Files of a data folder on a Beam filesystem, most of which are object stores without folders."""

import re
from collections.abc import Iterable

from recsys_tft.errors import InputError
from recsys_tft.tables.sources import Entry


def entries(data_dir: str, table: str) -> list[tuple[str, list[Entry]]]:
    """The entries of each data folder whose names begin with a table's; if there are none, the folder may be a glob.

    Raises:
        InputError: if the filesystem is unknown or cannot be reached.
    """
    files = _below(f"{_literally(data_dir)}/{table}")
    if not files and re.search(r"[*?[]", data_dir):
        files = _below(f"{data_dir}/{table}")
        depth = data_dir.count("/") + 1  # a glob has as many parts as its matches
        folders: dict[str, list[Entry]] = {}
        for path, size in files:
            parts = path.split("/")
            folders.setdefault("/".join(parts[:depth]), []).append(Entry("/".join(parts[depth:]), size))
        return sorted(folders.items())
    return [(data_dir, [Entry(path.removeprefix(data_dir).lstrip("/"), size) for path, size in files])]


def _literally(path: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", path)


def _below(prefix: str) -> list[tuple[str, int]]:
    from apache_beam.io.filesystem import BeamIOError
    from apache_beam.io.filesystems import FileSystems

    try:
        if not FileSystems.get_filesystem(prefix).has_dirs():
            return _match([f"{prefix}**"])
        files, waiting = [], [f"{prefix}*"]
        while waiting:  # such a filesystem lists one folder at a time
            listed = _match(waiting)
            files += listed
            waiting = [
                f"{_literally(path.rstrip('/'))}/*" for path, size in listed if not size and _may_be_folder(path)
            ]
        return [(path, size) for path, size in files if size]
    except (BeamIOError, ValueError) as error:
        raise InputError(f"{prefix}: cannot be read ({' '.join(str(error).split()).rstrip('.')}).") from None


def _may_be_folder(path: str) -> bool:
    """Whether an empty name may be a folder; listing anything else is an error there."""
    return "." not in path.rstrip("/").rpartition("/")[2].partition("=")[0]


def _match(patterns: Iterable[str]) -> list[tuple[str, int]]:
    from apache_beam.io.filesystems import FileSystems

    matches = FileSystems.match(list(patterns))
    return sorted((entry.path, entry.size_in_bytes) for match in matches for entry in match.metadata_list)
