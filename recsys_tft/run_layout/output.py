"""The output of a run, which appears complete or not at all.

A run writes into `.staging` beside its targets. On this machine the targets are links to a version, and one rename
commits it: see version_folders.py. Parts in different folders are committed one after the other, and name their run.

An object store cannot rename folders. There a commit first writes a marker that the staged output is complete; then the
old manifest is removed first, and the new one is moved last: an output with a manifest is complete. A run that is
killed before the marker has changed nothing; one that is killed later is finished by `resume`, at the next attempt or
run.
"""

import dataclasses
import json
import pathlib
import posixpath
from types import ModuleType

from recsys_tft.errors import InputError, readable, reason
from recsys_tft.storage.files import SCRATCH, STAGING, delete, exists, is_local, read_text, write_text
from recsys_tft.storage.version_folders import CURRENT, VersionFolders

REPLACED = ("processed_data", "artifacts", "rejected", "state")  # a new run always replaces them
RAW = "raw"
MANIFEST = "manifest.json"  # in artifacts
RUN = "run.json"  # in processed_data: the run of the rows, as in the manifest
MARKER = "complete"  # in the staging folder on an object store: it is complete, and being committed


def _object_store() -> ModuleType:
    from recsys_tft.storage import object_store

    return object_store


@dataclasses.dataclass(frozen=True)
class Output:
    """The folders of an output.

    Attributes:
        targets: (name, folder) of processed_data, artifacts, rejected, state, and raw if the run makes it.
    """

    targets: tuple[tuple[str, str], ...]

    @classmethod
    def at(cls, output_dir: str, **elsewhere: str | None) -> "Output":
        """All parts in `output_dir`, except those given by name: `artifacts="DIR"`."""
        names = (*REPLACED, RAW)
        return cls(tuple((name, elsewhere.get(name) or posixpath.join(output_dir, name)) for name in names))

    def target(self, name: str) -> str:
        """The folder of one part."""
        return dict(self.targets)[name].rstrip("/")

    def staged(self, name: str, *below: str) -> str:
        """The folder of a part before it is committed, or a path below it."""
        return self._beside(name, STAGING, posixpath.basename(self.target(name)), *below)

    def scratch(self, name: str, *below: str) -> str:
        """A folder for temporary files of a part, removed with the staging folder."""
        return self._beside(name, STAGING, SCRATCH, *below)

    @property
    def manifest(self) -> str:
        """The file that describes a complete output."""
        return posixpath.join(self.target("artifacts"), MANIFEST)

    def _beside(self, name: str, *below: str) -> str:
        return posixpath.join(posixpath.dirname(self.target(name)) or ".", *below)

    @property
    def _folders(self) -> list[VersionFolders]:
        """The folders that change in one step on this machine, with the parts in each, without the raw tables."""
        parts: dict[str, list[str]] = {}
        for name in REPLACED:
            if is_local(self.target(name)):
                parts.setdefault(self._beside(name), []).append(posixpath.basename(self.target(name)))
        # Different sets of parts in one folder have different pointers, so that neither removes the other's.
        return [
            VersionFolders(
                pathlib.Path(root),
                tuple(names),
                CURRENT if tuple(names) == REPLACED else f"{CURRENT}.{'+'.join(sorted(names))}",
            )
            for root, names in parts.items()
        ]

    @property
    def local_folders(self) -> list[pathlib.Path]:
        """The distinct local folders of parts."""
        return list({folders.root.resolve(): folders.root for folders in self._folders}.values())

    @property
    def is_staged(self) -> bool:
        """Whether a staged output waits to be committed on this machine."""
        return any(folders.staged.is_symlink() for folders in self._folders)

    @property
    def _stored(self) -> list[str]:
        """The parts on object stores."""
        return [name for name, target in self.targets if not is_local(target)]

    @property
    def _marker(self) -> str:
        return self._beside(self._stored[0], STAGING, MARKER)

    def begin(self, overwrite: bool, *also: str) -> None:
        """Finish or clear away the leftovers of a killed run, and prepare the staging folders.

        Args:
            overwrite: whether an existing output may be replaced.
            also: parts that the run makes besides those of REPLACED.

        Raises:
            InputError: if there is an output already and `overwrite` is not set, or a folder cannot be written.
        """
        try:
            self.resume()
            self.check(overwrite, *also, stores=True)
            self._clear()
            for folders in self._folders:
                folders.begin()
            for name in REPLACED:
                if is_local(self.target(name)):
                    pathlib.Path(self.staged(name)).mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{self.target('processed_data')}: cannot write there ({reason(error)}).") from None

    def check(self, overwrite: bool, *also: str, stores: bool = False) -> None:
        """Refuse an existing output, unless it may be replaced.

        Args:
            overwrite: whether it may.
            also: parts that the run makes besides those of REPLACED.
            stores: whether to look on object stores too, which needs Beam.

        Raises:
            InputError: if there is one.
        """
        for name, target in self.targets:
            is_made = name in (*REPLACED, *also) and (stores or is_local(target))
            if is_made and not overwrite and exists(target):
                raise InputError(f"{target} exists already; give --overwrite to replace the output there.")

    def check_one_run(self) -> None:
        """Refuse rows of another run than the artifacts, which is possible in different folders.

        Raises:
            InputError: naming both.
        """
        artifacts, rows = self.target("artifacts"), self.target("processed_data")
        made, read = _run_of(self.manifest), _run_of(posixpath.join(rows, RUN))
        if made != read and exists(self.manifest) and exists(rows):
            raise InputError(
                f"{artifacts} is of the run {made}, but {rows} is of the run {read}; run the main job again with "
                "--overwrite."
            )

    def commit(self) -> None:
        """Replace the old output by the staged one."""
        stores = [(self.staged(name), self.target(name)) for name in self._stored]
        if stores:
            moves = [move for staged, target in stores for move in _moves(staged, target)]
            obsolete = {path for staged, target in stores if exists(staged) for path in _object_store().below(target)}
            write_text(self._marker, "\n".join(sorted(obsolete - {new for _, new in moves})))
            self.resume()
        for folders in self._folders:
            delete(str(folders.staged / SCRATCH))
            if folders.staged.is_symlink():
                folders.commit()
            else:  # an attempt before this one has done it
                folders.discard()
        self._settle()
        for folders in self._folders:
            folders.prune()

    def resume(self) -> None:
        """Finish an interrupted commit, if there is one."""
        if self._stored and exists(self._marker):
            obsolete = read_text(self._marker).splitlines()
            moves = [move for name in self._stored for move in _moves(self.staged(name), self.target(name))]
            if any(new == self.manifest for _, new in moves):
                delete(self.manifest)
            _object_store().move([move for move in moves if move[1] != self.manifest])
            _object_store().delete(obsolete)
            _object_store().move([move for move in moves if move[1] == self.manifest])
            self._clear()
        self._settle()

    @property
    def is_settled(self) -> bool:
        """Whether raw tables that were committed with the rows are at their target."""
        return not any((folders.current / name).is_dir() for folders, name in self._moved_out)

    @property
    def _moved_out(self) -> list[tuple[VersionFolders, str]]:
        """Raw tables made by the run; their target is not a link, so that it can be copied."""
        if not is_local(self.target(RAW)):
            return []
        root, name = pathlib.Path(self._beside(RAW)), posixpath.basename(self.target(RAW))
        return [(folders, name) for folders in self._folders if folders.root == root]

    def _settle(self) -> None:
        for folders, name in self._moved_out:
            folders.move_out(name)

    def discard(self) -> None:
        """Remove the staged output, unless it is being committed, which the next run finishes."""
        if not (self._stored and exists(self._marker)):
            self._clear()

    def _clear(self) -> None:
        for folders in self._folders:
            folders.discard()
            folders.prune()
        for name, _ in self.targets:
            if name in self._stored or name == RAW:
                delete(self._beside(name, STAGING))


def _run_of(path: str) -> str | None:
    """The run that a JSON file names; None without a file, or for a release that did not write it."""
    if not exists(path):
        return None
    with readable(path, "run the main job again with --overwrite"):
        return json.loads(read_text(path)).get("run")


def _moves(staged: str, target: str) -> list[tuple[str, str]]:
    """Source and target of each object of a staged folder."""
    return [(path, target + path.removeprefix(staged)) for path in _object_store().below(staged)]
