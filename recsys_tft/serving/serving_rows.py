"""Raw rows in Arrow as the named inputs of a serving model."""

import dataclasses
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
_MISSING: dict[np.dtype, Any] = {  # as serving_inputs.MISSING_VALUES
    np.dtype(object): b"",
    np.dtype(np.float32): float("nan"),
    np.dtype(np.int64): EMPTY_IDS,
}


class InputSpec(Protocol):
    """The spec of an input: its number of dimensions, None for any, and its NumPy dtype."""

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def rank(self) -> int | None: ...


def tensors(columns: Mapping[str, Arrow], specs: "Mapping[str, tf.TensorSpec]") -> "dict[str, tf.Tensor]":
    """Like `arrays`, for a signature loaded by TensorFlow's Python."""
    import tensorflow as tf

    def values(name: str, spec: "tf.TensorSpec") -> np.ndarray:
        return np.asarray(_values(columns, name, np.dtype(spec.dtype.as_numpy_dtype), spec.shape.rank))

    return {name: tf.constant(values(name, spec), spec.dtype) for name, spec in specs.items()}


def arrays(columns: Mapping[str, Arrow], slots: Mapping[str, InputSpec]) -> dict[str, Values]:
    """The inputs of a signature, from raw columns by name; an absent column is an empty array.

    Args:
        columns: [n] values with the types of `raw_tables.read`, or [1] for all rows; nulls are missing.
        slots: the inputs of the signature.
    """
    return {name: _values(columns, name, slot.dtype, slot.rank) for name, slot in slots.items()}


def stacked(parts: Sequence[Mapping[str, Values]]) -> dict[str, Values]:
    """Stack [n] inputs of one row each, as returned by `arrays`."""
    return {name: _stacked([part[name] for part in parts]) for name in parts[0]}


def _stacked(parts: Sequence[Values]) -> Values:
    if len(parts) == 1 or not any(part.size for part in parts):
        return parts[0]
    arrays = [np.asarray(part) for part in parts]
    shape = (len(arrays), *np.max([array.shape[1:] for array in arrays], axis=0).astype(int))
    stack = np.full(shape, _MISSING[arrays[0].dtype], arrays[0].dtype)
    for row, array in enumerate(arrays):
        if array.size:
            place: tuple[Any, ...] = (row, *map(slice, array.shape[1:]))
            stack[place] = array[0]
    return stack


def repeated(values: Values, times: Sequence[int]) -> Values:
    """Repeat each row by its count; a column missing in every row stays so."""
    if not values.size:
        return values
    if values.dtype == Texts.dtype:
        return (values if isinstance(values, Texts) else Texts.of_objects(values)).repeated(times)
    return np.repeat(values, times, axis=0)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column in the form of a signature's input, for lookups of rows.

    Attributes:
        values: [n], or the concatenated values of all lists.
        bounds: [n + 1] int64 offsets of the lists; None for scalars.
    """

    values: Values
    bounds: np.ndarray | None = None

    @classmethod
    def of(cls, column: Arrow, dtype: np.dtype, rank: int | None) -> "Column":
        """Convert raw values."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if rank != 2:
            return cls(_filled(array, dtype))
        return cls(_filled(array.flatten(), dtype), np.append(0, np.cumsum(_lengths(array), dtype=np.int64)))

    def at(self, rows: np.ndarray) -> Values:
        """[m] values, or [m, longest] of lists, of [m] rows."""
        if self.bounds is None:
            return _taken(self.values, rows)
        starts = self.bounds[rows]
        lengths = self.bounds[rows + 1] - starts
        before = np.cumsum(lengths) - lengths
        flat = _taken(self.values, np.repeat(starts - before, lengths) + np.arange(lengths.sum()))
        return _padded(flat, lengths)


def _taken(values: Values, rows: np.ndarray) -> Values:
    return values.taken(rows) if isinstance(values, Texts) else values[rows]


def _values(columns: Mapping[str, Arrow], name: str, dtype: np.dtype, rank: int | None) -> Values:
    if name not in columns:
        return np.zeros([0] * (rank or 0), dtype)
    column = columns[name]
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return _padded(_filled(array.flatten(), dtype), _lengths(array)) if rank == 2 else _filled(array, dtype)


def _filled(array: pa.Array, dtype: np.dtype) -> Values:
    if dtype == Texts.dtype:
        return Texts.of_arrow(array)
    array = array.cast(pa.int64()) if pa.types.is_boolean(array.type) else array
    array = pc.fill_null(array, _MISSING[dtype]) if array.null_count else array
    return array.to_numpy(zero_copy_only=False).astype(dtype, copy=False)


def _lengths(array: pa.Array) -> np.ndarray:
    """[n] int: the lengths of lists, 0 if missing."""
    if len(array) == 1:
        return np.array([len(array.flatten())])
    lengths = pc.list_value_length(array)
    return (pc.fill_null(lengths, 0) if lengths.null_count else lengths).to_numpy(zero_copy_only=False)


def _padded(flat: Values, lengths: np.ndarray) -> Values:
    """[n, longest] from concatenated lists."""
    is_there = np.arange(int(lengths.max(initial=0))) < lengths[:, None]
    if isinstance(flat, Texts):
        return flat.padded(is_there)
    matrix = np.full(is_there.shape, _MISSING[flat.dtype], flat.dtype)
    matrix[is_there] = flat
    return matrix
