"""The output of a run: it appears whole or not at all.

A run writes into `.staging` beside its targets, on the same filesystem. Committing first writes a marker, which says
that the staged output is whole, then moves each target aside and the staged one into its place. A run that is killed
before the marker has changed nothing; one that is killed after it is finished by `recover`, at the next run.
"""

import dataclasses
import posixpath
from typing import BinaryIO

from recsys_tft.errors import InputError

REPLACED = ("processed_data", "artifacts", "rejected")  # a new run's always take the place of the old ones
_STAGING, _OLD, _MARKER = ".staging", ".replaced", "complete"


def _filesystems():
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


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
        files = _filesystems()
        try:
            if files.exists(self._marker):
                self._put_in_place()
            self._clear()
            for name, target in self.targets:
                if name in (*REPLACED, *also) and files.exists(target) and not overwrite:
                    raise InputError(f"{target} exists already; give --overwrite to replace the output there.")
            for name in REPLACED:
                files.mkdirs(self.staged(name))
        except OSError as error:
            raise InputError(f"{self.target('processed_data')}: cannot write there ({error.strerror}).") from None

    def commit(self) -> None:
        """Puts the staged output in place of the old one."""
        write_text(self._marker, "")
        self._put_in_place()
        self._clear()

    def discard(self) -> None:
        """Removes what was staged; what was being committed is kept, for the next run to finish."""
        if not _filesystems().exists(self._marker):
            self._clear()

    def _put_in_place(self) -> None:
        files = _filesystems()
        for name, target in self.targets:
            staged, old = self.staged(name), self._beside(name, _OLD, name)
            if not files.exists(staged):
                continue
            if files.exists(target):
                delete(old)
                files.mkdirs(posixpath.dirname(old)) if not files.exists(posixpath.dirname(old)) else None
                files.rename([target], [old])
            files.rename([staged], [target])

    def _clear(self) -> None:
        for name, _ in self.targets:
            delete(self._beside(name, _STAGING))
            delete(self._beside(name, _OLD))


def delete(path: str) -> None:
    """Removes a file or folder, if it is there."""
    files = _filesystems()
    if files.exists(path):
        files.delete([path])


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
    with open_to_write(path) as file:
        file.write(text.encode())


def read_text(path: str) -> str:
    """A text file on any Beam filesystem."""
    with open_to_read(path) as file:
        return file.read().decode()
