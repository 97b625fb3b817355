"""The output of a run: it appears whole or not at all.

A run writes into `.staging` beside its targets, on the same filesystem. Committing first writes a marker, which says
that the staged output is whole, then moves each target aside and the staged one into its place. A run that is killed
before the marker has changed nothing; one that is killed after it is finished by `resume`, at the next attempt or run.

On an object store, which moves no folder at once, the manifest goes first and comes last: where there is one, the
output that it describes is whole.
"""

import dataclasses
import os
import posixpath
import uuid
from collections.abc import Callable
from typing import BinaryIO

from recsys_tft.errors import InputError, reason

REPLACED = ("processed_data", "artifacts", "rejected")  # a new run's always take the place of the old ones
MANIFEST = "manifest.json"  # in artifacts
_STAGING, _OLD, _MARKER, _SCRATCH = ".staging", ".replaced", "complete", "scratch"


def _filesystems():
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def _object_store():
    from recsys_tft.storage import object_store

    return object_store


@dataclasses.dataclass(frozen=True)
class Output:
    """Where the parts of an output go.

    Attributes:
        targets: (name, folder) of processed_data, artifacts, rejected, and raw where the run makes it.
    """

    targets: tuple[tuple[str, str], ...]

    @classmethod
    def at(cls, output_dir: str, **elsewhere: str | None) -> "Output":
        """All parts in `output_dir`, but for those that are named: `artifacts="DIR"`."""
        names = (*REPLACED, "raw")
        return cls(tuple((name, elsewhere.get(name) or posixpath.join(output_dir, name)) for name in names))

    def target(self, name: str) -> str:
        """The folder of one part."""
        return dict(self.targets)[name].rstrip("/")

    def staged(self, name: str, *below: str) -> str:
        """The folder of one part before it is committed, or what lies below it."""
        return self._beside(name, _STAGING, posixpath.basename(self.target(name)), *below)

    def scratch(self, name: str, *below: str) -> str:
        """A folder for what a run needs while it makes a part, and which goes with the staging folder."""
        return self._beside(name, _STAGING, _SCRATCH, *below)

    @property
    def manifest(self) -> str:
        """The file that describes a whole output."""
        return posixpath.join(self.target("artifacts"), MANIFEST)

    def _beside(self, name: str, *below: str) -> str:
        return posixpath.join(posixpath.dirname(self.target(name)) or ".", *below)

    @property
    def _marker(self) -> str:
        return self._beside("processed_data", _STAGING, _MARKER)

    def begin(self, overwrite: bool, *also: str) -> None:
        """Finishes or clears away what a killed run left, and prepares the staging folders.

        Args:
            overwrite: whether an output that is there may be replaced.
            also: parts that the run makes besides those of REPLACED.

        Raises:
            InputError: if there is an output already and `overwrite` is not set, or a folder cannot be written.
        """
        try:
            self.resume()
            self._clear()
            for name, target in self.targets:
                if name in (*REPLACED, *also) and exists(target) and not overwrite:
                    raise InputError(f"{target} exists already; give --overwrite to replace the output there.")
            for name in REPLACED:
                _filesystems().mkdirs(self.staged(name))
        except OSError as error:
            raise InputError(f"{self.target('processed_data')}: cannot write there ({reason(error)}).") from None

    def check(self, overwrite: bool, *also: str) -> None:
        """Refuses a local output that is there already, which needs no library; `begin` looks everywhere.

        Args:
            overwrite: whether it may be replaced.
            also: parts that the run makes besides those of REPLACED.

        Raises:
            InputError: if there is one and `overwrite` is not set.
        """
        for name, target in self.targets:
            if name in (*REPLACED, *also) and not overwrite and "://" not in target and os.path.lexists(target):
                raise InputError(f"{target} exists already; give --overwrite to replace the output there.")

    def commit(self) -> None:
        """Puts the staged output in place of the old one."""
        stores = [(self.staged(name), target) for name, target in self.targets if not self._has_folders(name)]
        moves = [move for staged, target in stores for move in _moves(staged, target)]
        obsolete = {path for staged, target in stores if exists(staged) for path in _object_store().below(target)}
        write_text(self._marker, "\n".join(sorted(obsolete - {new for _, new in moves})))
        self.resume()

    def resume(self) -> None:
        """Finishes a commit that was begun, if there is one."""
        if not _filesystems().exists(self._marker):
            return
        obsolete = read_text(self._marker).splitlines()
        stores = [name for name, _ in self.targets if not self._has_folders(name)]
        moves = [move for name in stores for move in _moves(self.staged(name), self.target(name))]
        if any(new == self.manifest for _, new in moves):
            delete(self.manifest)
        _object_store().move([move for move in moves if move[1] != self.manifest])
        for name, _ in self.targets:
            if name not in stores:
                self._swap(name)
        _object_store().delete(obsolete)
        _object_store().move([move for move in moves if move[1] == self.manifest])
        self._clear()

    def discard(self) -> None:
        """Removes what was staged; what was being committed is kept, for the next run to finish."""
        if not _filesystems().exists(self._marker):
            self._clear()

    def _has_folders(self, name: str) -> bool:
        return _object_store().has_folders(self.target(name))

    def _swap(self, name: str) -> None:
        """Moves the staged folder of a part, if it is still there, into the place of the old one."""
        files, old = _filesystems(), self._beside(name, _OLD, name)
        staged, target = self.staged(name), self.target(name)
        if not files.exists(staged):
            return
        if files.exists(target):
            delete(old)
            files.mkdirs(posixpath.dirname(old)) if not files.exists(posixpath.dirname(old)) else None
            files.rename([target], [old])
        files.rename([staged], [target])

    def _clear(self) -> None:
        for name, _ in self.targets:
            delete(self._beside(name, _STAGING))
            delete(self._beside(name, _OLD))


