"""The schema of each data folder, so that readers need only tf.data and `schema.pbtxt`."""

from collections.abc import Mapping

import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2

from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Feature
from recsys_tft.run_layout.data_sets import DataSet, is_written, key_type

SCHEMA_FILE = "schema.pbtxt"
_TYPES = {pa.int64(): schema_pb2.INT, pa.float32(): schema_pb2.FLOAT, pa.string(): schema_pb2.BYTES}


def schema_of(data_set: DataSet, settings: Settings, categories: Mapping[str, int]) -> schema_pb2.Schema:
    """The columns of a data set: keys and features, their types, shapes and ranges.

    Args:
        data_set: the data set.
        settings: of the run.
        categories: the number of values of each categorical feature, including 0.
    """
    schema = schema_pb2.Schema()
    for name in (name for keys in data_set.keys.values() for name in keys if is_written(name, settings)):
        _add(schema, name, _TYPES[key_type(name, settings)], ())
    for feature in data_set.features(settings):
        kind = schema_pb2.INT if feature.is_categorical else schema_pb2.FLOAT
        added = _add(schema, feature.name, kind, feature.op.shape(settings))
        _compare(added, feature, settings)
        if feature.is_categorical:
            added.int_domain.CopyFrom(schema_pb2.IntDomain(min=0, max=categories[feature.name] - 1))
    return schema


def _compare(added: schema_pb2.Feature, feature: Feature, settings: Settings) -> None:
    """Add TFDV's drift limits from the settings: L-infinity for categories, otherwise Jensen-Shannon."""
    limits = settings.drift.of(feature.name)
    if feature.is_categorical and limits.infinity_norm is not None:
        added.drift_comparator.infinity_norm.threshold = limits.infinity_norm
    elif not feature.is_categorical and limits.jensen_shannon is not None and not feature.op.is_large:
        added.drift_comparator.jensen_shannon_divergence.threshold = limits.jensen_shannon


def _add(schema: schema_pb2.Schema, name: str, kind: int, shape: tuple[int, ...] | None) -> schema_pb2.Feature:
    added = schema.feature.add(name=name, type=kind)
    if shape is not None:
        added.presence.min_fraction = 1.0
        added.shape.SetInParent()
        for size in shape:
            added.shape.dim.add(size=size)
    return added


def feature_size(feature: Feature, settings: Settings, vocabulary_sizes: Mapping[str, int]) -> int | None:
    """The number of values of a categorical feature, including 0 for missing; None for other features."""
    if feature.vocabulary:
        name = feature.vocabulary.name
        return 1 + settings.vocabulary(name).n_oov + vocabulary_sizes[name]
    return feature.op.categories(settings)
