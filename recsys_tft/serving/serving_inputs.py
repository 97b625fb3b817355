"""Inputs of a serving model: one tensor per raw column, or tf.Examples.

A column of scalars is [batch] or [batch, 1], a column of lists [batch, n]. An empty tensor of any shape is a column
that is missing in every row; one row is broadcast, such as one user's columns for many videos. Within a tensor, '',
NaN, the least int64 and a duration of 0 are missing; docs/missing.md has the table. UUIDs are strings in any case.

A value that a run would reject, such as an age of -5, raises an InvalidArgumentError that names the column.
"""

import contextlib
from collections.abc import Mapping, Sequence

import tensorflow as tf

from recsys_tft.columns import Column, IdKind
from recsys_tft.graph_inputs import graph_dtype
from recsys_tft.statistics import EMPTY_IDS

Inputs = Mapping[str, tf.Tensor]
MISSING_VALUES = {tf.string: "", tf.float32: float("nan"), tf.int64: EMPTY_IDS}
_SHOWN = 100  # numbers in a message


def specs(columns: Sequence[Column]) -> dict[str, tf.TensorSpec]:
    """The specs of the named inputs."""
    shapes = {column.name: [None, None] if column.is_list else [None] for column in columns}
    return {column.name: tf.TensorSpec(shapes[column.name], graph_dtype(column), column.name) for column in columns}


def sparse_specs(columns: Sequence[Column]) -> dict[str, tf.SparseTensorSpec]:
    """The specs of the results of `from_named` and `from_examples`."""
    return {column.name: tf.SparseTensorSpec([None, None], graph_dtype(column)) for column in columns}


def example_spec(columns: Sequence[Column]) -> dict[str, tf.io.VarLenFeature]:
    """The parsing specs of tf.Examples."""
    return {column.name: tf.io.VarLenFeature(graph_dtype(column)) for column in columns}


def from_examples(examples: tf.Tensor, columns: Sequence[Column]) -> dict[str, tf.SparseTensor]:
    """The columns of [batch] serialized tf.Examples, without missing values; absent and empty features are missing.

    Raises:
        tf.errors.InvalidArgumentError: when called, if a scalar column has several values, or a value is refused.
    """
    parsed = tf.io.parse_example(examples, example_spec(columns))
    single = [column for column in columns if not column.is_list]
    widths = {column.name: parsed[column.name].dense_shape for column in single}
    fits = tf.reduce_all([shape[1] <= 1 for shape in widths.values()])
    with _asserted(fits, "A feature of one value a row has several; found [rows, values] of", widths):
        return {column.name: _present_only(parsed[column.name], column) for column in columns}


def _present_only(column: tf.SparseTensor, spec: Column) -> tf.SparseTensor:
    kept = tf.where(_is_present(column.values, spec))
    values = _usable(tf.gather_nd(column.values, kept), spec)
    return tf.SparseTensor(tf.gather_nd(column.indices, kept), values, column.dense_shape)


