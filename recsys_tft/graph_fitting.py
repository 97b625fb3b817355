"""Fits the graph in the main job: the statistics of the ops, and the one trace that is saved.

`tft_beam.AnalyzeDataset(preprocessing_fn)` makes the same graph from the same rows; docs/decisions/0026 has the reasons
not to use it.
"""

import functools
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph
from tensorflow_transform import DatasetMetadata, analyzer_nodes, impl_helper, schema_inference
from tensorflow_transform.graph_context import TFGraphContext
from tensorflow_transform.saved import saved_transform_io_v2
from tensorflow_transform.tf_metadata import metadata_io

from recsys_tft import analyzers, graph, ids, transform_graph
from recsys_tft.analyzers import StatisticRequest
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.examples.fitting_rows import RETIRED
from recsys_tft.features import Entity, Feature
from recsys_tft.frequencies import Frequencies
from recsys_tft.graph_inputs import empty_column, graph_columns, graph_dtype, sparse

_NAME = "transform_fn"  # of the function in a saved graph
METADATA = impl_helper.METADATA_DIR_NAME  # the folder that describes the outputs of a saved graph


def statistic_requests(settings: Settings) -> tuple[StatisticRequest, ...]:
    """The statistics that the ops of the table request, in their order."""
    features = settings.table.active(settings)
    _, requests = graph.statistic_requests(features, _read(features, pa.table({}), settings), settings)
    return tuple(requests.values())


def states_of_rows(
    entity: Entity, rows: pa.Table, requests: Sequence[StatisticRequest], settings: Settings
) -> list[Any]:
    """The state of each statistic for training rows of one entity.

    Args:
        entity: of the features to fit.
        rows: raw columns; absent ones are missing in all rows. Vocabularies do not count RETIRED rows.
        requests: of `statistic_requests`.
        settings: of the run.
    """
    features = [feature for feature in settings.table.active(settings) if feature.entity is entity]
    arrays = lately = _values(features, rows, settings)
    if RETIRED in rows.column_names:
        lately = _values(features, rows.filter(pc.invert(rows[RETIRED])), settings)
    arrays_of_requests = [lately if isinstance(request.statistic, Frequencies) else arrays for request in requests]
    return [
        request.of(arrays_by_name[request.name]) if request.name in arrays_by_name else request.nothing
        for request, arrays_by_name in zip(requests, arrays_of_requests, strict=True)
    ]


def _values(features: Sequence[Feature], rows: pa.Table, settings: Settings) -> dict[str, np.ndarray]:
    """The input of each statistic, by its name."""
    values, _ = graph.statistic_requests(features, _read(features, ids.shown(rows), settings), settings)
    return {name: np.concatenate([tensor.numpy() for tensor in tensors]) for name, tensors in values.items()}


def _read(features: Sequence[Feature], rows: pa.Table, settings: Settings) -> graph.Read:
    """The columns of features as tensors of the graph."""
    columns = {column.name: column for feature in features for column in feature.columns}
    tensors = {
        name: sparse(transform_graph.sparse_of(rows[name], column), column)
        if name in rows.column_names
        else empty_column(tf.constant(len(rows), tf.int64), graph_dtype(column))
        for name, column in columns.items()
    }
    return {feature.name: [tensors[source] for source in feature.sources] for feature in features}


def check(requests: Sequence[StatisticRequest], folder: str, settings: Settings) -> None:
    """Trace the table with empty statistics, so that errors of ops are found before any row is read.

    Args:
        requests: of `statistic_requests`.
        folder: for files.
        settings: of the run.

    Raises:
        InputError: naming the feature.
    """
    nothing = analyzers.outputs([one.nothing for one in requests], requests, folder)
    module, function = _function(nothing, requests, folder, settings, looks=True)
    traced = saved_transform_io_v2.trace_and_update_module(module, function, _NAME, strip_control_dependencies=False)
    _refuse_analyzers(traced.graph)


def save(
    outputs: Mapping[str, np.ndarray], requests: Sequence[StatisticRequest], folder: str, settings: Settings
) -> str:
    """Trace the table with fitted values, let tf.Transform save it, and return its path below `folder`.

    Args:
        outputs: of the statistics by name; paths for files.
        requests: of `statistic_requests`.
        folder: of this graph alone.
        settings: of the run.
    """
    module, function = _function(outputs, requests, folder, settings)
    path = posixpath.join(folder, _NAME)
    concrete = saved_transform_io_v2.write_v2_saved_model(module, function, _NAME, path)
    _refuse_analyzers(concrete.graph)
    made = schema_inference.infer_feature_schema_v2(concrete.structured_outputs, dict, evaluate_schema_overrides=True)
    metadata_io.write_metadata(DatasetMetadata(made), posixpath.join(path, METADATA))
    numbers = {one.name: outputs[one.name] for one in requests if not one.statistic.in_file}
    module.transform_fn = concrete
    transform_graph.keep(path, transform_graph.TransformGraph(module, numbers))
    return path


def _function(
    outputs: Mapping[str, np.ndarray],
    requests: Sequence[StatisticRequest],
    folder: str,
    settings: Settings,
    looks: bool = False,
) -> tuple[tf.Module, Any]:
    """The table as a tf.function of raw columns, as in tf.Transform, and the module that holds it.

    With `looks` the statistics are requested in the graph too, where static shapes are less specific.
    """
    results = {one.name: tf.constant(outputs[one.name], tf.as_dtype(one.statistic.dtype)) for one in requests}

    def fitted_values(features: Sequence[Feature], read: graph.Read, settings: Settings) -> dict[str, Any]:
        if looks:
            graph.statistic_requests(features, read, settings)
        return {one.name: one.statistic.fitted(_in_graph(one, results[one.name])) for one in requests}

    module = tf.Module()
    context = TFGraphContext(module_to_export=module, temp_dir=folder, evaluated_replacements={})
    specs = {column.name: tf.SparseTensorSpec([None, None], graph_dtype(column)) for column in graph_columns(settings)}
    engineer = functools.partial(graph.engineer, settings=settings, fit=fitted_values)
    return module, impl_helper.get_traced_transform_fn(engineer, specs, context)


def _in_graph(one: StatisticRequest, result: tf.Tensor) -> tf.Tensor:
    if not one.statistic.in_file:
        return graph.named(one.name, result)
    tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS, result)
    return result


def _refuse_analyzers(traced: FuncGraph) -> None:
    """Refuse ops that call analyzers of tf.Transform, which the job would not run."""
    if left := traced.get_collection(analyzer_nodes.TENSOR_REPLACEMENTS):
        raise InputError(
            f"An op of the feature table calls an analyzer of tf.Transform ({left[0].tensor.name}) in `apply`; what it "
            "learns has to be the Statistic that its `statistic` returns."
        )
