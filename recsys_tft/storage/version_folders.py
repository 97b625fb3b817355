"""Folders that change atomically: their names lead to a version, selected by one symbolic link.

    ROOT/.versions/20250301T120000-1f2e3d4c/NAME/   the written files, which never change
    ROOT/.current -> .versions/20250301T120000-1f2e3d4c
    ROOT/NAME -> .current/NAME

A version is written under ROOT/.staging, a link as well, and committed by renaming that link to `.current`: a process
that is killed at any moment leaves the old version or the new one, under all names at once. Versions held by readers
(`Held`) are not removed, and the next writer removes the leftovers of a killed one.

A single folder needs no links below: it is the link itself, `models/ranker -> .ranker.versions/...`.
"""

import contextlib
import ctypes
import dataclasses
import errno
import fcntl
import os
import pathlib
import shutil
import time
import uuid
import weakref

from recsys_tft.errors import InputError
from recsys_tft.storage.files import STAGING

CURRENT, VERSIONS = ".current", ".versions"
_MOVED = "_version"  # in a folder while it is moved out of a version
_GONE, _BESIDE = ".gone-", ".link-"  # prefixes of a version being removed, and of a link being made


@dataclasses.dataclass(frozen=True)
class VersionFolders:
    """Some names in one folder that lead to one version.

    Attributes:
        root: the folder.
        names: the links in it through the pointer; empty if the pointer itself is the visible name.
        pointer: the link to the current version.
        staging: the link to the version that is being written.
        versions: the folder of all versions; writers of one root with different locks have one each.
    """

    root: pathlib.Path
    names: tuple[str, ...] = ()
    pointer: str = CURRENT
    staging: str = STAGING
    versions: str = VERSIONS

    @property
    def staged(self) -> pathlib.Path:
        """The folder of the next version."""
        return self.root / self.staging

    @property
    def current(self) -> pathlib.Path:
        """The current version."""
        return (self.root / self.pointer).resolve()

    def begin(self) -> None:
        """Remove the remains of killed writers, and make an empty version to write. The caller holds the root's lock.

        Raises:
            InputError: if the folder of versions is a link.
        """
        self._mend()
        self.discard()
        self.prune()
        (self.root / self._add()).mkdir(parents=True)

    def _mend(self) -> None:
        """Finish interrupted exchanges of folders and links: see _exchange."""
        for name in (self.pointer, self.staging, *self.names):
            beside = self.root / f"{_BESIDE}{name}"
            if beside.is_symlink() and not os.path.lexists(self.root / name):
                beside.rename(self.root / name)

    def _add(self) -> str:
        """Point `staging` to a new version, and return its name."""
        name = f"{self.versions}/{_new_name()}"
        self._make_versions()
        self.staged.symlink_to(name)
        return name

    def _make_versions(self) -> None:
        versions = self.root / self.versions
        if versions.is_symlink():
            raise InputError(f"{versions}: is a link to {versions.readlink()}; remove it, as it leads elsewhere.")
        versions.mkdir(parents=True, exist_ok=True)

    def adopt_staged(self) -> None:
        """Turn a staged folder of a release without versions into a version."""
        if _is_folder(self.staged):
            self._make_versions()
            self._adopt(self.staging)

    def commit(self) -> None:
        """Publish the staged version atomically; `prune` removes unused versions."""
        pointer = self.root / self.pointer
        if _is_folder(pointer):  # of a release without versions, or a copy that followed the link
            self._adopt(self.pointer)
        self._link_names()
        self.staged.rename(pointer)
        for name in self.names:
            if self._is_linked(name) and not (self.root / name).exists():  # the new version has no such part
                (self.root / name).unlink()

    def _adopt(self, name: str) -> None:
        """Turn a folder into a version, and link to it in its place."""
        version = f"{self.versions}/{_new_name()}"
        (self.root / version).symlink_to(version)
        _exchange(self.root / name, self.root / version)

    def _is_version(self, link: str) -> bool:
        return pathlib.PurePath(link).parent == pathlib.PurePath(self.versions)

    def move_out(self, name: str) -> None:
        """Replace the root's folder of a name by that of the current version, or continue doing so."""
        version = self.current
        inner, outer = version / name, self.root / name
        if not inner.is_dir():
            return
        mark = outer / _MOVED
        if not (mark.is_file() and mark.read_text() == version.name):
            (inner / _MOVED).write_text(version.name)
            take_place(inner, outer, version / f"{name}.replaced")
        _delete(inner)
        mark.unlink()

    def _is_linked(self, name: str) -> bool:
        path = self.root / name
        return path.is_symlink() and str(path.readlink()) == f"{self.pointer}/{name}"

    def _link_names(self) -> None:
        """Make all names links through the pointer, without a change of contents, even if killed.

        Folders of releases without versions, and links of other kinds, become entries of a version.
        """
        others = [name for name in self.names if not self._is_linked(name)]
        others = [name for name in others if os.path.lexists(self.root / name) or (self.staged / name).exists()]
        existing = [name for name in others if os.path.lexists(self.root / name)]
        if existing:
            gathered = self.root / self.versions / _new_name()
            gathered.mkdir()
            for name in self.names:
                self._gather(name, gathered)
            _point(self.root / self.pointer, f"{self.versions}/{gathered.name}")
        for name in others:
            path = self.root / name
            if _is_folder(path):
                _exchange(path, self.root / self.pointer / name)
            else:
                _point(path, f"{self.pointer}/{name}")

    def _gather(self, name: str, gathered: pathlib.Path) -> None:
        """Put the contents of a name into a version, or for a folder the link to exchange it with."""
        path = self.root / name
        if path.is_symlink():
            if path.exists():
                (gathered / name).symlink_to(os.path.relpath(path.resolve(), gathered.resolve()))
        elif _is_folder(path):
            (gathered / name).symlink_to(f"{self.pointer}/{name}")

    def discard(self) -> None:
        """Remove the staged version."""
        staged = self.staged
        version = str(staged.readlink()) if staged.is_symlink() else ""
        _delete(staged)
        if self._is_version(version) and _is_folder(self.root / version):
            _remove(self.root / version)
        with contextlib.suppress(OSError):
            (self.root / self.versions).rmdir()

    def prune(self) -> None:
        """Remove versions that are neither linked nor held."""
        versions = self.root / self.versions
        if not _is_folder(versions):
            return
        kept = set()
        for link in [path for path in self.root.iterdir() if path.is_symlink()]:
            if self.names and link.name.startswith(_BESIDE):
                link.unlink()
                continue
            with contextlib.suppress(FileNotFoundError):  # of another writer that has just committed
                kept.add(str(link.readlink()))
        for name in list(kept):  # links from a version to another: see _gather
            if self._is_version(name) and _is_folder(self.root / name):
                inner = [path.resolve().parent for path in (self.root / name).iterdir() if path.is_symlink()]
                kept |= {f"{self.versions}/{folder.name}" for folder in inner}
        for path in versions.iterdir():
            if path.is_symlink():  # to be exchanged with a folder
                path.unlink()
            elif path.name.startswith(_GONE):
                shutil.rmtree(path, ignore_errors=True)
            elif f"{self.versions}/{path.name}" not in kept:
                _remove(path)


