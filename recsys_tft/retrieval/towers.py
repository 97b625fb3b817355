"""The towers of the two-tower model, built from the feature table: no feature is named here."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf
from keras import ops

from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Feature
from recsys_tft.retrieval.history_encoders import ENCODERS
from recsys_tft.vocabularies import MISSING_TOKEN

Tensors = Mapping[str, tf.Tensor | tf.SparseTensor | tf.RaggedTensor]


def dense(values: tf.Tensor | tf.SparseTensor | tf.RaggedTensor) -> tf.Tensor:
    """[batch, n] lists padded with 0, the token of a missing value; anything else as it is."""
    if isinstance(values, tf.SparseTensor):
        return tf.sparse.to_dense(values)
    return values.to_tensor() if isinstance(values, tf.RaggedTensor) else values


class Tables:
    """One embedding table per vocabulary, shared by all features that read it, in either tower.

    That of a vocabulary has a whole multiple of `two_tower.capacity_step` rows, so that its shape stays for some time
    as the vocabulary grows.

    Args:
        sizes: for each categorical feature how many values it may have.
        settings: of the run.
    """

    def __init__(self, sizes: Mapping[str, int], settings: Settings):
        self._sizes = sizes
        self._settings = settings
        self._layers: dict[str, keras.layers.Embedding] = {}

    def of(self, feature: Feature) -> keras.layers.Embedding:
        """The table of a categorical feature; a feature that shares it has the same number of values."""
        name = feature.embedding_table
        assert name is not None
        if name not in self._layers:
            width = self._settings.embedding_width(name)
            self._layers[name] = keras.layers.Embedding(
                self._capacity(feature),
                width,
                embeddings_initializer=keras.initializers.RandomNormal(stddev=width**-0.5),
                name=f"{name}_table",
            )
        return self._layers[name]

    def _capacity(self, feature: Feature) -> int:
        step = self._settings.two_tower.capacity_step if feature.vocabulary else 1
        return -(-self._sizes[feature.name] // step) * step


@dataclasses.dataclass(frozen=True)
class TowerShape:
    """What a tower needs to know besides its features."""

    dim: int
    hidden: tuple[int, ...]
    dropout: float
    normalize: bool
    large_dim: int
    history_encoder: str
    history_length: int
    seed: int


class Tower(keras.Model):
    """Maps the engineered features of a user in context, or of a video, to a vector.

    Categories and lists of them (averaged, padding left out) go through their tables, numbers and vectors enter as they
    are, and large vectors such as the title's are projected first. Ordered lists are also encoded in their order, where
    an encoder is chosen. All are concatenated and pass hidden layers with ReLU, then a linear one.

    Args:
        features: what it reads.
        tables: the embedding tables, shared with the other tower.
        shape: widths and regularisation.
    """

    def __init__(self, features: Sequence[Feature], tables: Tables, shape: TowerShape, name: str):
        super().__init__(name=name)
        self.features = tuple(features)
        self._shape = shape
        # Lists, so that Keras tracks the layers; the order is that of the features.
        self._categorical = [feature for feature in features if feature.is_categorical]
        self._tables = [tables.of(feature) for feature in self._categorical]
        make = ENCODERS.get(shape.history_encoder)
        ordered = [feature for feature in self._categorical if feature.op.is_ordered]
        self._encoders: dict[str, keras.layers.Layer] = {}
        if make:
            self._encoders = {f.name: make(shape.history_length, name=f"{f.name}_encoder") for f in ordered}
        self._numeric = [feature for feature in features if not feature.is_categorical and not feature.op.is_large]
        self._large = [feature for feature in features if not feature.is_categorical and feature.op.is_large]
        self._projections = [keras.layers.Dense(shape.large_dim, name=f"{f.name}_projection") for f in self._large]
        self._drop = keras.layers.Dropout(shape.dropout, seed=shape.seed)
        self._hidden = [keras.layers.Dense(width, activation="relu") for width in shape.hidden]
        self._last = keras.layers.Dense(shape.dim, name="vector")

    def tables(self) -> dict[str, keras.layers.Embedding]:
        """The embedding tables that it reads, by `Feature.embedding_table`."""
        return {
            str(feature.embedding_table): table for feature, table in zip(self._categorical, self._tables, strict=True)
        }

    def build(self, inputs_shape: object) -> None:
        """Nothing, as each layer builds itself when it is first called; Keras would trace a call for this alone."""

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """[batch, ...] dense tensors by feature to [batch, dim] float32, of length 1 where vectors are normalized."""
        parts = []
        for feature, table in zip(self._categorical, self._tables, strict=True):
            tokens = inputs[feature.name]
            vectors = table(tokens)
            parts.append(vectors if len(vectors.shape) == 2 else _mean(vectors, tokens != MISSING_TOKEN))
            if feature.name in self._encoders:
                parts.append(self._encoders[feature.name](vectors, tokens != MISSING_TOKEN))
        parts += [_as_matrix(inputs[feature.name]) for feature in self._numeric]
        parts += [
            project(inputs[feature.name]) for feature, project in zip(self._large, self._projections, strict=True)
        ]
        vector = self._drop(ops.concatenate(parts, axis=1), training=training)
        for layer in self._hidden:
            vector = self._drop(layer(vector), training=training)
        vector = self._last(vector)
        return ops.normalize(vector, axis=1) if self._shape.normalize else vector


def _mean(vectors: tf.Tensor, shown: tf.Tensor) -> tf.Tensor:
    """[batch, width]: the mean of [batch, n, width] vectors of which [batch, n] are shown; zeros for an empty list."""
    mask = ops.expand_dims(ops.cast(shown, vectors.dtype), 2)
    return ops.sum(vectors * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)


def _as_matrix(values: tf.Tensor) -> tf.Tensor:
    values = ops.cast(values, "float32")
    return values if len(values.shape) == 2 else ops.expand_dims(values, 1)
