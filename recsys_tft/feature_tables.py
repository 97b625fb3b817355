"""Finds the feature table of the setting `features`: a module with a TABLE, or the default one.

The module is imported once per process, and its root stays on sys.path, so that workers can unpickle its objects.
"""

import functools
import importlib
import pathlib
import sys
import threading
import traceback

from recsys_tft import project_modules
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import FindingsError, InputError, did_you_mean, reason
from recsys_tft.features import FeatureTable
from recsys_tft.project_modules import Place

NAME = "TABLE"  # of the variable
_IMPORTING = threading.RLock()


def place_of(name: str, folder: str | None = None) -> Place:
    """Find the module.

    Args:
        name: a dotted path, a file, or a `Place.name`.
        folder: searched first, before the working folder and sys.path.

    Raises:
        FindingsError: if there is none, as words that follow `features`.
    """
    place, searched = project_modules.find(name, folder)
    if place is None:
        root, _, module = name.rpartition(":")
        if root:
            gone = f"is the module '{module}', which was in {root} and is there no more"
            raise FindingsError([f"{gone}; put it back, or go to where it is now"])
        kind = "file" if name.endswith(".py") else "module"
        raise FindingsError([f"is '{name}', but there is no such {kind}; looked in {searched}"])
    wrong = [part for part in place.module.split(".") if not part.isidentifier()]
    if wrong:
        raise FindingsError([f"is '{name}', but '{wrong[0]}' is no name of a Python module; call it otherwise"])
    return place


def load(name: str | None) -> FeatureTable:
    """The table of the setting `features`; None: the default one.

    Raises:
        FindingsError: if there is no such module, no table in it, or an error, as words that follow `features`.
    """
    return DEFAULT if name is None else _load(name)


@functools.lru_cache(maxsize=64)
def _load(name: str) -> FeatureTable:
    with _IMPORTING:
        return _table_in(place_of(name))


@functools.lru_cache(maxsize=64)
def code_of(name: str) -> dict[str, str]:
    """Hashes of the loaded code of a table: of its module, and of the project's modules that it imports."""
    load(name)
    return project_modules.hashes(place_of(name))


def _table_in(place: Place) -> FeatureTable:
    module = _imported(place)
    table = getattr(module, NAME, None)
    if isinstance(table, FeatureTable):
        return table
    if table is not None:
        raise FindingsError([f"leads to {place.file}, whose {NAME} is of type {type(table).__name__}, no FeatureTable"])
    others = [name for name, value in vars(module).items() if isinstance(value, FeatureTable) and name != "DEFAULT"]
    hint = did_you_mean(NAME, others) if others else " It has to say TABLE = DEFAULT.extend(...)."
    raise FindingsError([f"leads to {place.file}, which has no {NAME}.{hint}"])


def _imported(place: Place) -> object:
    before, root = set(sys.modules), str(place.root)
    _check_names(place)
    importlib.invalidate_caches()  # of folders that were listed before the file was written
    sys.path.insert(0, root)
    try:
        return importlib.import_module(place.module)
    except (Exception, SystemExit) as error:  # the user's code, which may raise anything
        for name in project_modules.files(place):
            if name not in before:
                sys.modules.pop(name, None)  # so that it is read again once it is repaired
        raise FindingsError(_sentences(error, place)) from error
    finally:
        sys.path.remove(root)
        if root not in sys.path:
            sys.path.append(root)  # at the end, where it hides no library


def _check_names(place: Place) -> None:
    """Refuse modules whose names are taken by other loaded files of this process."""
    for name, file in project_modules.files(place).items():
        loaded = getattr(sys.modules.get(name), "__file__", None)
        if loaded is not None and not file.samefile(loaded):
            raise FindingsError(
                [
                    f"needs the module '{name}' of {file}, but this process has loaded {loaded} under that name; "
                    "call one of them otherwise, or begin a new process"
                ]
            )


def _sentences(error: BaseException, place: Place) -> list[str]:
    """The error in the user's code, with its file and line."""
    if isinstance(error, SyntaxError) and error.filename:
        return [f"cannot be read: {error.filename}, line {error.lineno}: {error.msg}"]
    frames = traceback.extract_tb(error.__traceback__)
    project_files = {str(file) for file in project_modules.files(place).values()}
    line = next((frame for frame in reversed(frames) if frame.filename in project_files), None)
    where = f"{line.filename}, line {line.lineno}" if line else str(place.file)
    if isinstance(error, InputError):
        first, *others = str(error).split("\n")
        return [f"is wrong: {where}: {text.strip().rstrip('.')}" for text in others or [first]]
    return [f"cannot be imported: {where}: {type(error).__name__}: {reason(error)}"]


def root_of(name: str | None) -> pathlib.Path | None:
    """The folder that processes of this machine need on sys.path for the table; None if none is needed."""
    return None if name is None else place_of(name).root