def _new_name() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:8]}"


def _point(link: pathlib.Path, target: str) -> None:
    """Make or redirect a link atomically."""
    beside = link.with_name(f"{_BESIDE}{uuid.uuid4().hex}")
    beside.symlink_to(target)
    beside.rename(link)


def _exchange(folder: pathlib.Path, link: pathlib.Path) -> None:
    """Exchange a folder and the link that leads to its place.

    If the filesystem cannot do that atomically, the folder is missing for a moment, once for each output of a release
    without versions.
    """
    if not swap(folder, link):
        beside = folder.with_name(f"{_BESIDE}{folder.name}")  # keeps the version from being pruned meanwhile
        _delete(beside)
        beside.symlink_to(link.readlink())
        link.unlink()
        folder.rename(link)
        beside.rename(folder)


def take_place(folder: pathlib.Path, target: pathlib.Path, replaced: pathlib.Path) -> None:
    """Move a folder to `target`; an existing target takes its name, or that of `replaced`.

    If the filesystem cannot exchange names, the target is missing for a moment.
    """
    if os.path.lexists(target):
        if swap(folder, target):
            return
        _delete(replaced)
        target.rename(replaced)
    folder.rename(target)


def swap(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Exchange two names atomically; False if the filesystem cannot, such as NFS."""
    at_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(at_folder, os.fsencode(one), at_folder, os.fsencode(other), exchange) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(one))


def _is_folder(path: pathlib.Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _delete(path: pathlib.Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove(version: pathlib.Path) -> None:
    """Remove a version, unless it is held; the next writer retries files that cannot be removed now."""
    gone = version.with_name(f"{_GONE}{version.name}")
    with contextlib.suppress(OSError):
        opened = os.open(version, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if _is_free(opened):
                version.rename(gone)
        finally:
            os.close(opened)
    shutil.rmtree(gone, ignore_errors=True)


def _is_free(opened: int) -> bool:
    """Whether nobody holds an open folder, if the filesystem has locks."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


class Held:
    """Holds the version that a path leads to; it stays as long as this object lives, whatever is committed meanwhile.

    Args:
        path: a name that leads into a version; other paths are not held.

    Attributes:
        folder: the version, or the folder of the path.
        path: the path in that folder.

    Raises:
        FileNotFoundError: if it leads nowhere.
    """

    def __init__(self, path: pathlib.Path):
        while True:
            self.path = path.resolve(strict=True)
            versions = [folder for folder in (self.path, *self.path.parents) if folder.parent.name.endswith(VERSIONS)]
            self.folder = versions[0] if versions else path.parent
            if not versions or self._lock(self.folder):
                break
        self.path = self.path if versions else path

    def _lock(self, version: pathlib.Path) -> bool:
        """Whether the version could be locked before it was replaced."""
        try:
            opened = os.open(version, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        with contextlib.suppress(OSError):  # a filesystem without locks for folders
            fcntl.flock(opened, fcntl.LOCK_SH)
        if not version.exists() or not os.path.samestat(os.fstat(opened), version.stat()):
            os.close(opened)
            return False
        self._release = weakref.finalize(self, os.close, opened)
        return True

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_release"):
            self._release()
