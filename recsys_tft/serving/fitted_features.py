"""The served part of the graph: some rows of the feature table with their fitted values.

A SavedModel of a part of the transform graph would carry all of its tables and weights. So the same ops are applied
again to the chosen features alone, with the numbers and vocabularies of the saved graph; results are equal to the bit.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Feature, raw_columns
from recsys_tft.ops import FittedGraph, Fitting
from recsys_tft.output_checks import naming
from recsys_tft.transform_graph import TransformGraph


def fitted_graph(output_dir: str, settings: Settings) -> FittedGraph:
    """The fitted values of a run.

    Args:
        output_dir: of the run.
        settings: of the run.
    """
    saved_model = str(pathlib.Path(output_dir, "artifacts", "transform_graph", "transform_fn"))
    return FittedGraph(settings, saved_model, TransformGraph.load(saved_model).fitted)


class FittedFeatures(tf.Module):
    """Callable: raw columns of [batch] rows as SparseTensors by name, without missing values, to features by name.

    Args:
        features: to compute.
        graph: the fitted values.

    Attributes:
        features: to compute.
        columns: the raw columns that it reads.
    """

    def __init__(self, features: Sequence[Feature], graph: FittedGraph):
        super().__init__(name="features")
        self.features, self.columns = tuple(features), raw_columns(tuple(features))
        # Features that share a vocabulary share its table.
        owners = {feature.fitted_name: feature for feature in features}
        fitted = {name: _served(feature, graph) for name, feature in owners.items()}
        self._fitted = {name: value for name, value in fitted.items() if value is not None}
        self._settings = graph.settings

    def __call__(self, columns: Mapping[str, tf.SparseTensor]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        fitting = Fitting(self._settings, self._fitted)
        return {f.name: f.op.apply(f.name, [columns[source] for source in f.sources], fitting) for f in self.features}


def _served(feature: Feature, graph: FittedGraph) -> Any:
    with naming(feature.name, feature.op, "served"):
        served = feature.op.served(feature.name, graph)
    return tf.constant(served) if isinstance(served, np.ndarray) else served