def from_named(inputs: Inputs, columns: Sequence[Column]) -> dict[str, tf.SparseTensor]:
    """The columns of named inputs, [batch, n] each, without missing values.

    Raises:
        tf.errors.InvalidArgumentError: when called, if the inputs differ in their number of rows, a scalar column has
            several values per row, a list is not [batch, n], or a value is refused.
    """
    named = {column.name: _of_any_shape(inputs[column.name]) for column in columns}
    shapes = {name: tf.shape(values, tf.int64) for name, values in named.items()}
    lengths = tf.stack([_rows(shape) for shape in shapes.values()])
    sizes = tf.stack([tf.size(values, tf.int64) for values in named.values()])
    rows = tf.reduce_max(lengths)
    equal = tf.reduce_all((lengths == rows) | (lengths <= 1))
    equal = _asserted(equal, "Each column needs 0, 1 or the same number of rows; found the shapes", shapes)
    lists = tf.constant([column.is_list for column in columns])
    ranks = tf.stack([tf.size(shape) for shape in shapes.values()])
    fits = tf.reduce_all(tf.where(lists, (ranks == 2) | (sizes == 0), sizes <= lengths))
    fits = _asserted(fits, "A column of one value a row needs a shape of [batch], a list [batch, n]; found", shapes)
    with equal, fits:
        widths = tf.unstack(sizes // tf.maximum(lengths, 1), len(columns))
        times = tf.unstack(tf.where(lengths == 1, rows, 1), len(columns))
    return {c.name: _sparse(named[c.name], times[i], rows, widths[i], c) for i, c in enumerate(columns)}


def ids_by_row(values: tf.Tensor, rows: tf.Tensor, kind: IdKind) -> tf.Tensor:
    """[rows, n] ids of a kind, from [rows, n] or [1, n]; [rows, 0] from an empty tensor of any shape.

    Raises:
        tf.errors.InvalidArgumentError: when called, if they have another shape.
    """
    untyped = _of_any_shape(values)
    shape, size = tf.shape(untyped), tf.size(untyped)
    length = _rows(shape)
    fits = (size == 0) | ((tf.size(shape) == 2) & ((length == rows) | (length == 1)))
    with _asserted(fits, "exclude needs a shape of [batch, n], [1, n] or [0]; found", {"exclude": shape}):
        length = tf.where(size == 0, 1, length)
    ids = tf.broadcast_to(tf.reshape(untyped, [length, size // length]), [rows, size // length])
    return _in_one_case(ids, kind)


def one_by_row(values: tf.Tensor, rows: tf.Tensor, name: str) -> tf.Tensor:
    """[rows, 1] from [rows] or [rows, 1] numbers, or [1, 1] from one for all rows.

    Raises:
        tf.errors.InvalidArgumentError: when called, if there is another number of them.
    """
    size, shape = tf.size(values), tf.shape(values)
    with _asserted((size == 1) | (size == rows), f"{name} needs one number, or [batch]; found", {"": shape}):
        return tf.reshape(values, [-1, 1])


def _in_one_case(ids: tf.Tensor, kind: IdKind) -> tf.Tensor:
    """Ids as in rows: UUIDs in lower case."""
    return tf.strings.lower(ids) if kind is IdKind.UUID else ids


def _of_any_shape(values: tf.Tensor) -> tf.Tensor:
    """The same tensor with an unknown static shape: `[]` for a list has rank 1, not 2."""
    return tf.compat.v1.placeholder_with_default(values, None)


def _rows(shape: tf.Tensor) -> tf.Tensor:
    """The first dimension; 1 for a scalar."""
    return tf.concat([shape, tf.ones([1], shape.dtype)], 0)[0]


def _sparse(values: tf.Tensor, times: tf.Tensor, rows: tf.Tensor, width: tf.Tensor, column: Column) -> tf.SparseTensor:
    flat = tf.tile(tf.reshape(values, [-1]), [times])
    present = tf.where(_is_present(flat, column))
    usable = _usable(tf.gather_nd(flat, present), column)
    width = tf.maximum(width, 1)
    indices = tf.concat([present // width, present % width], 1) if column.is_list else tf.pad(present, _SECOND)
    return tf.SparseTensor(indices, usable, tf.stack([rows, width]))


_SECOND = [[0, 0], [0, 1]]  # a column of zeros behind the first one


def _is_present(values: tf.Tensor, column: Column) -> tf.Tensor:
    """[n] bool."""
    missing = MISSING_VALUES[values.dtype]
    present = tf.logical_not(tf.math.is_nan(values)) if values.dtype.is_floating else tf.not_equal(values, missing)
    return tf.logical_and(present, tf.not_equal(values, 0)) if column.zero_is_missing else present


def _usable(values: tf.Tensor, column: Column) -> tf.Tensor:
    """The values as in rows, after a check that they are within the limits of their column."""
    if column.limits is None:
        return _in_one_case(values, column.kind)
    low, high = column.limits
    usable = values >= low
    if values.dtype.is_floating or high < values.dtype.max:
        usable = usable & (values < high)
    sentence = f"{column.name} needs to be {column.wanted}, or missing; found"
    with _asserted(tf.reduce_all(usable), sentence, {"": values}):
        return tf.identity(values)


def _asserted(holds: tf.Tensor, sentence: str, tensors: Mapping[str, tf.Tensor]) -> contextlib.AbstractContextManager:
    """Run the block if a condition holds; otherwise the call ends with a sentence and the tensors.

    tf.debugging.Assert adds a conditional, which takes longer than these checks.
    """
    shown = [part for name, values in tensors.items() for part in ([name] if name else []) + [values]]
    check = tf.raw_ops.Assert(condition=holds, data=[sentence, *shown], summarize=_SHOWN)
    return tf.control_dependencies([check])
