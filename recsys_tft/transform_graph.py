"""The saved transform graph, applied to raw rows in Arrow."""

import contextlib
import functools
import importlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig
from tensorflow.python.eager import context

from recsys_tft.columns import Column
from recsys_tft.errors import InputError, readable
from recsys_tft.features import Feature, raw_columns
from recsys_tft.graph_inputs import graph_dtype
from recsys_tft.graph_parts import GraphParts
from recsys_tft.storage.temporary import without_pattern

_ROWS_PER_CALL = 1 << 16
_LOADING = threading.Lock()
_LOADED: dict[str, "TransformGraph"] = {}  # by folder, the last ones
_KEPT = 2


def load_saved_model(folder: str, remedy: str) -> Any:
    """Load a SavedModel.

    Raises:
        InputError: naming the folder and the remedy, if it is damaged.
    """
    with readable(folder, remedy, tf.errors.OpError, DecodeError):
        return tf.saved_model.load(without_pattern(folder))


class TransformGraph:
    """A transform graph, as tf.Transform writes it in `transform_fn`.

    Args:
        model: has the function of all raw columns, `transform_fn`, and its resources.
        fitted: results of the full-pass ops, by feature.
    """

    def __init__(self, model: Any, fitted: Mapping[str, np.ndarray]):
        self._model = model
        self.fitted = fitted
        self._parts = GraphParts(model.transform_fn)
        self._functions: dict[tuple[str, ...], Callable] = {}

    @classmethod
    def load(cls, saved_model: str) -> "TransformGraph":
        """The graph in a folder."""
        importlib.import_module("tensorflow_text")  # registers ops of text encoders
        model = load_saved_model(saved_model, "run the main job again, with --overwrite")
        function = model.transform_fn
        names = [tensor.name for tensor in function.graph.inputs[-len(function.captured_inputs) :]]
        suffix = "_fitted_input:0"
        captured = zip(names, function.captured_inputs, strict=True)
        fitted = {name.removesuffix(suffix): value.numpy() for name, value in captured if name.endswith(suffix)}
        return cls(model, fitted)

    def engineer(self, rows: pa.Table, features: Sequence[Feature]) -> pa.Table:
        """The features of [n] raw rows, one column each.

        Args:
            rows: with the raw columns that the features read, with the types of `raw_tables.read`.
            features: to compute; only this part of the graph runs.

        Raises:
            InputError: if an op returns another number of rows than its input has.
        """
        in_rows = [feature for feature in features if not feature.op.once_per_value]
        columns = dict(zip(names_of(in_rows), self._engineer_rows(rows, in_rows), strict=True))
        for feature in features:
            if feature.op.once_per_value:
                columns[feature.name] = self._engineer_values(rows, feature)
        return pa.table({name: columns[name] for name in names_of(features)})

    def _engineer_rows(self, rows: pa.Table, features: Sequence[Feature]) -> list[pa.Array]:
        if not features:
            return []
        columns = raw_columns(tuple(features))
        starts = range(0, max(len(rows), 1), _ROWS_PER_CALL)
        parts = [self._call(rows.slice(start, _ROWS_PER_CALL), columns, features) for start in starts]
        return [column.combine_chunks() for column in pa.concat_tables(parts).columns]

    def _engineer_values(self, rows: pa.Table, feature: Feature) -> pa.Array:
        """Like `_engineer_rows`, computing each distinct value once."""
        (column,) = feature.columns
        source = rows[column.name].combine_chunks()
        encoded = (source.flatten() if column.is_list else source).dictionary_encode()
        size = len(encoded.dictionary)
        codes = encoded.indices.fill_null(size)  # the row after the distinct values is missing
        alone = pa.concat_arrays([encoded.dictionary, pa.nulls(1, encoded.dictionary.type)])
        if column.is_list:
            alone = pa.ListArray.from_arrays(pa.array([*range(size + 1), size], pa.int32()), alone)
        (made,) = self._engineer_rows(pa.table({column.name: alone}), [feature])
        if not column.is_list:
            return made.take(codes)
        offsets = np.concatenate([[0], np.cumsum(_lengths(source, column))])
        if not encoded.null_count and (made.value_lengths().to_numpy()[:size] == 1).all():
            return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), made[:size].flatten().take(codes))
        # A missing value, such as an empty string, becomes an empty list.
        sizes, begins = (array.to_numpy()[codes] for array in (made.value_lengths(), made.offsets[:-1]))
        ends = np.concatenate([[0], np.cumsum(sizes)])
        within = np.arange(ends[-1]) - np.repeat(ends[:-1], sizes)
        values = made.values.take(pa.array(np.repeat(begins, sizes) + within))
        return pa.ListArray.from_arrays(pa.array(ends[offsets], pa.int32()), values)

    def _call(self, rows: pa.Table, columns: Sequence[Column], features: Sequence[Feature]) -> pa.Table:
        inputs = {column.name: sparse_of(rows[column.name], column) for column in columns}
        with _optimized_once():
            outputs = self._function(features)(inputs)
        made = {feature.name: _arrow(outputs[feature.name]) for feature in features}
        for feature in features:
            if (count := len(made[feature.name])) != len(rows):
                raise InputError(
                    f"The feature '{feature.name}': its op {type(feature.op).__name__} makes {count:,} values of "
                    f"{len(rows):,} rows; each row needs one value, even if columns are missing (`ops.scatter`)."
                )
        return pa.table(made)

    def _function(self, features: Sequence[Feature]) -> Callable:
        names = tuple(feature.name for feature in features)
        # Traced once for any number of rows, without AutoGraph, as there is no Python control flow.
        specs = {c.name: tf.SparseTensorSpec([None, None], graph_dtype(c)) for c in raw_columns(tuple(features))}
        function = tf.function(functools.partial(self._parts.call, names), input_signature=[specs], autograph=False)
        return self._functions.setdefault(names, function)  # atomic, as threads share a graph


