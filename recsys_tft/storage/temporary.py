"""Temporary folders that hardly outlive their process: the next one removes those of a killed one."""

import atexit
import contextlib
import fcntl
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

PREFIX = "recsys_tft-run-"  # releases that locked no folder had names of the first part alone


@contextlib.contextmanager
def temporary_folder(within: str | os.PathLike[str] | None = None, prefix: str = PREFIX) -> Iterator[str]:
    """A new folder, which goes when the block ends.

    Args:
        within: the folder that it is made in; None: the one for temporary files (TMPDIR).
        prefix: of its name. Folders of this prefix that the same user has made in a process that has ended are removed.
    """
    root = pathlib.Path(within or tempfile.gettempdir())
    _remove_left(root, prefix)
    while True:
        folder = tempfile.mkdtemp(dir=root, prefix=prefix)
        opened = _kept(folder)
        if opened is not None:
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(opened)


def _kept(folder: str) -> int | None:
    """The new folder, open and locked; None if another process took it for one that was left, and removes it."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):  # no folder can be locked here, so that none is removed
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            return None
    if pathlib.Path(folder).exists():
        return opened
    os.close(opened)
    return None


def _remove_left(root: pathlib.Path, prefix: str) -> None:
    for path in [path for path in root.iterdir() if path.name.startswith(prefix)]:
        with contextlib.suppress(OSError):  # it has gone, or is not ours to remove
            opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(opened).st_uid == os.geteuid() and _lock(opened):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(opened)


def _lock(opened: int) -> bool:
    """Locks an open folder, which its process does as long as it lives; False if another has, or none can."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def without_pattern(path: str) -> str:
    """The path, or a link to it that lasts as long as the process, for a library that takes `[`, `*` and `?` for more
    than characters, as TensorFlow does where it looks for a model's variables."""
    if "://" in path or not set(path) & set("[]*?\\"):
        return path
    return _link_to(pathlib.Path(path).resolve())


@functools.cache
def _link_to(folder: pathlib.Path) -> str:
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    link = pathlib.Path(stack.enter_context(temporary_folder()), "folder")
    link.symlink_to(folder)
    return str(link)
