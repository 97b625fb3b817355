"""Checkpoints of Keras models: variables and a few numbers in one file."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from recsys_tft.errors import readable


def write(path: pathlib.Path, variables: Sequence[keras.Variable], state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically."""
    part = path.with_name(f".{path.name}")
    arrays: dict[str, Any] = {f"v{number}": np.asarray(variable) for number, variable in enumerate(variables)}
    np.savez(part, state=json.dumps(state), **arrays)
    part.rename(path)


def values(path: pathlib.Path, remedy: str) -> list[np.ndarray]:
    """The values of the variables of a checkpoint.

    Raises:
        InputError: if the file is damaged; `remedy` says what to do.
    """
    with readable(path, remedy), np.load(path) as arrays:
        return [arrays[f"v{number}"] for number in range(len(arrays.files) - 1)]


def read(path: pathlib.Path, variables: Sequence[keras.Variable]) -> dict[str, Any]:
    """Assign the variables, and return the other values stored beside them.

    Raises:
        InputError: if the file is damaged.
    """
    with readable(path, "start again without --resume, with --overwrite"), np.load(path) as arrays:
        for number, variable in enumerate(variables):
            variable.assign(arrays[f"v{number}"])
        return json.loads(str(arrays["state"]))
