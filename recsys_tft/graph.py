"""The body of preprocessing_fn: the feature table applied to raw tensors."""

from collections.abc import Mapping

import tensorflow as tf

from recsys_tft.columns import Column
from recsys_tft.errors import InputError
from recsys_tft.features import FEATURES, VOCABULARIES, raw_columns
from recsys_tft.ops import Fitting, drop_missing, present_only
from recsys_tft.settings import Settings

_DTYPES = {"int64": tf.int64, "float": tf.float32, "string": tf.string}


def graph_dtype(column: Column) -> tf.DType:
    """The dtype in which the graph reads a raw column."""
    return _DTYPES[str(column.graph_type)]


def raw_feature_spec() -> dict[str, tf.io.VarLenFeature]:
    """The graph's inputs: every raw column that a feature reads, of any number of values so that it may be missing."""
    return {column.name: tf.io.VarLenFeature(graph_dtype(column)) for column in raw_columns()}


def engineer(inputs: Mapping[str, tf.Tensor], settings: Settings) -> dict[str, tf.Tensor]:
    """Every feature of the table, from raw columns of [batch] rows each."""
    columns = {column.name: column for column in raw_columns()}
    tensors = {name: _sparse(inputs[name], column) for name, column in columns.items() if name in inputs}
    if not tensors:
        raise InputError(f"The inputs {sorted(inputs)} hold none of the raw columns {sorted(columns)}.")
    rows = next(iter(tensors.values())).dense_shape[0]
    tensors |= {name: _empty(rows, column) for name, column in columns.items() if name not in inputs}
    fitting = Fitting(settings)
    for vocabulary in VOCABULARIES:
        readers = [feature for feature in FEATURES if feature.vocabulary == vocabulary]
        values = tf.concat([f.op.vocabulary_values([tensors[s] for s in f.sources]) for f in readers], 0)
        fitting.vocabulary_files[vocabulary.name] = vocabulary.fit(values, settings.vocabulary(vocabulary.name))
    return {f.name: f.op.apply(f.name, [tensors[s] for s in f.sources], fitting) for f in FEATURES}


def _sparse(tensor: tf.Tensor | tf.SparseTensor | tf.RaggedTensor, column: Column) -> tf.SparseTensor:
    """Any kind of tensor of [batch, ...] as a SparseTensor of [batch, n] without missing values."""
    if isinstance(tensor, tf.RaggedTensor):
        tensor = tensor.to_sparse()
    if not isinstance(tensor, tf.SparseTensor):
        return present_only(tensor)
    dtype = graph_dtype(column)
    return drop_missing(tensor if tensor.dtype == dtype else tf.cast(tensor, dtype))


def _empty(rows: tf.Tensor, column: Column) -> tf.SparseTensor:
    shape = tf.stack([rows, 1])
    return tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], graph_dtype(column)), shape)
