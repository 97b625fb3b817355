"""The signatures of a SavedModel, read from its file without TensorFlow, which is slow to import.

References:
    https://protobuf.dev/programming-guides/encoding
    https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/protobuf/meta_graph.proto
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

CONTRIBUTIONS = "contributions"  # the signature, and the output, of a ranker whose graph explains its scores
# By TensorFlow's DataType. Strings are objects, as in NumPy arrays of TensorFlow.
DTYPES: dict[int, np.dtype] = {
    1: np.dtype(np.float32), 2: np.dtype(np.float64), 3: np.dtype(np.int32), 4: np.dtype(np.uint8),
    5: np.dtype(np.int16), 6: np.dtype(np.int8), 7: np.dtype(object), 9: np.dtype(np.int64), 10: np.dtype(np.bool_),
    17: np.dtype(np.uint16), 19: np.dtype(np.float16), 22: np.dtype(np.uint32), 23: np.dtype(np.uint64),
}  # fmt: skip
_META_GRAPHS, _SIGNATURES, _INPUTS, _OUTPUTS = 2, 5, 1, 2  # numbers of fields
_KEY, _VALUE = 1, 2  # of an entry of a map
_NAME, _DTYPE, _SHAPE, _DIM, _UNKNOWN = 1, 2, 3, 2, 3  # of a TensorInfo, and of its shape


@dataclasses.dataclass(frozen=True)
class Slot:
    """An input or output of a signature.

    Attributes:
        tensor: its name in the graph, as `StatefulPartitionedCall:0`.
        dtype: of NumPy.
        rank: number of dimensions; None: any.
    """

    tensor: str
    dtype: np.dtype
    rank: int | None


@dataclasses.dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a model, by name."""

    inputs: Mapping[str, Slot]
    outputs: Mapping[str, Slot]


def read(folder: str) -> dict[str, Signature]:
    """The signatures of a SavedModel by name.

    Raises:
        OSError, LookupError, ValueError: if the file is missing or damaged, or a type is not in DTYPES.
    """
    model = _Message(memoryview(pathlib.Path(folder, "saved_model.pb").read_bytes()))
    graph = _Message(model[_META_GRAPHS][0])
    return {
        name: Signature(_slots(signature[_INPUTS]), _slots(signature[_OUTPUTS]))
        for name, signature in _entries(graph[_SIGNATURES])
    }


def _slots(entries: list) -> dict[str, Slot]:
    return {
        name: Slot(str(info[_NAME][0], "utf-8"), DTYPES[info[_DTYPE][0]], _rank(info))
        for name, info in _entries(entries)
    }


def _rank(info: "_Message") -> int | None:
    shape = _Message(info[_SHAPE][0]) if info[_SHAPE] else {_DIM: [], _UNKNOWN: []}
    return None if shape[_UNKNOWN] else len(shape[_DIM])


def _entries(entries: list) -> Iterator[tuple[str, "_Message"]]:
    for entry in map(_Message, entries):
        if entry[_KEY][0] != b"__saved_model_init_op":
            yield str(entry[_KEY][0], "utf-8"), _Message(entry[_VALUE][0])


class _Message(dict):
    """The values of a message by field: integers, or bytes of strings and messages; [] for a missing field."""

    def __init__(self, data: memoryview):
        at = 0
        while at < len(data):
            tag, at = _varint(data, at)
            kind = tag & 7
            value: int | memoryview
            if kind == 0:
                value, at = _varint(data, at)
            else:
                size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
                value, at = data[at : at + size], at + size
                if len(value) < size:
                    raise EOFError("the file ends in the middle")
            self.setdefault(tag >> 3, []).append(value)

    def __missing__(self, field: int) -> list:
        return []


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number at a position, and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
