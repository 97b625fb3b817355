"""Raw rows in Arrow as the named inputs of a serving model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.statistics import EMPTY_IDS

if TYPE_CHECKING:
    import tensorflow as tf

Arrow = pa.Array | pa.ChunkedArray
_MISSING: dict[np.dtype, Any] = {  # as serving_inputs.MISSING
    np.dtype(object): b"",
    np.dtype(np.float32): float("nan"),
    np.dtype(np.int64): EMPTY_IDS,
}


class Asked(Protocol):
    """What an input has to be: how many dimensions it has, and its dtype, as NumPy has it."""

    dtype: np.dtype
    rank: int


def tensors(columns: Mapping[str, Arrow], specs: "Mapping[str, tf.TensorSpec]") -> "dict[str, tf.Tensor]":
    """As `arrays`, for a signature that TensorFlow's Python has loaded."""
    import tensorflow as tf

    return {
        name: tf.constant(_values(columns, name, np.dtype(spec.dtype.as_numpy_dtype), spec.shape.rank), spec.dtype)
        for name, spec in specs.items()
    }


def arrays(columns: Mapping[str, Arrow], asked: Mapping[str, Asked]) -> dict[str, np.ndarray]:
    """What a signature asks for, of raw columns by name; a column that is not there is an empty array.

    Args:
        columns: [n] values as `raw_tables.read` types them, or [1] that hold for every row; nulls are missing.
        asked: the inputs of the signature.
    """
    return {name: _values(columns, name, each.dtype, each.rank) for name, each in asked.items()}


def _values(columns: Mapping[str, Arrow], name: str, dtype: np.dtype, rank: int) -> np.ndarray:
    if name not in columns:
        return np.zeros([0] * rank, dtype)
    column = columns[name]
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return (_matrix(array, dtype) if rank == 2 else _filled(array, dtype)).astype(dtype, copy=False)


def _filled(array: pa.Array, dtype: np.dtype) -> np.ndarray:
    array = array.cast(pa.int64()) if pa.types.is_boolean(array.type) else array
    return pc.fill_null(array, _MISSING[dtype]).to_numpy(zero_copy_only=False)


def _matrix(array: pa.Array, dtype: np.dtype) -> np.ndarray:
    """[n, longest] of lists."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    flat = _filled(array.flatten(), dtype)
    matrix = np.full((len(array), int(lengths.max(initial=0))), _MISSING[dtype], flat.dtype)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = flat
    return matrix
