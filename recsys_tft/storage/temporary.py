"""Temporary folders; those of killed processes are removed by the next one."""

import atexit
import contextlib
import fcntl
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

PREFIX = "recsys_tft-run-"  # earlier releases, without locks, used only its first part


@contextlib.contextmanager
def temporary_folder(within: str | os.PathLike[str] | None = None, prefix: str = PREFIX) -> Iterator[str]:
    """A new folder, removed when the block ends.

    Args:
        within: its parent; None: the folder for temporary files (TMPDIR).
        prefix: of its name. This user's folders with the prefix whose process has ended are removed.
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
    """Open and lock the new folder; None if another process is removing it as left over."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):  # where folders cannot be locked, none is removed
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
        with contextlib.suppress(OSError):  # it is gone, or belongs to another user
            opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(opened).st_uid == os.geteuid() and _lock(opened):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(opened)


def _lock(opened: int) -> bool:
    """Lock an open folder for the life of the process; False if another process has the lock, or locks fail."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def without_pattern(path: str) -> str:
    """The path, or if it contains `[`, `*` or `?` a link to it that lasts as long as the process, for libraries that
    read these as patterns, such as TensorFlow when it looks for a model's variables."""
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
