"""Folders of serving models, OUTPUT_DIR/serving/NAME/N, the layout of TensorFlow Serving; N counts exports.

The NAMEs are links, through which all models get a version in one step: see version_folders.py.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from recsys_tft.errors import InputError, require_inside, require_local
from recsys_tft.storage import json_files
from recsys_tft.storage.locks import sole_writer
from recsys_tft.storage.version_folders import Held, VersionFolders

NAMES = ("query_tower", "candidate_tower", "retrieval", "ranker")
STORE = "store"
DESCRIPTION = "export.json"  # in the store
EXPORT_AGAIN = "run recsys-tft export again, which writes a new version"
EXTRA = "assets.extra"  # of a SavedModel; ignored by loaders


def serving_folder(output_dir: str) -> pathlib.Path:
    """The folder of all versions.

    Raises:
        InputError: if it is not a local folder.
    """
    require_local(output_dir)
    return pathlib.Path(output_dir, "serving")


def folders(output_dir: str) -> VersionFolders:
    """The folders that an export changes in one step."""
    return VersionFolders(serving_folder(output_dir), (*NAMES, STORE))


def hold(output_dir: str) -> Held:
    """Hold the current exports as long as the result lives; they are in its `folder`.

    Raises:
        InputError: if there are none.
    """
    root = serving_folder(output_dir)
    try:
        return Held(root / STORE)
    except FileNotFoundError:
        raise InputError(
            f"{serving_folder(output_dir)}: looked for an exported version, found none; run recsys-tft export first."
        ) from None


def hold_version(output_dir: str, version: int | None = None) -> tuple[Held, int]:
    """The result of `hold`, and of `latest` in it."""
    held = hold(output_dir)
    return held, latest(held.folder, version, serving_folder(output_dir))


def versions(root: pathlib.Path, name: str) -> list[int]:
    """The versions of one model, in order."""
    return sorted(int(path.name) for path in (root / name).glob("*") if path.name.isdecimal())


@contextlib.contextmanager
def next_version(output_dir: str) -> Iterator[tuple[int, dict[str, pathlib.Path]]]:
    """The next version, and the folders of all models to write; they appear when the block ends.

    Earlier versions stay beside it: their files are hard-linked into the new tree.

    Raises:
        InputError: if another export is running, or the folder cannot be written.
    """
    root = serving_folder(output_dir)
    require_inside(root, output_dir)
    with sole_writer(root, "export"):
        trees = folders(output_dir)
        number = 1 + max((n for name in trees.names for n in versions(root, name)), default=0)
        try:
            trees.begin()
            for name in trees.names:
                (trees.staged / name).mkdir()
            yield number, {name: trees.staged / name / str(number) for name in trees.names}
            for name in trees.names:
                if (root / name).is_dir():
                    shutil.copytree(root / name, trees.staged / name, copy_function=_link, dirs_exist_ok=True)
            trees.commit()
            trees.prune()
        except BaseException:
            trees.discard()
            raise


def _link(source: str, target: str) -> None:
    """Hard-link a file, or copy it if the filesystem has no hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)


def description(store: pathlib.Path) -> dict[str, Any]:
    """The metadata of an export: `settings` of the run, and a hash of its `transform_graph`."""
    return json_files.read(store / DESCRIPTION, EXPORT_AGAIN, ("settings", "transform_graph"))


def latest(root: pathlib.Path, version: int | None = None, seen: pathlib.Path | None = None) -> int:
    """The newest complete version, or `version` if it is complete.

    Args:
        root: of the exports, which may be held.
        version: to look for.
        seen: the folder for messages, if it is not the root.

    Raises:
        InputError: if there is none.
    """
    whole = [n for n in versions(root, STORE) if all((root / name / str(n)).is_dir() for name in NAMES)]
    if version is None and whole:
        return whole[-1]
    if version in whole:
        return version
    existing = f"versions {', '.join(map(str, whole))}" if whole else "none"
    looked_for = "an exported version" if version is None else f"version {version}"
    raise InputError(f"{seen or root}: looked for {looked_for}, found {existing}; run recsys-tft export first.")
