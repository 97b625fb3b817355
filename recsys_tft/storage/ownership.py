"""Ownership of files: files that another user could have changed are not trusted blindly. See docs/trust.md.

A trusted folder belongs to this user or root, and only they and its group may write there.
"""

import os
import pathlib
import pwd
import stat

from recsys_tft.errors import InputError, reason

_ROOT = 0


def reason_to_doubt(folder: str | os.PathLike[str]) -> str | None:
    """The reason why another user may have written to a local folder, as the end of a sentence; None if there is none.

    Links are followed. Missing folders and those on other filesystems are not doubted.
    """
    if "://" in os.fspath(folder) or not hasattr(os, "getuid"):
        return None
    try:
        status = pathlib.Path(folder).stat()
    except OSError:
        return None
    if status.st_uid not in (os.getuid(), _ROOT):
        return f"belongs to {_user(status.st_uid)}"
    if status.st_mode & stat.S_IWOTH:
        return f"may be written by every user (mode {stat.S_IMODE(status.st_mode):o})"
    return None


def _user(number: int) -> str:
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user {number}"


def check(name: str, folder: str | os.PathLike[str]) -> None:
    """Refuse a folder of a cache to which another user may have written.

    Raises:
        InputError: naming the folder, why, and what to do.
    """
    if why := reason_to_doubt(folder):
        raise InputError(
            f"{name}: {folder} {why}, so its contents are not trusted; use a folder of your own, or change its "
            "owner or mode (chown, chmod o-w)."
        )


def private_folder(name: str, folder: str | os.PathLike[str]) -> pathlib.Path:
    """A folder of a cache, created with access for this user alone if it does not exist.

    Raises:
        InputError: as `check`, or if it cannot be made.
    """
    path = pathlib.Path(folder)
    check(name, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(f"{name}: {path} cannot be written ({reason(error)}).") from None
    return path


def warning(output_dir: str) -> str | None:
    """A warning if another user may have changed an output, as a saved graph in it can run code."""
    for part in ("", "artifacts", "artifacts/manifest.json", "models", "serving", "serving/store"):
        path = os.path.join(output_dir, part) if part else output_dir  # noqa: PTH118, as it may be a URL
        if why := reason_to_doubt(path):
            return f"{path} {why}; use it if you trust them, as a saved graph in it can run code (docs/trust.md)"
    return None
