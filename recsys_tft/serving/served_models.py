"""Exported models as a process that recommends asks them: arrays in, arrays out, and TensorFlow's Python not loaded."""

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
    """A model that is loaded.

    Attributes:
        signatures: what it can be asked, by name.
    """

    signatures: Mapping[str, Signature]

    def run(self, name: str, inputs: Mapping[str, Values]) -> dict[str, np.ndarray]:
        """The outputs of a signature, of all of its inputs; strings are objects of bytes."""


class InPython:
    """A model that TensorFlow's Python runs, where the C library is not there or lacks an op that Python registers.

    Args:
        folder: of the SavedModel.
        remedy: what makes it anew.
        signatures: of it.

    Raises:
        InputError: naming the folder and the remedy, if it is damaged.
    """

    def __init__(self, folder: str, remedy: str, signatures: Mapping[str, Signature]):
        with libraries.quietly():
            import tensorflow as tf

            from recsys_tft.transform_graph import load_saved_model

            with contextlib.suppress(ImportError):
                importlib.import_module("tensorflow_text")  # registers the ops of an encoder of texts that it may hold
        self._constant, self._model, self.signatures = tf.constant, load_saved_model(folder, remedy), signatures

    def run(self, name: str, inputs: Mapping[str, Values]) -> dict[str, np.ndarray]:
        slots = self.signatures[name].inputs
        given: dict[str, Any] = {
            key: self._constant(np.asarray(inputs[key]), slot.dtype) for key, slot in slots.items()
        }
        return {key: value.numpy() for key, value in self._model.signatures[name](**given).items()}


class Loading:
    """Models that are being loaded, each on a thread of its own, and called once.

    Args:
        folders: of the SavedModels, by name.
        remedy: what makes them anew.

    Raises:
        InputError: naming the folder and the remedy, if one is not there.
    """

    def __init__(self, folders: Mapping[str, pathlib.Path], remedy: str):
        self._folders, self._remedy = folders, remedy
        self._signatures = {name: _read(folder, remedy) for name, folder in folders.items()}
        threads = concurrent.futures.ThreadPoolExecutor(len(folders))
        self._begun = {name: threads.submit(self._session, name) for name in folders}
        threads.shutdown(wait=False)

    def _session(self, name: str) -> c_library.Session:
        session = _session(self._folders[name], self._signatures[name])
        asked = self._signatures[name]["serving_default"].inputs
        with contextlib.suppress(c_library.GraphError):  # the first call of a graph takes as long as loading it
            session.run(
                "serving_default", {key: np.zeros([0] * (slot.rank or 0), slot.dtype) for key, slot in asked.items()}
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
    """A model that has not been called yet.

    Args:
        folder: of the SavedModel.
        remedy: what makes it anew.

    Raises:
        InputError: naming the folder and the remedy, if it is not there or damaged.
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
    except c_library.Unavailable:  # Python says what is wrong, if anything is
        return InPython(folder, remedy, signatures)
