"""Raw rows in Arrow as the named inputs of a serving model."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.serving.texts import Texts
from recsys_tft.statistics import EMPTY_IDS

if TYPE_CHECKING:
    import tensorflow as tf

Arrow: TypeAlias = pa.Array | pa.ChunkedArray
Values = np.ndarray | Texts
_MISSING: dict[np.dtype, Any] = {  # as serving_inputs.MISSING
    np.dtype(object): b"",
    np.dtype(np.float32): float("nan"),
    np.dtype(np.int64): EMPTY_IDS,
}


class Asked(Protocol):
    """What an input has to be: how many dimensions it has, None for any number, and its dtype, as NumPy has it."""

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def rank(self) -> int | None: ...


def tensors(columns: Mapping[str, Arrow], specs: "Mapping[str, tf.TensorSpec]") -> "dict[str, tf.Tensor]":
    """As `arrays`, for a signature that TensorFlow's Python has loaded."""
    import tensorflow as tf

    def values(name: str, spec: "tf.TensorSpec") -> np.ndarray:
        return np.asarray(_values(columns, name, np.dtype(spec.dtype.as_numpy_dtype), spec.shape.rank))

    return {name: tf.constant(values(name, spec), spec.dtype) for name, spec in specs.items()}


def arrays(columns: Mapping[str, Arrow], asked: Mapping[str, Asked]) -> dict[str, Values]:
    """What a signature asks for, of raw columns by name; a column that is not there is an empty array.

    Args:
        columns: [n] values as `raw_tables.read` types them, or [1] that hold for every row; nulls are missing.
        asked: the inputs of the signature.
    """
    return {name: _values(columns, name, each.dtype, each.rank) for name, each in asked.items()}


def stacked(asked: Sequence[Mapping[str, Values]]) -> dict[str, Values]:
    """Inputs of [n] rows of inputs of one row each, as `arrays` gives them."""
    return {name: _stacked([each[name] for each in asked]) for name in asked[0]}


def _stacked(parts: Sequence[Values]) -> Values:
    if len(parts) == 1 or not any(part.size for part in parts):
        return parts[0]
    arrays = [np.asarray(part) for part in parts]
    shape = (len(arrays), *np.max([array.shape[1:] for array in arrays], axis=0).astype(int))
    found = np.full(shape, _MISSING[arrays[0].dtype], arrays[0].dtype)
    for row, array in enumerate(arrays):
        if array.size:
            place: tuple[Any, ...] = (row, *map(slice, array.shape[1:]))
            found[place] = array[0]
    return found


def repeated(values: Values, times: Sequence[int]) -> Values:
    """Each row as often as is said; what is missing in every row stays so."""
    if not values.size:
        return values
    if values.dtype == Texts.dtype:
        return (values if isinstance(values, Texts) else Texts.of_objects(values)).repeated(times)
    return np.repeat(values, times, axis=0)


def _values(columns: Mapping[str, Arrow], name: str, dtype: np.dtype, rank: int | None) -> Values:
    if name not in columns:
        return np.zeros([0] * (rank or 0), dtype)
    column = columns[name]
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    found = _matrix(array, dtype) if rank == 2 else _filled(array, dtype)
    return found if isinstance(found, Texts) else found.astype(dtype, copy=False)


def _filled(array: pa.Array, dtype: np.dtype) -> Values:
    if dtype == Texts.dtype:
        return Texts.of_arrow(array)
    array = array.cast(pa.int64()) if pa.types.is_boolean(array.type) else array
    return pc.fill_null(array, _MISSING[dtype]).to_numpy(zero_copy_only=False)


def _matrix(array: pa.Array, dtype: np.dtype) -> Values:
    """[n, longest] of lists."""
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    flat = _filled(array.flatten(), dtype)
    is_there = np.arange(int(lengths.max(initial=0))) < lengths[:, None]
    if isinstance(flat, Texts):
        return flat.padded(is_there)
    matrix = np.full(is_there.shape, _MISSING[dtype], flat.dtype)
    matrix[is_there] = flat
    return matrix
