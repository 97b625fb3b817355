"""Where serving models lie: OUTPUT_DIR/serving/NAME/N, the layout of TensorFlow Serving; N counts exports."""

import pathlib
from typing import Any

from recsys_tft.errors import InputError, require_local
from recsys_tft.storage import json_files

NAMES = ("query_tower", "candidate_tower", "retrieval", "ranker")
STORE = "store"
DESCRIPTION = "export.json"  # in the store
EXPORT_AGAIN = "run recsys-tft export again, which writes a new version"
EXTRA = "assets.extra"  # which a SavedModel may have, and loaders leave alone


def serving_folder(output_dir: str) -> pathlib.Path:
    """The folder of all versions.

    Raises:
        InputError: if it is not on this machine.
    """
    require_local(output_dir)
    return pathlib.Path(output_dir, "serving")


def versions(root: pathlib.Path, name: str) -> list[int]:
    """The versions of one model, in order."""
    return sorted(int(path.name) for path in (root / name).glob("*") if path.name.isdecimal())


def next_version(root: pathlib.Path) -> int:
    """One more than any model has."""
    return 1 + max((number for name in (*NAMES, STORE) for number in versions(root, name)), default=0)


def description(store: pathlib.Path) -> dict[str, Any]:
    """What an export says of itself: `settings` of the run, and a hash of its `transform_graph`."""
    return json_files.read(store / DESCRIPTION, EXPORT_AGAIN, ("settings", "transform_graph"))


def latest(root: pathlib.Path, version: int | None = None) -> int:
    """The newest whole version, or `version` if it is whole.

    Raises:
        InputError: if there is none.
    """
    whole = [n for n in versions(root, STORE) if all((root / name / str(n)).is_dir() for name in NAMES)]
    if version is None and whole:
        return whole[-1]
    if version in whole:
        return version
    found = f"versions {', '.join(map(str, whole))}" if whole else "none"
    wanted = "an exported version" if version is None else f"version {version}"
    raise InputError(f"{root}: looked for {wanted}, found {found}; run recsys-tft export first.")
