"""Files and folders on this machine or on any Beam filesystem.

Local files are accessed without Beam, which would read some characters in names as patterns.
"""

import io
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any, BinaryIO

_BUFFER = 1 << 20  # bytes of a write
_KEPT = 1 << 25  # most bytes of a new file in the page cache

STAGING, SCRATCH = ".staging", "scratch"  # where a run writes, and its temporary files


def is_local(path: str) -> bool:
    """Whether a path is on this machine, without importing Beam."""
    return "://" not in path


def _filesystems() -> Any:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def _object_store() -> ModuleType:
    from recsys_tft.storage import object_store

    return object_store


def exists(path: str) -> bool:
    """Whether a file or folder exists; on an object store a folder exists if it has any object."""
    if is_local(path):
        return pathlib.Path(path).exists()
    if _filesystems().exists(path):
        return True
    return bool(_object_store().below(path, limit=1))


def sizes(folder: str) -> dict[str, int]:
    """The files in a folder by name, with their sizes; none if there is no folder."""
    if is_local(folder):
        sizes_by_name = {path.name: path.stat().st_size for path in pathlib.Path(folder).glob("*")}
    else:
        sizes_by_name = {path.rpartition("/")[2]: size for path, size in _object_store().sizes_below(folder).items()}
    return dict(sorted(sizes_by_name.items()))


def files_below(folder: str) -> list[str]:
    """The paths of all files below a folder, in order."""
    if is_local(folder):
        return sorted(str(path) for path in pathlib.Path(folder).rglob("*") if path.is_file())
    return [path for path in _object_store().below(folder) if not path.endswith("/")]


def folders_with(folder: str, file: str) -> list[str]:
    """The names of the folders in a folder that have a file, by its path in them; in order."""
    if is_local(folder):
        return sorted(path.name for path in pathlib.Path(folder).glob("*/") if (path / file).exists())
    return _object_store().folders_with(folder, file)


def delete(path: str) -> None:
    """Remove a file or folder, if it exists; of a link only the link."""
    if not is_local(path):
        _object_store().delete([*([path] if _filesystems().exists(path) else []), *_object_store().below(path)])
    elif pathlib.Path(path).is_dir() and not pathlib.Path(path).is_symlink():
        shutil.rmtree(path)
    else:
        pathlib.Path(path).unlink(missing_ok=True)


def write_file(path: str, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file, which then appears atomically.

    Several attempts at the same staged file, some of which may be late or die, leave one file and nothing else: each
    writes to a path of its own, in the scratch folder of the run.
    """
    root, staging, _ = path.rpartition(f"/{STAGING}/")
    beside = f"{root}{staging}{SCRATCH}/" if staging else f"{path}."
    with open_to_write(beside := beside + uuid.uuid4().hex) as file:
        write(file)
    if is_local(path):
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(beside).replace(path)
    else:
        _filesystems().rename([beside], [path])


def copy_folder(folder: str, to: str) -> None:
    """Copy all files below a folder."""
    for path in files_below(folder):
        copy(path, f"{to}{path.removeprefix(folder)}")


def copy(path: str, to: str) -> None:
    """Copy a file between any filesystems."""
    with open_to_read(path) as source:
        write_file(to, lambda file: shutil.copyfileobj(source, file, _BUFFER))


def open_to_write(path: str) -> BinaryIO:
    """A new file, and the folders above it."""
    if is_local(path):
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        return io.BufferedWriter(_LongFile(path, "wb"), _BUFFER)
    from apache_beam.io.filesystem import CompressionTypes

    return _filesystems().create(path, compression_type=CompressionTypes.UNCOMPRESSED)


class _LongFile(io.FileIO):
    """A new file that the system writes back at once, and drops from the page cache when it is on the disk.

    Otherwise it would fill all memory with pages that nobody reads soon; fresh pages cost several times as much as the
    copy on a virtual machine, and the writer has to wait in the end all the same.
    """

    def __init__(self, path: str, mode: str):
        super().__init__(path, mode)
        self._written = self._told = 0

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        self._written += written
        if self._written - self._told >= _KEPT and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.fileno(), 0, self._written, os.POSIX_FADV_DONTNEED)
            self._told = self._written
        return written


def open_to_read(path: str) -> BinaryIO:
    """A seekable file."""
    if is_local(path):
        return open(path, "rb")
    from apache_beam.io.filesystem import CompressionTypes

    return _filesystems().open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def write_text(path: str, text: str) -> None:
    """Write a text file."""
    write_file(path, lambda file: file.write(text.encode()))


def read_text(path: str) -> str:
    """A text file."""
    with open_to_read(path) as file:
        return file.read().decode()
