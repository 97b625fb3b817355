"""JSON that a run, a training or an export wrote, and that a person or a full disk may have damaged since."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_tft.errors import InputError, readable
from recsys_tft.storage.files import read_text


def read(
    path: str | os.PathLike[str], remedy: str, keys: Sequence[str] = (), renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A mapping in a file.

    Args:
        path: of the file.
        remedy: what makes it anew, as the end of a sentence.
        keys: that it has to have.
        renamed: names that keys had in earlier releases, and what they are called now.

    Raises:
        InputError: naming the file and the remedy, if it is not there, or is damaged.
    """
    with readable(path, remedy):
        found = json.loads(read_text(os.fspath(path)))
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged: it holds no mapping; {remedy}.")
    found = with_names(found, renamed or {})
    for key in keys:
        if key not in found:
            raise InputError(f"{path}: damaged: it lacks '{key}'; {remedy}.")
    return found


def with_names(found: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """A mapping, its keys by the names of today."""
    return {renamed.get(key, key): value for key, value in found.items()}


def to_json(value: object) -> str:
    """JSON for people: indented, and the same text for the same value."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
