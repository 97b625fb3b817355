"""SavedModels run by TensorFlow's C library, without its Python: loaded in a third of a second instead of two.

`pip install tensorflow` contains libtensorflow_cc with the C API, the documented and stable way to run TensorFlow from
other languages: https://www.tensorflow.org/install/lang_c. Graph and kernels are the same as in Python. Decision 25
has the reasons.
"""

import ctypes
import functools
import importlib.util
import math
import os
import pathlib
import threading
import weakref
from collections.abc import Iterable, Mapping
from ctypes import c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any

import numpy as np

from recsys_tft import libraries
from recsys_tft.serving.saved_signatures import DTYPES, Signature
from recsys_tft.serving.serving_rows import Values
from recsys_tft.serving.texts import Texts

_LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_cc.2.dylib")
_NUMBERS = {dtype: number for number, dtype in DTYPES.items()}
_STRING = np.dtype(object)
_EXHAUSTED = 8  # the code of TensorFlow's ResourceExhaustedError
# ConfigProto{device_count{"GPU": 0}, intra_op_parallelism_threads: 1, inter_op_parallelism_threads: -1,
# graph_options{rewrite_options{disable_tfg_optimizer, meta_optimizer_iterations: ONE}}}
# Starting a GPU takes longer than any request, and would occupy its memory. A call runs on the calling thread: its ops
# are so short that a thread pool would cost a third of the CPU time. A second optimizer pass and the MLIR passes change
# no result, and would take a third of the loading time.
_CONFIG = bytes.fromhex("0a070a0347505510001001" + "28ffffffffffffffffff01" + "520752056001800201")
# A view of a string, in 24 bytes: four times its length plus a tag, its address, 8 unused bytes.
_VIEW = np.dtype([("size", np.uint64), ("address", np.uint64), ("rest", np.uint64)])
_IS_VIEW = 3


class Unavailable(Exception):
    """The library is missing or cannot load the model; TensorFlow's Python may be able to."""


class GraphError(RuntimeError):
    """A call failed in the graph."""


class _Output(ctypes.Structure):
    _fields_ = (("operation", c_void_p), ("index", c_int))


_FUNCTIONS: dict[str, tuple[Any, tuple]] = {
    "TF_NewStatus": (c_void_p, ()),
    "TF_DeleteStatus": (None, (c_void_p,)),
    "TF_GetCode": (c_int, (c_void_p,)),
    "TF_Message": (c_char_p, (c_void_p,)),
    "TF_NewSessionOptions": (c_void_p, ()),
    "TF_SetConfig": (None, (c_void_p, c_char_p, c_size_t, c_void_p)),
    "TF_DeleteSessionOptions": (None, (c_void_p,)),
    "TF_NewGraph": (c_void_p, ()),
    "TF_DeleteGraph": (None, (c_void_p,)),
    "TF_LoadSessionFromSavedModel": (
        c_void_p, (c_void_p, c_void_p, c_char_p, c_void_p, c_int, c_void_p, c_void_p, c_void_p)
    ),
    "TF_CloseSession": (None, (c_void_p, c_void_p)),
    "TF_DeleteSession": (None, (c_void_p, c_void_p)),
    "TF_GraphOperationByName": (c_void_p, (c_void_p, c_char_p)),
    "TF_SessionRun": (None, (c_void_p, c_void_p, c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_int, c_void_p, c_int,
                             c_void_p, c_void_p)),
    "TF_AllocateTensor": (c_void_p, (c_int, c_void_p, c_int, c_size_t)),
    "TF_DeleteTensor": (None, (c_void_p,)),
    "TF_TensorType": (c_int, (c_void_p,)),
    "TF_NumDims": (c_int, (c_void_p,)),
    "TF_Dim": (c_int64, (c_void_p, c_int)),
    "TF_TensorData": (c_void_p, (c_void_p,)),
    "TF_StringInit": (None, (c_void_p,)),
    "TF_StringAssignView": (None, (c_void_p, c_void_p, c_size_t)),
    "TF_StringGetDataPointer": (c_void_p, (c_void_p,)),
    "TF_StringGetSize": (c_size_t, (c_void_p,)),
}  # fmt: skip