@contextlib.contextmanager
def _optimized_once() -> Iterator[None]:
    """Has Grappler go over functions that this thread calls as it does in `serving.c_library`: once, without MLIR.

    So they compute what is served, and a first call takes a quarter less time.
    """
    own = context.context()
    before = own.function_call_options
    own.function_call_options = _options(before.config_proto_serialized)
    try:
        yield
    finally:
        own.function_call_options = before


@functools.cache
def _options(config: bytes) -> context.FunctionCallOptions:
    found = ConfigProto.FromString(config)
    found.graph_options.rewrite_options.meta_optimizer_iterations = RewriterConfig.ONE
    found.graph_options.rewrite_options.disable_tfg_optimizer = True
    return context.FunctionCallOptions(config_proto=found)


def names_of(features: Sequence[Feature]) -> list[str]:
    """The names of features, in their order."""
    return [feature.name for feature in features]


def load(saved_model: str) -> TransformGraph:
    """The graph in a folder, loaded once per process."""
    with _LOADING:
        if saved_model not in _LOADED:
            _keep(saved_model, TransformGraph.load(saved_model))
        return _LOADED[saved_model]


def keep(saved_model: str, graph: TransformGraph) -> None:
    """Cache the graph that this process has saved in the folder, for `load`."""
    with _LOADING:
        _keep(saved_model, graph)


def _keep(saved_model: str, graph: TransformGraph) -> None:
    while len(_LOADED) >= _KEPT:
        del _LOADED[next(iter(_LOADED))]
    _LOADED[saved_model] = graph


def sparse_of(values: pa.ChunkedArray | pa.Array, column: Column) -> tf.SparseTensor:
    """[n] Arrow values, or lists of them, as a SparseTensor; nulls are absent."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    lengths = _lengths(array, column)
    flat = array.flatten() if column.is_list else array
    offset = np.cumsum(lengths) - lengths
    places = np.arange(len(flat)) - np.repeat(offset, lengths)
    valid = flat.is_valid().to_numpy(zero_copy_only=False)
    indices = np.stack([np.repeat(np.arange(len(array)), lengths), places], axis=1)[valid]
    shape = [len(array), int(lengths.max(initial=1))]
    return tf.SparseTensor(indices, _values(flat.drop_null(), column), shape)


def _lengths(array: pa.Array, column: Column) -> np.ndarray:
    if not column.is_list:
        return np.ones(len(array), np.int64)
    return array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _values(flat: pa.Array, column: Column) -> tf.Tensor:
    """Values as a tensor; strings are gathered from their distinct values, as each costs a Python object."""
    if graph_dtype(column) != tf.string:
        return tf.constant(flat.to_numpy(zero_copy_only=False), graph_dtype(column))
    encoded = flat.dictionary_encode()
    distinct = tf.constant(encoded.dictionary.to_pylist(), tf.string, [len(encoded.dictionary)])
    return tf.gather(distinct, encoded.indices.to_numpy())


def _arrow(tensor: tf.Tensor | tf.RaggedTensor) -> pa.Array:
    if isinstance(tensor, tf.RaggedTensor):
        splits = pa.array(tensor.row_splits.numpy().astype(np.int32))
        return pa.ListArray.from_arrays(splits, pa.array(tensor.flat_values.numpy()))
    array = tensor.numpy()
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
