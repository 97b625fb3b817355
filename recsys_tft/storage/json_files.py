"""JSON files of runs, trainings and exports, which may have been damaged since."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_tft.errors import InputError, readable
from recsys_tft.storage.files import read_text


def read(
    path: str | os.PathLike[str], remedy: str, keys: Sequence[str] = (), renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Read a mapping from a file.

    Args:
        path: of the file.
        remedy: how to make it again, as the end of a sentence.
        keys: that it must have.
        renamed: names of keys in earlier releases, with their names today.

    Raises:
        InputError: naming the file and the remedy, if it does not exist or is damaged.
    """
    with readable(path, remedy):
        mapping = json.loads(read_text(os.fspath(path)))
    if not isinstance(mapping, dict):
        raise InputError(f"{path}: damaged: it has no mapping; {remedy}.")
    mapping = with_names(mapping, renamed or {})
    for key in keys:
        if key not in mapping:
            raise InputError(f"{path}: damaged: it lacks '{key}'; {remedy}.")
    return mapping


def with_names(mapping: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """A mapping with keys by their names today."""
    return {renamed.get(key, key): value for key, value in mapping.items()}


def to_json(value: object) -> str:
    """Readable JSON: indented, and deterministic."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
