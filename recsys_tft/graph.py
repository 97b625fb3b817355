"""The body of preprocessing_fn: the feature table applied to raw tensors."""

from collections.abc import Iterable, Mapping, Sequence

import tensorflow as tf
import tensorflow_transform as tft

from beam_pipelines.analyzers import FitStatistics
from recsys_tft.columns import Column
from recsys_tft.configuration.settings import Settings
from recsys_tft.cooccurrence import PairCounts
from recsys_tft.errors import InputError
from recsys_tft.features import raw_columns
from recsys_tft.ops import Fitting, drop_missing, present_only
from recsys_tft.statistics import Frequencies, Numbers, Statistic
from recsys_tft.vocabularies import FittedFile

_DTYPES = {"int64": tf.int64, "float": tf.float32, "string": tf.string}


def graph_dtype(column: Column) -> tf.DType:
    """The dtype in which the graph reads a raw column."""
    return _DTYPES[str(column.graph_type)]


def graph_columns(settings: Settings) -> tuple[Column, ...]:
    """The graph's inputs: every raw column that a feature reads whose option is enabled."""
    return raw_columns(settings.table.switched_on(settings))


def raw_feature_spec(settings: Settings) -> dict[str, tf.io.VarLenFeature]:
    """What the graph's inputs are: of any number of values, so that they may be missing."""
    return {column.name: tf.io.VarLenFeature(graph_dtype(column)) for column in graph_columns(settings)}


def engineer(inputs: Mapping[str, tf.Tensor], settings: Settings) -> dict[str, tf.Tensor]:
    """Every feature of the table, from raw columns of [batch] rows each."""
    columns = {column.name: column for column in graph_columns(settings)}
    tensors = {name: _sparse(inputs[name], column) for name, column in columns.items() if name in inputs}
    if not tensors:
        raise InputError(f"The inputs {sorted(inputs)} hold none of the raw columns {sorted(columns)}.")
    rows = next(iter(tensors.values())).dense_shape[0]
    tensors |= {name: empty_column(rows, graph_dtype(column)) for name, column in columns.items() if name not in inputs}
    features = [feature for feature in settings.table.features if feature.is_active(settings)]
    read = {feature.name: [tensors[source] for source in feature.sources] for feature in features}
    fitting = Fitting(settings, _fit(read, settings))
    return {feature.name: feature.op.apply(feature.name, read[feature.name], fitting) for feature in features}


def _fit(read: Mapping[str, list[tf.SparseTensor]], settings: Settings) -> dict[str, tf.Tensor | FittedFile]:
    """What the ops of the table need to know of the training window, learned in one pass.

    A vocabulary is learned from the values of all features that share it.
    """
    values: dict[str, list[tf.Tensor]] = {}
    statistics: dict[str, Statistic] = {}
    for feature in (feature for feature in settings.table.features if feature.name in read):
        asked = feature.op.statistic(read[feature.name], settings)
        if asked is not None:
            name = feature.vocabulary.name if feature.vocabulary else feature.name
            values.setdefault(name, []).append(asked[0])
            statistics[name] = asked[1]
    files = {name: statistic for name, statistic in statistics.items() if isinstance(statistic, Frequencies)}
    numbers = {name: statistic for name, statistic in statistics.items() if isinstance(statistic, Numbers)}
    pairs = {name: statistic for name, statistic in statistics.items() if isinstance(statistic, PairCounts)}
    return _fit_files(files, values) | _fit_numbers(numbers, values) | _fit_pairs(pairs, values)


def _fit_files(statistics: Mapping[str, Frequencies], values: Mapping[str, list[tf.Tensor]]) -> dict[str, FittedFile]:
    fitted = tft.experimental.ptransform_analyzer(
        [tf.concat(values[name], 0) for name in statistics],
        FitStatistics(tuple(statistics.items())),
        [tf.string] * len(statistics),
        [[]] * len(statistics),
        output_asset_default_values=[statistic.empty_file() for statistic in statistics.values()],
        name="fit_vocabularies",
    )
    files = zip(statistics.items(), fitted, strict=True)
    return {name: FittedFile(file, statistic.integers) for (name, statistic), file in files}


def _fit_numbers(statistics: Mapping[str, Numbers], values: Mapping[str, list[tf.Tensor]]) -> dict[str, tf.Tensor]:
    fitted = tft.experimental.ptransform_analyzer(
        [tf.concat(values[name], 0) for name in statistics],
        FitStatistics(tuple(statistics.items())),
        [tf.float32] * len(statistics),
        [[statistic.size] for statistic in statistics.values()],
        name="fit_numbers",
    )
    return _named(statistics, fitted)


def _fit_pairs(statistics: Mapping[str, PairCounts], values: Mapping[str, list[tf.Tensor]]) -> dict[str, tf.Tensor]:
    if not statistics:
        return {}
    fitted = tft.experimental.ptransform_analyzer(
        [tf.concat(values[name], 0) for name in statistics],
        FitStatistics(tuple(statistics.items())),
        [tf.int64] * len(statistics),
        [[None, 2]] * len(statistics),
        name="fit_pairs",
    )
    return _named(statistics, fitted)


def _named(statistics: Iterable[str], fitted: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    # TransformGraph.fitted finds the results by these names.
    return {name: tf.identity(result, f"{name}_fitted") for name, result in zip(statistics, fitted, strict=True)}


def _sparse(tensor: tf.Tensor | tf.SparseTensor | tf.RaggedTensor, column: Column) -> tf.SparseTensor:
    """Any kind of tensor of [batch, ...] as a SparseTensor of [batch, n] without missing values."""
    if isinstance(tensor, tf.RaggedTensor):
        tensor = tensor.to_sparse()
    if not isinstance(tensor, tf.SparseTensor):
        return present_only(tensor, column.zero_is_missing)
    dtype = graph_dtype(column)
    return drop_missing(tensor if tensor.dtype == dtype else tf.cast(tensor, dtype), column.zero_is_missing)


def empty_column(rows: tf.Tensor, dtype: tf.DType) -> tf.SparseTensor:
    """A raw column of so many rows that is missing in all of them."""
    shape = tf.stack([rows, 1])
    return tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], dtype), shape)
