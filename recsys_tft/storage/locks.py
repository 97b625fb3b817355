"""One writer at a time in a local folder."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from recsys_tft.errors import InputError, reason

LOCK = ".lock"


@contextlib.contextmanager
def sole_writer(folder: pathlib.Path, what: str, name: str = LOCK) -> Iterator[None]:
    """Refuse a second writer while one is at work, and make the folder.

    A writer that fails leaves no empty folder behind. One that is interrupted does, for who interrupted it to look at.

    Args:
        folder: where is written.
        what: the writer, for the message, such as `run`.
        name: of the file that is locked, which goes at the end.

    Raises:
        InputError: if there is another writer, the folder cannot be written, or the lock is a link, which is never
            followed.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = _open_locked(path)
    except BlockingIOError:
        raise InputError(f"{folder}: another {what} is writing there.") from None
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
    """A descriptor of the locked file, which is still the one of that name."""
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
