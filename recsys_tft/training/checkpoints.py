"""Checkpoints of Keras models: the values of some variables, and a few numbers beside them, in one file."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from recsys_tft.errors import readable


def write(path: pathlib.Path, variables: Sequence[keras.Variable], state: Mapping[str, Any]) -> None:
    """Write a checkpoint, which is whole or not there."""
    part = path.with_name(f".{path.name}")
    arrays: dict[str, Any] = {f"v{number}": np.asarray(variable) for number, variable in enumerate(variables)}
    np.savez(part, state=json.dumps(state), **arrays)
    part.rename(path)


def values(path: pathlib.Path, remedy: str) -> list[np.ndarray]:
    """The values of the variables of a checkpoint.

    Raises:
        InputError: if the file is damaged; `remedy` says what to do.
    """
    with readable(path, remedy), np.load(path) as found:
        return [found[f"v{number}"] for number in range(len(found.files) - 1)]


def read(path: pathlib.Path, variables: Sequence[keras.Variable]) -> dict[str, Any]:
    """Assign the variables, and return the other values stored beside them.

    Raises:
        InputError: if the file is damaged.
    """
    with readable(path, "start again without --resume, with --overwrite"), np.load(path) as found:
        for number, variable in enumerate(variables):
            variable.assign(found[f"v{number}"])
        return json.loads(str(found["state"]))
