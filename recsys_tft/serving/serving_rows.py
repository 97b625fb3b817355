"""Raw rows in Arrow as the named inputs of a serving model."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from recsys_tft.serving.serving_inputs import MISSING

Arrow = pa.Array | pa.ChunkedArray


def tensors(columns: Mapping[str, Arrow], specs: Mapping[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """What a signature asks for, of raw columns by name; a column that is not there is an empty tensor.

    Args:
        columns: [n] values as `raw_tables.read` types them, or [1] that hold for every row; nulls are missing.
        specs: of the signature.
    """
    return {
        name: _tensor(columns[name], spec) if name in columns else tf.zeros([0] * spec.shape.rank, spec.dtype)
        for name, spec in specs.items()
    }


def _tensor(column: Arrow, spec: tf.TensorSpec) -> tf.Tensor:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = _matrix(array, spec.dtype) if spec.shape.rank == 2 else _filled(array, spec.dtype)
    return tf.constant(values, spec.dtype)


def _filled(array: pa.Array, dtype: tf.DType) -> np.ndarray:
    missing = MISSING[dtype]
    array = array.cast(pa.int64()) if pa.types.is_boolean(array.type) else array
    return pc.fill_null(array, missing.encode() if isinstance(missing, str) else missing).to_numpy(zero_copy_only=False)


def _matrix(array: pa.Array, dtype: tf.DType) -> np.ndarray:
    """[n, longest] of lists."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    flat = _filled(array.flatten(), dtype)
    matrix = np.full((len(array), int(lengths.max(initial=0))), MISSING[dtype], flat.dtype)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = flat
    return matrix
