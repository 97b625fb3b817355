"""The inputs of the feature graph: their dtypes, and raw tensors as sparse ones without missing values."""

import tensorflow as tf

from recsys_tft.columns import Column
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import raw_columns
from recsys_tft.ops import drop_missing, present_only

_DTYPES = {"int64": tf.int64, "float": tf.float32, "string": tf.string}


def graph_dtype(column: Column) -> tf.DType:
    """The dtype in which the graph reads a raw column."""
    return _DTYPES[str(column.graph_type)]


def graph_columns(settings: Settings) -> tuple[Column, ...]:
    """The graph's inputs: the raw columns of all features with enabled options."""
    return raw_columns(settings.table.switched_on(settings))


def raw_feature_spec(settings: Settings) -> dict[str, tf.io.VarLenFeature]:
    """The feature specs of the graph's inputs, of any number of values, so that they may be missing."""
    return {column.name: tf.io.VarLenFeature(graph_dtype(column)) for column in graph_columns(settings)}


def sparse(tensor: tf.Tensor | tf.SparseTensor | tf.RaggedTensor, column: Column) -> tf.SparseTensor:
    """Any kind of tensor of [batch, ...] as a SparseTensor of [batch, n] without missing values."""
    if isinstance(tensor, tf.RaggedTensor):
        tensor = tensor.to_sparse()
    if not isinstance(tensor, tf.SparseTensor):
        return present_only(tensor, column.zero_is_missing)
    dtype = graph_dtype(column)
    return drop_missing(tensor if tensor.dtype == dtype else tf.cast(tensor, dtype), column.zero_is_missing)


def empty_column(rows: tf.Tensor, dtype: tf.DType) -> tf.SparseTensor:
    """A raw column that is missing in all rows."""
    shape = tf.stack([rows, 1])
    return tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], dtype), shape)
