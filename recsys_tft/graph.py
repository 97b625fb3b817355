"""The body of preprocessing_fn: the feature table applied to raw tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from recsys_tft.analyzers import FitStatistics, StatisticRequest
from recsys_tft.columns import IdKind
from recsys_tft.configuration import settings as settings_module
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.features import Feature
from recsys_tft.graph_inputs import empty_column, graph_columns, graph_dtype, sparse
from recsys_tft.ops import Fitting
from recsys_tft.output_checks import check_output, naming
from recsys_tft.statistics import Statistic


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any] | None = None) -> dict[str, tf.Tensor]:
    """Every feature of the table from raw inputs.

    Args:
        inputs: raw columns by name, as dense, sparse or ragged tensors; absent ones are missing in all rows, and
            those that no feature reads are ignored. Ids are int64 or strings, unless the setting `ids` says otherwise.
        custom_config: `{"settings": {...}}` or `{"config": "file.yaml"}`.

    Returns:
        Engineered features by name.

    Raises:
        InputError: if a setting is wrong, or `inputs` has no column that a feature reads.
    """
    config = custom_config or {}
    if "config" in config:
        settings = settings_module.load(config["config"])
    else:
        settings = settings_module.parse(dict(config.get("settings") or {}), "custom_config")
    columns = settings.table.raw.values()
    text_keys = {
        c.key for c in columns if c.kind is IdKind.AUTO and c.name in inputs and inputs[c.name].dtype == tf.string
    }
    kinds = {key: IdKind.STRING for key in text_keys if key}
    return engineer(inputs, settings.replace({"ids": kinds}) if kinds else settings)


Read = Mapping[str, Sequence[tf.SparseTensor]]  # the columns of features, by their names
Fit = Callable[[Sequence[Feature], Read, Settings], Mapping[str, Any]]


def engineer(inputs: Mapping[str, tf.Tensor], settings: Settings, fit: Fit | None = None) -> dict[str, tf.Tensor]:
    """Every feature of the table, from raw columns of [batch] rows each.

    Args:
        inputs: raw columns by name.
        settings: of the run.
        fit: returns the fitted values of ops; by default `analyzed`.
    """
    columns = {column.name: column for column in graph_columns(settings)}
    tensors = {name: sparse(inputs[name], column) for name, column in columns.items() if name in inputs}
    if not tensors:
        raise InputError(f"The inputs {sorted(inputs)} hold none of the raw columns {sorted(columns)}.")
    rows = next(iter(tensors.values())).dense_shape[0]
    tensors |= {name: empty_column(rows, graph_dtype(column)) for name, column in columns.items() if name not in inputs}
    features = settings.table.active(settings)
    read = {feature.name: [tensors[source] for source in feature.sources] for feature in features}
    fitting = Fitting(settings, (fit or analyzed)(features, read, settings))
    return {feature.name: _applied(feature, read[feature.name], fitting) for feature in features}


def _applied(feature: Feature, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> tf.Tensor | tf.RaggedTensor:
    """Apply the op of a feature, and check its output against its declaration."""
    if feature.vocabulary and feature.vocabulary.name not in fitting.fitted:
        raise InputError(
            f"The feature '{feature.name}' looks tokens up in the vocabulary '{feature.vocabulary.name}', which no "
            f"feature fits: {type(feature.op).__name__} itself fits none, so another feature has to be a Lookup in it."
        )
    with naming(feature.name, feature.op, "apply"):
        made = feature.op.apply(feature.name, columns, fitting)
    check_output(feature, made, fitting.settings)
    return made


def analyzed(features: Sequence[Feature], read: Read, settings: Settings) -> dict[str, Any]:
    """The fitted values of ops, which tf.Transform learns in one pass over the training split.

    Args:
        features: to fit.
        read: the columns of each feature.
        settings: of the run.

    Returns:
        By `Feature.fitted_name`, the result of `Statistic.fitted` on the output of the analysis.
    """
    values, requests = statistic_requests(features, read, settings)
    # In tf.Transform all outputs of an analyzer are files, or none.
    files = {name: one for name, one in requests.items() if one.statistic.in_file}
    tensors = {name: one for name, one in requests.items() if not one.statistic.in_file}
    outputs = _analyzed("fit_vocabularies", files, values) | _analyzed("fit_numbers", tensors, values)
    return {name: requests[name].statistic.fitted(output) for name, output in outputs.items()}


def statistic_requests(
    features: Sequence[Feature], read: Read, settings: Settings
) -> tuple[dict[str, list[tf.Tensor]], dict[str, StatisticRequest]]:
    """The statistics that the ops request, and the values that they are learned from; by `Feature.fitted_name`.

    A vocabulary is learned from the values of all features that share it.
    """
    values: dict[str, list[tf.Tensor]] = {}
    requests: dict[str, StatisticRequest] = {}
    for feature in features:
        with naming(feature.name, feature.op, "statistic"):
            statistic = feature.op.statistic(read[feature.name], settings)
            if statistic is None:
                continue
            _check_fittable(feature)
            request = _request(feature, *statistic)
        shared = requests.setdefault(feature.fitted_name, request)
        if shared != request:
            raise InputError(
                f"The feature '{feature.name}' asks for {request.statistic} of '{request.name}', and another one for "
                f"{shared.statistic}; features that share a vocabulary have to learn the same."
            )
        values.setdefault(request.name, []).append(statistic[0])
    return values, requests


# Columns of the training rows of pairs: `examples.fitting_rows.of_pairs`.
_FITTED_OF_PAIRS = ("history_video_ids", "video_id", "counted_video_id")


def _check_fittable(feature: Feature) -> None:
    """Refuse a feature of pairs that is fitted on columns that no training row has together."""
    others = [column.name for column in feature.columns if column.name not in _FITTED_OF_PAIRS]
    if feature.is_of_pairs and others:
        raise InputError(
            f"The feature '{feature.name}' cannot be fitted: an op that reads of a user and a video learns from "
            f"{', '.join(_FITTED_OF_PAIRS)} alone, and {type(feature.op).__name__} has a statistic of {others[0]} too; "
            "let it have none, or use a vocabulary that another feature fits."
        )


def _request(feature: Feature, values: tf.Tensor, statistic: Statistic) -> StatisticRequest:
    shape = values.shape[1:]
    if not shape.is_fully_defined():
        raise InputError(
            f"The feature '{feature.name}': {type(feature.op).__name__}.statistic gives values of the shape "
            f"{values.shape}; all dimensions but the first have to be known, as by tf.ensure_shape."
        )
    request = StatisticRequest(feature.fitted_name, statistic, np.dtype(values.dtype.as_numpy_dtype).name, tuple(shape))
    with naming(feature.name, statistic, "of"):
        statistic.merge([request.nothing])
    return request


def _analyzed(
    name: str, requests: Mapping[str, StatisticRequest], values: Mapping[str, Sequence[tf.Tensor]]
) -> dict[str, tf.Tensor]:
    """The outputs of statistics of one kind: paths of files, or tensors."""
    if not requests:
        return {}
    statistics = [one.statistic for one in requests.values()]
    in_files = statistics[0].in_file
    outputs = tft.experimental.ptransform_analyzer(
        [tf.concat(values[key], 0) for key in requests],
        FitStatistics(tuple(requests.values())),
        [tf.as_dtype(statistic.dtype) for statistic in statistics],
        [list(statistic.shape) for statistic in statistics],
        output_asset_default_values=[one.statistic.result(one.nothing).item() for one in requests.values()]
        if in_files
        else None,
        name=name,
    )
    return {key: output if in_files else named(key, output) for key, output in zip(requests, outputs, strict=True)}


def named(fitted_name: str, result: tf.Tensor) -> tf.Tensor:
    """Name the result of a statistic, so that `TransformGraph.fitted` finds it."""
    return tf.identity(result, f"{fitted_name}_fitted")
