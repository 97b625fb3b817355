"""Exported models for a process that recommends: arrays in, arrays out, without TensorFlow's Python."""

import concurrent.futures
import contextlib
import importlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from recsys_tft import libraries
from recsys_tft.errors import readable
from recsys_tft.serving import c_library, saved_signatures
from recsys_tft.serving.saved_signatures import Signature
from recsys_tft.serving.serving_rows import Values
from recsys_tft.storage.temporary import without_pattern


class ServedModel(Protocol):
    """A loaded model.

    Attributes:
        signatures: by name.
    """

    signatures: Mapping[str, Signature]

    def run(self, name: str, inputs: Mapping[str, Values]) -> dict[str, np.ndarray]:
        """Run a signature on all of its inputs; strings in the outputs are objects of bytes."""


class InPython:
    """A model run by TensorFlow's Python, if the C library is missing or lacks an op that Python registers.

    Args:
        folder: of the SavedModel.
        remedy: how to make it again.
        signatures: of it.

    Raises:
        InputError: naming the folder and the remedy, if it is damaged.
    """

    def __init__(self, folder: str, remedy: str, signatures: Mapping[str, Signature]):
        with libraries.quietly():
            import tensorflow as tf

            from recsys_tft.transform_graph import load_saved_model

            with contextlib.suppress(ImportError):
                importlib.import_module("tensorflow_text")  # registers ops of text encoders
        self._constant, self._model, self.signatures = tf.constant, load_saved_model(folder, remedy), signatures

    def run(self, name: str, inputs: Mapping[str, Values]) -> dict[str, np.ndarray]:
        slots = self.signatures[name].inputs
        inputs_of_graph: dict[str, Any] = {
            key: self._constant(np.asarray(inputs[key]), slot.dtype) for key, slot in slots.items()
        }
        return {key: value.numpy() for key, value in self._model.signatures[name](**inputs_of_graph).items()}


class Loading:
    """Loads models, each on its own thread, and calls each once.

    Args:
        folders: of the SavedModels, by name.
        remedy: how to make them again.

    Raises:
        InputError: naming the folder and the remedy, if one does not exist.
    """

    def __init__(self, folders: Mapping[str, pathlib.Path], remedy: str):
        self._folders, self._remedy = folders, remedy
        self._signatures = {name: _read(folder, remedy) for name, folder in folders.items()}
        threads = concurrent.futures.ThreadPoolExecutor(len(folders))
        self._begun = {name: threads.submit(self._session, name) for name in folders}
        threads.shutdown(wait=False)

    def _session(self, name: str) -> c_library.Session:
        session = _session(self._folders[name], self._signatures[name])
        slots = self._signatures[name]["serving_default"].inputs
        with contextlib.suppress(c_library.GraphError):  # the first call of a graph takes as long as loading it
            session.run(
                "serving_default", {key: np.zeros([0] * (slot.rank or 0), slot.dtype) for key, slot in slots.items()}
            )
        return session

    def models(self) -> dict[str, ServedModel]:
        """The loaded models, by name.

        Raises:
            InputError: naming the folder and the remedy, if one is damaged.
        """
        return {name: self._model(name) for name in self._folders}

    def _model(self, name: str) -> ServedModel:
        begun, folder = self._begun[name], str(self._folders[name])
        return _or_in_python(begun.result, folder, self._remedy, self._signatures[name])


def load(folder: str, remedy: str) -> ServedModel:
    """Load a model without calling it.

    Args:
        folder: of the SavedModel.
        remedy: how to make it again.

    Raises:
        InputError: naming the folder and the remedy, if it does not exist or is damaged.
    """
    signatures = _read(pathlib.Path(folder), remedy)
    return _or_in_python(lambda: _session(pathlib.Path(folder), signatures), folder, remedy, signatures)


def _read(folder: pathlib.Path, remedy: str) -> dict[str, Signature]:
    with readable(folder, remedy):
        return saved_signatures.read(str(folder))


def _session(folder: pathlib.Path, signatures: Mapping[str, Signature]) -> c_library.Session:
    return c_library.Session(without_pattern(str(folder)), signatures)


def _or_in_python(
    session: Callable[[], c_library.Session], folder: str, remedy: str, signatures: Mapping[str, Signature]
) -> ServedModel:
    try:
        return session()
    except c_library.Unavailable:  # Python reports errors, if there are any
        return InPython(folder, remedy, signatures)