@functools.cache
def _library() -> ctypes.CDLL:
    """Load the library; raises Unavailable with the reason if that fails."""
    spec = importlib.util.find_spec("tensorflow")
    folders = [pathlib.Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    paths = [folder / name for folder in folders for name in _LIBRARIES if (folder / name).exists()]
    if not paths:
        raise Unavailable("TensorFlow is installed without its C library")
    try:
        with libraries.first_import():
            library = ctypes.CDLL(str(paths[0]))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise Unavailable(str(error)) from error
    _check_views(library)
    return library


def _check_views(library: ctypes.CDLL) -> None:
    """Check that the memory layout of strings is the one we write."""
    text = b"a text that is too long to lie in place"
    texts = Texts.of_objects(np.array([text], object))
    ours, theirs = _views(texts), np.zeros(1, _VIEW)
    library.TF_StringInit(_address(theirs))
    library.TF_StringAssignView(_address(theirs), int(ours["address"][0]), len(text))
    if theirs.tobytes()[:16] != ours.tobytes()[:16]:
        raise Unavailable("strings have another memory layout")


def _views(texts: Texts) -> np.ndarray:
    """TensorFlow strings that point into the data of the texts."""
    views = np.zeros(texts.shape, _VIEW)
    views["size"] = texts.sizes * 4 + _IS_VIEW
    views["address"] = texts.starts + _address(texts.data)
    return views


def _address(values: np.ndarray) -> int:
    return values.__array_interface__["data"][0]


_STARTING = threading.Lock()


class Session:
    """A loaded SavedModel.

    Args:
        folder: of the SavedModel.
        signatures: of it.

    Attributes:
        signatures: by name.

    Raises:
        Unavailable: if the library is not there or cannot load it.
    """

    def __init__(self, folder: str, signatures: Mapping[str, Signature]):
        with _STARTING:
            self._library = _library()
        self.signatures = signatures
        status, options = self._library.TF_NewStatus(), self._library.TF_NewSessionOptions()
        self._library.TF_SetConfig(options, _CONFIG, len(_CONFIG), status)
        graph, tags = self._library.TF_NewGraph(), (c_char_p * 1)(b"serve")
        self._session = self._library.TF_LoadSessionFromSavedModel(
            options, None, os.fsencode(folder), tags, 1, graph, None, status
        )
        self._library.TF_DeleteSessionOptions(options)
        if (message := self._message(status)) is not None:
            self._library.TF_DeleteGraph(graph)
            raise Unavailable(message[1])
        self._operations = {
            slot.tensor: self._output(graph, slot.tensor)
            for signature in signatures.values()
            for slot in (*signature.inputs.values(), *signature.outputs.values())
        }
        weakref.finalize(self, _close, self._library, self._session, graph).atexit = False

    def _output(self, graph: int, tensor: str) -> _Output:
        name, _, index = tensor.partition(":")
        return _Output(self._library.TF_GraphOperationByName(graph, name.encode()), int(index or 0))

    def _message(self, status: int) -> tuple[int, str] | None:
        """The code and the text of an error, or None; frees the status."""
        code, text = self._library.TF_GetCode(status), self._library.TF_Message(status)
        self._library.TF_DeleteStatus(status)
        return (code, text.decode(errors="replace")) if code else None

    def run(self, name: str, inputs: Mapping[str, Values]) -> dict[str, np.ndarray]:
        """Run a signature.

        Args:
            name: of the signature.
            inputs: all of its inputs, cast to its dtypes; strings as Texts, or objects of str or bytes.

        Raises:
            GraphError: if the call fails in the graph.
            MemoryError: if there is too little memory.
        """
        signature = self.signatures[name]
        tensors = [_Given(self._library, inputs[key], slot.dtype) for key, slot in signature.inputs.items()]
        results = (c_void_p * len(signature.outputs))()
        try:
            status = self._library.TF_NewStatus()
            self._library.TF_SessionRun(
                self._session, None,
                self._outputs(slot.tensor for slot in signature.inputs.values()),
                (c_void_p * len(tensors))(*(tensor_of_input.tensor for tensor_of_input in tensors)), len(tensors),
                self._outputs(slot.tensor for slot in signature.outputs.values()), results, len(results),
                None, 0, None, status,
            )  # fmt: skip
            if (message := self._message(status)) is not None:
                raise MemoryError(message[1]) if message[0] == _EXHAUSTED else GraphError(message[1])
            return {key: _array(self._library, tensor) for key, tensor in zip(signature.outputs, results, strict=True)}
        finally:  # strings of an output may share memory with an input
            for tensor in (*filter(None, results), *(tensor_of_input.tensor for tensor_of_input in tensors)):
                self._library.TF_DeleteTensor(tensor)

    def _outputs(self, tensors: Iterable[str]) -> ctypes.Array:
        operations = [self._operations[tensor] for tensor in tensors]
        return (_Output * len(operations))(*operations)


def _close(library: ctypes.CDLL, session: int, graph: int) -> None:
    status = library.TF_NewStatus()
    library.TF_CloseSession(session, status)
    library.TF_DeleteSession(session, status)
    library.TF_DeleteGraph(graph)
    library.TF_DeleteStatus(status)


class _Given:
    """An array as a tensor of the library.

    Attributes:
        tensor: the tensor.
    """

    def __init__(self, library: ctypes.CDLL, values: Values, dtype: np.dtype):
        if dtype == _STRING:
            self._texts = values if isinstance(values, Texts) else Texts.of_objects(np.asarray(values, dtype))
            cells = _views(self._texts)
        else:
            cells = np.asarray(values, dtype, order="C")
        shape = (c_int64 * cells.ndim)(*cells.shape)
        self.tensor = library.TF_AllocateTensor(_NUMBERS[dtype], shape, cells.ndim, cells.nbytes)
        if cells.nbytes:
            ctypes.memmove(library.TF_TensorData(self.tensor), _address(cells), cells.nbytes)


def _array(library: ctypes.CDLL, tensor: int) -> np.ndarray:
    """The values of a tensor; strings as objects of bytes."""
    dtype = DTYPES[library.TF_TensorType(tensor)]
    shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
    data, size = library.TF_TensorData(tensor), math.prod(shape)
    if dtype != _STRING:
        return np.frombuffer(ctypes.string_at(data, size * dtype.itemsize) if size else b"", dtype).reshape(shape)
    texts = np.empty(size, object)
    for i in range(size):
        place = data + i * _VIEW.itemsize
        texts[i] = ctypes.string_at(library.TF_StringGetDataPointer(place), library.TF_StringGetSize(place))
    return texts.reshape(shape)