def _moves(staged: str, target: str) -> list[tuple[str, str]]:
    """From where to where each object of a staged folder goes."""
    return [(path, target + path.removeprefix(staged)) for path in _object_store().below(staged)]


def exists(path: str) -> bool:
    """Whether there is a file or folder; on an object store a folder is there as long as it holds something."""
    if _filesystems().exists(path):
        return True
    return not _object_store().has_folders(path) and bool(_object_store().below(path, limit=1))


def delete(path: str) -> None:
    """Removes a file or folder, if it is there."""
    if not _object_store().has_folders(path):
        _object_store().delete([*([path] if _filesystems().exists(path) else []), *_object_store().below(path)])
    elif _filesystems().exists(path):
        _filesystems().delete([path])


def write_file(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Lets `write` fill a file, which then gets its name at once.

    Two attempts at the same staged file, of which one may be late or die, leave one file, and nothing beside it: each
    writes to a place of its own, in the scratch folder of the run.
    """
    root, staging, _ = path.rpartition(f"/{_STAGING}/")
    beside = f"{root}{staging}{_SCRATCH}/" if staging else f"{path}."
    with open_to_write(beside := beside + uuid.uuid4().hex) as file:
        write(file)
    _make_folder(posixpath.dirname(path))
    _filesystems().rename([beside], [path])


def _make_folder(path: str) -> None:
    """Makes a folder, if it is not there and another worker does not make it at the same time."""
    files = _filesystems()
    if not _object_store().has_folders(path) or files.exists(path):
        return
    try:
        files.mkdirs(path)
    except OSError:
        if not files.exists(path):
            raise


def open_to_write(path: str) -> BinaryIO:
    """A new file on any Beam filesystem, and the folders above it."""
    from apache_beam.io.filesystem import CompressionTypes

    return _filesystems().create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def open_to_read(path: str) -> BinaryIO:
    """A seekable file on any Beam filesystem; a local one without a detour."""
    from apache_beam.io.filesystem import CompressionTypes

    if _filesystems().get_scheme(path) is None:
        return open(path, "rb")
    return _filesystems().open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def write_text(path: str, text: str) -> None:
    """Writes a text file on any Beam filesystem."""
    write_file(path, lambda file: file.write(text.encode()))


def read_text(path: str) -> str:
    """A text file on any Beam filesystem."""
    with open_to_read(path) as file:
        return file.read().decode()
