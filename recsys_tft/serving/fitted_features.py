"""Some rows of the feature table with what was fitted for them, and nothing else: the part of the graph that is served.

The transform graph holds every table and weight of the whole; a SavedModel of a part of it would carry them all. Here
the same ops are applied again to the chosen features alone, with the numbers and vocabularies that the saved graph
holds, so that the results are the same to the last bit.
"""

import importlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Feature, raw_columns
from recsys_tft.ops import Fitting
from recsys_tft.statistics import EMPTY_VOCABULARY
from recsys_tft.titles import title_encoder
from recsys_tft.titles.encoder_spec import Spec
from recsys_tft.titles.frozen_encoder import FrozenEncoder
from recsys_tft.transform_graph import TransformGraph
from recsys_tft.vocabularies import Vocabulary, file_of, values_of

importlib.import_module("tensorflow_text")  # registers the ops of a title encoder in the transform graph


class FittedGraph:
    """What a run has fitted, read off its saved graph.

    Args:
        output_dir: of the run.
        settings: of the run.
    """

    def __init__(self, output_dir: str, settings: Settings):
        self.settings = settings
        self.saved_model = str(pathlib.Path(output_dir, "artifacts", "transform_graph", "transform_fn"))
        self.numbers = TransformGraph(self.saved_model).fitted()
        self._encoders: dict[Spec, FrozenEncoder] = {}

    def fitted_for(self, feature: Feature) -> Any:
        """What the op of a feature needs besides its columns: a table, an encoder or numbers; None if nothing."""
        if feature.vocabulary:
            return self._table(feature.vocabulary)
        if feature.op.embeds_text:
            return self._encoder(feature.op.spec(self.settings))
        return tf.constant(self.numbers[feature.name]) if feature.name in self.numbers else None

    def _encoder(self, spec: Spec) -> FrozenEncoder:
        """One for all features of one encoder."""
        if spec not in self._encoders:
            self._encoders[spec] = FrozenEncoder(title_encoder.load(spec, self.settings.title_precision))
        return self._encoders[spec]

    def _table(self, vocabulary: Vocabulary) -> tf.lookup.StaticHashTable:
        """The number of each value, from 0. Ids stay in a file, of which there may be many; strings are constants."""
        if vocabulary.integers:
            file, line, number = (
                file_of(vocabulary.name, self.saved_model),
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            values = tf.lookup.TextFileInitializer(file, tf.int64, line, tf.int64, number)
        else:
            words = values_of(vocabulary.name, self.saved_model) or [EMPTY_VOCABULARY]
            numbers = tf.range(len(words), dtype=tf.int64)
            values = tf.lookup.KeyValueTensorInitializer(tf.constant(words, tf.string, [len(words)]), numbers)
        return tf.lookup.StaticHashTable(values, -1)


class FittedFeatures(tf.Module):
    """Callable: raw columns of [batch] rows as SparseTensors by name, without missing values, to the features by name.

    Args:
        features: what it computes.
        graph: what was fitted.

    Attributes:
        features: what it computes.
        columns: the raw columns that it reads.
    """

    def __init__(self, features: Sequence[Feature], graph: FittedGraph):
        super().__init__(name="features")
        self.features, self.columns = tuple(features), raw_columns(tuple(features))
        # Features that share a vocabulary share its table.
        owners = {feature.vocabulary.name if feature.vocabulary else feature.name: feature for feature in features}
        fitted = {name: graph.fitted_for(feature) for name, feature in owners.items()}
        self._fitted = {name: value for name, value in fitted.items() if value is not None}
        self._settings = graph.settings

    def __call__(self, columns: Mapping[str, tf.SparseTensor]) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        fitting = Fitting(self._settings, self._fitted)
        return {f.name: f.op.apply(f.name, [columns[source] for source in f.sources], fitting) for f in self.features}
