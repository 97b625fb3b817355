"""One writer at a time in a local folder."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from recsys_tft.errors import InputError, reason

LOCK = ".lock"


@contextlib.contextmanager
def sole_writer(folder: pathlib.Path, writer: str, name: str = LOCK) -> Iterator[None]:
    """Make a folder, and refuse other writers in it while the block runs.

    A writer that fails leaves no empty folder; one that is interrupted leaves everything, for inspection.

    Args:
        folder: to write in.
        writer: for the message, such as `run`.
        name: of the lock file, which is removed at the end.

    Raises:
        InputError: if there is another writer, the folder cannot be written, or the lock is a link, which is never
            followed.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = _open_locked(path)
    except BlockingIOError:
        raise InputError(f"{folder}: another {writer} is writing there.") from None
    except OSError as error:
        if path.is_symlink():
            raise InputError(f"{path}: is a link to {path.readlink()}; remove it, as it leads elsewhere.") from None
        raise InputError(f"{folder}: cannot write there ({reason(error)}).") from None
    interrupted = False
    try:
        yield
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        path.unlink(missing_ok=True)
        os.close(opened)
        if not interrupted:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _open_locked(path: pathlib.Path) -> int:
    """Open and lock the file, and check that it still has its name."""
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(opened), path.lstat()):
                return opened
        except BaseException:
            os.close(opened)
            raise
        os.close(opened)
