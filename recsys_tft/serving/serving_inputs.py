"""How a serving model is asked: one tensor per raw column, or tf.Examples.

A column of one value a row is a [batch] tensor, a list a [batch, n] tensor. An empty tensor stands for a column that is
missing in every row, and one row for the same value in every row: one user's columns go with those of many videos.
Within a tensor, '' and NaN are missing, and so is the least int64, which is no id.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from recsys_tft.columns import Column
from recsys_tft.graph import graph_dtype
from recsys_tft.statistics import EMPTY_IDS

Inputs = Mapping[str, tf.Tensor]
MISSING = {tf.string: "", tf.float32: float("nan"), tf.int64: EMPTY_IDS}


def specs(columns: Sequence[Column]) -> dict[str, tf.TensorSpec]:
    """What the named inputs are."""
    shapes = {column.name: [None, None] if column.is_list else [None] for column in columns}
    return {column.name: tf.TensorSpec(shapes[column.name], graph_dtype(column), column.name) for column in columns}


def example_spec(columns: Sequence[Column]) -> dict[str, tf.io.VarLenFeature]:
    """How tf.Examples are parsed."""
    return {column.name: tf.io.VarLenFeature(graph_dtype(column)) for column in columns}


def from_examples(examples: tf.Tensor, columns: Sequence[Column]) -> dict[str, tf.SparseTensor]:
    """The columns of [batch] serialized tf.Examples; a missing value is an absent or an empty feature."""
    return tf.io.parse_example(examples, example_spec(columns))


def from_named(inputs: Inputs, columns: Sequence[Column]) -> dict[str, tf.SparseTensor]:
    """The columns of named inputs, [batch, n] each, without what is missing.

    Raises:
        tf.errors.InvalidArgumentError: when called, if the inputs differ in how many rows they have.
    """
    lengths = tf.stack([tf.shape(inputs[column.name], tf.int64)[0] for column in columns])
    rows = tf.reduce_max(lengths)
    names = ", ".join(column.name for column in columns)
    fits = tf.reduce_all((lengths == rows) | (lengths <= 1))
    check = tf.debugging.Assert(fits, [f"Each of {names} needs 0, 1 or the same number of rows; found", lengths], 100)
    with tf.control_dependencies([check]):
        repeated = {c.name: _repeat(inputs[c.name], lengths[i], rows) for i, c in enumerate(columns)}
    return {column.name: _sparse(repeated[column.name], rows, column) for column in columns}


def _repeat(values: tf.Tensor, length: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    times = tf.where(length == 1, rows, 1)
    return tf.tile(values, [times] if values.shape.rank == 1 else tf.stack([times, 1]))


def _sparse(values: tf.Tensor, rows: tf.Tensor, column: Column) -> tf.SparseTensor:
    missing = MISSING[values.dtype]
    present = tf.where(tf.math.is_finite(values) if values.dtype.is_floating else tf.not_equal(values, missing))
    width = tf.shape(values, tf.int64)[1] if column.is_list else tf.constant(1, tf.int64)
    indices = present if column.is_list else tf.pad(present, [[0, 0], [0, 1]])
    return tf.SparseTensor(indices, tf.gather_nd(values, present), tf.stack([rows, tf.maximum(width, 1)]))
