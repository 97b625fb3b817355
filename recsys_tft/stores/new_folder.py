"""A folder that appears complete or not at all, and replaces only folders of its own kind."""

import contextlib
import pathlib
from collections.abc import Iterator

from recsys_tft.errors import InputError, UsageError, reason
from recsys_tft.storage.temporary import temporary_folder
from recsys_tft.storage.version_folders import take_place


def check(folder: pathlib.Path, mark: str, overwrite: bool) -> None:
    """Refuse a folder that may not be written.

    Args:
        folder: the new folder.
        mark: a file that every folder of its kind has.
        overwrite: whether it may replace another of its kind.

    Raises:
        UsageError: if it exists and `overwrite` is false.
        InputError: if something else has its name.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: is not a folder; name a new one.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / mark).is_file():
        raise InputError(f"{folder}: has other files than those of {mark}; name another folder.")
    if not overwrite:
        raise UsageError(f"{folder}: exists already; --overwrite replaces it.")


@contextlib.contextmanager
def new_folder(folder: pathlib.Path, mark: str, overwrite: bool) -> Iterator[pathlib.Path]:
    """A folder to write, which gets its name when the block ends; an error leaves the existing one.

    Raises:
        InputError: as `check`, or if the parent folder cannot be written.
    """
    check(folder, mark, overwrite)
    target = folder.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = contextlib.ExitStack()
        made = pathlib.Path(
            beside.enter_context(temporary_folder(target.parent, f".{target.name}-recsys_tft-")), "made"
        )
    except OSError as error:
        raise InputError(f"{target.parent}: cannot write there ({reason(error)}).") from None
    with beside:
        made.mkdir()
        yield made
        take_place(made, target, made.with_name("replaced"))
