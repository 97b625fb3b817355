"""The output of a run: it appears whole or not at all.

A run writes into `.staging` beside its targets. On this machine the targets are links to a version, and one rename
commits it: see version_folders.py. Parts in folders apart are committed one after the other, and say of which run they
are.

On an object store, which moves no folder at once, committing first writes a marker, which says that the staged output
is whole; then the manifest goes first and comes last: where there is one, the output that it describes is whole. A run
that is killed before the marker has changed nothing; one that is killed after it is finished by `resume`, at the next
attempt or run.
"""

import dataclasses
import json
import pathlib
import posixpath
from types import ModuleType

from recsys_tft.errors import InputError, readable, reason
from recsys_tft.storage.files import SCRATCH, STAGING, delete, exists, is_local, read_text, write_text
from recsys_tft.storage.version_folders import CURRENT, VersionFolders

REPLACED = ("processed_data", "artifacts", "rejected", "state")  # a new run's always take the place of the old ones
RAW = "raw"
MANIFEST = "manifest.json"  # in artifacts
RUN = "run.json"  # in processed_data: of which run the rows are, as the manifest says it
MARKER = "complete"  # in the staging folder on an object store: all of it is there, and is being committed


def _object_store() -> ModuleType:
    from recsys_tft.storage import object_store

    return object_store


@dataclasses.dataclass(frozen=True)
class Output:
    """Where the parts of an output go.

    Attributes:
        targets: (name, folder) of processed_data, artifacts, rejected, state, and raw where the run makes it.
    """

    targets: tuple[tuple[str, str], ...]

    @classmethod
    def at(cls, output_dir: str, **elsewhere: str | None) -> "Output":
        """All parts in `output_dir`, but for those that are named: `artifacts="DIR"`."""
        names = (*REPLACED, RAW)
        return cls(tuple((name, elsewhere.get(name) or posixpath.join(output_dir, name)) for name in names))

    def target(self, name: str) -> str:
        """The folder of one part."""
        return dict(self.targets)[name].rstrip("/")

    def staged(self, name: str, *below: str) -> str:
        """The folder of one part before it is committed, or what lies below it."""
        return self._beside(name, STAGING, posixpath.basename(self.target(name)), *below)

    def scratch(self, name: str, *below: str) -> str:
        """A folder for what a run needs while it makes a part, and which goes with the staging folder."""
        return self._beside(name, STAGING, SCRATCH, *below)

    @property
    def manifest(self) -> str:
        """The file that describes a whole output."""
        return posixpath.join(self.target("artifacts"), MANIFEST)

    def _beside(self, name: str, *below: str) -> str:
        return posixpath.join(posixpath.dirname(self.target(name)) or ".", *below)

    @property
    def _folders(self) -> list[VersionFolders]:
        """What changes in one step on this machine: for each folder the parts in it, the raw tables apart."""
        parts: dict[str, list[str]] = {}
        for name in REPLACED:
            if is_local(self.target(name)):
                parts.setdefault(self._beside(name), []).append(posixpath.basename(self.target(name)))
        # Other parts of the same folder have another pointer, so that neither takes away what the other shows.
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
        """The folders on this machine in which parts are, each once."""
        return list({folders.root.resolve(): folders.root for folders in self._folders}.values())

    @property
    def is_staged(self) -> bool:
        """Whether something waits to be committed on this machine."""
        return any(folders.staged.is_symlink() for folders in self._folders)

    @property
    def _stored(self) -> list[str]:
        """The parts on object stores."""
        return [name for name, target in self.targets if not is_local(target)]

    @property
    def _marker(self) -> str:
        return self._beside(self._stored[0], STAGING, MARKER)

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
        """Refuses an output that is there already, if it may not be replaced.

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
        """Refuses rows of another run than the artifacts', which folders apart may be of.

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
        """Puts the staged output in place of the old one."""
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
        """Finishes a commit that was begun, if there is one."""
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
        """Whether raw tables that were committed with the rows, if any, are in their place."""
        return not any((folders.current / name).is_dir() for folders, name in self._moved_out)

    @property
    def _moved_out(self) -> list[tuple[VersionFolders, str]]:
        """Raw tables, which a run makes beside its rows, and whose place is no link: people copy it."""
        if not is_local(self.target(RAW)):
            return []
        root, name = pathlib.Path(self._beside(RAW)), posixpath.basename(self.target(RAW))
        return [(folders, name) for folders in self._folders if folders.root == root]

    def _settle(self) -> None:
        for folders, name in self._moved_out:
            folders.move_out(name)

    def discard(self) -> None:
        """Removes what was staged; what was being committed is kept, for the next run to finish."""
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
    """Which run a JSON file names; None where there is no file, or it is of a release that knew no runs."""
    if not exists(path):
        return None
    with readable(path, "run the main job again with --overwrite"):
        return json.loads(read_text(path)).get("run")


def _moves(staged: str, target: str) -> list[tuple[str, str]]:
    """From where to where each object of a staged folder goes."""
    return [(path, target + path.removeprefix(staged)) for path in _object_store().below(staged)]
