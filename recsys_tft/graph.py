"""The body of preprocessing_fn: the feature table applied to raw tensors."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from recsys_tft.analyzers import FitStatistics
from recsys_tft.configuration import settings as settings_module
from recsys_tft.configuration.settings import Settings
from recsys_tft.cooccurrence import PairCounts
from recsys_tft.errors import InputError
from recsys_tft.features import Feature
from recsys_tft.graph_inputs import empty_column, graph_columns, graph_dtype, sparse
from recsys_tft.ops import Fitting
from recsys_tft.statistics import Frequencies, Numbers, Statistic
from recsys_tft.vocabularies import FittedFile


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any] | None = None) -> dict[str, tf.Tensor]:
    """Every feature of the table from raw inputs.

    Args:
        inputs: raw columns by name, as dense, sparse or ragged tensors; an absent one is missing everywhere, and
            those that no feature reads are ignored.
        custom_config: `{"settings": {...}}` or `{"config": "file.yaml"}`.

    Returns:
        Engineered features by name.

    Raises:
        InputError: if a setting is wrong, or `inputs` holds no column that a feature reads.
    """
    config = custom_config or {}
    if "config" in config:
        return engineer(inputs, settings_module.load(config["config"]))
    return engineer(inputs, settings_module.parse(dict(config.get("settings") or {}), "custom_config"))


def engineer(inputs: Mapping[str, tf.Tensor], settings: Settings) -> dict[str, tf.Tensor]:
    """Every feature of the table, from raw columns of [batch] rows each."""
    columns = {column.name: column for column in graph_columns(settings)}
    tensors = {name: sparse(inputs[name], column) for name, column in columns.items() if name in inputs}
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
            _check_fittable(feature)
            name = feature.vocabulary.name if feature.vocabulary else feature.name
            values.setdefault(name, []).append(asked[0])
            statistics[name] = asked[1]
    files = {name: statistic for name, statistic in statistics.items() if isinstance(statistic, Frequencies)}
    numbers = {name: statistic for name, statistic in statistics.items() if isinstance(statistic, Numbers)}
    pairs = {name: statistic for name, statistic in statistics.items() if isinstance(statistic, PairCounts)}
    return _fit_files(files, values) | _fit_numbers(numbers, values) | _fit_pairs(pairs, values)


# What the training rows of pairs hold: `labelling.fitting_rows.of_pairs`.
_FITTED_OF_PAIRS = ("history_video_ids", "video_id", "counted_video_id")


def _check_fittable(feature: Feature) -> None:
    """InputError for a feature of pairs that learns from columns which no training row has together."""
    others = [source for source in feature.sources if source not in _FITTED_OF_PAIRS]
    if feature.op.joins and others:
        raise InputError(
            f"The feature '{feature.name}' cannot be fitted: an op that joins a user and a video learns from "
            f"{', '.join(_FITTED_OF_PAIRS)} alone, and {type(feature.op).__name__} has a statistic of {others[0]} too; "
            "let it have none, or use a vocabulary that another feature fits."
        )


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
