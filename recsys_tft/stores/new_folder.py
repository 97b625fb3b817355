"""A folder that appears whole or not at all, and takes the place of none but one of its own kind."""

import contextlib
import pathlib
from collections.abc import Iterator

from recsys_tft.errors import InputError, UsageError, reason
from recsys_tft.storage.temporary import temporary_folder
from recsys_tft.storage.version_folders import take_place


def check(folder: pathlib.Path, mark: str, overwrite: bool) -> None:
    """Refuse a folder that may not be written.

    Args:
        folder: to be made.
        mark: a file that every folder of its kind has.
        overwrite: whether it may take the place of another of its kind.

    Raises:
        UsageError: if it is there and `overwrite` does not allow that.
        InputError: if something else has its name.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: is no folder; name one that is not there yet.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / mark).is_file():
        raise InputError(f"{folder}: holds other files than {mark} and what belongs to it; name another folder.")
    if not overwrite:
        raise UsageError(f"{folder}: is there already; --overwrite replaces it.")


@contextlib.contextmanager
def new_folder(folder: pathlib.Path, mark: str, overwrite: bool) -> Iterator[pathlib.Path]:
    """A folder to write, which gets its name when the block ends; an error leaves the existing one.

    Raises:
        InputError: as `check`, or if the folder above cannot be written.
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
