"""The serving models: SavedModels that take raw columns, each with no more of the feature table than it reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from recsys_tft.ops import FittedGraph
from recsys_tft.retrieval.two_tower import TwoTower
from recsys_tft.run_layout import artifacts
from recsys_tft.serving import serving_inputs
from recsys_tft.serving.fitted_features import FittedFeatures
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.trees.catboost_graph import TreeEnsemble
from recsys_tft.trees.catboost_model import CatBoostModel

Features = Mapping[str, tf.Tensor | tf.RaggedTensor]


class ServingModel(tf.Module):
    """A model with the graph of the features that it reads.

    Args:
        name: one of NAMES.
        features: what it reads.
        head: from the features of [batch] rows, and the other inputs, to the outputs by name.
        parts: what the head is made of, to be saved with it.
        others: specs of inputs that are no raw columns.
    """

    def __init__(
        self,
        name: str,
        features: FittedFeatures,
        head: Callable[..., dict[str, tf.Tensor]],
        parts: Sequence[Any],
        others: Mapping[str, tf.TensorSpec] | None = None,
    ):
        super().__init__(name=name)
        self._features, self._head, self._parts, self._others = features, head, list(parts), dict(others or {})

    def save(self, folder: str) -> None:
        """Writes the SavedModel.

        Signatures: `serving_default` takes named inputs, `examples` tf.Examples; `features` gives the engineered
        features of named inputs, lists padded with 0.
        """
        columns = self._features.columns
        named = serving_inputs.specs(columns)

        def serving_default(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            others = {name: inputs.pop(name) for name in self._others}
            return self._head(self._features(serving_inputs.from_named(inputs, columns)), **others)

        def examples(examples: tf.Tensor, **others: tf.Tensor) -> dict[str, tf.Tensor]:
            return self._head(self._features(serving_inputs.from_examples(examples, columns)), **others)

        def features(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            found = self._features(serving_inputs.from_named(inputs, columns))
            return {n: v.to_tensor() if isinstance(v, tf.RaggedTensor) else v for n, v in found.items()}

        serialized = {"examples": tf.TensorSpec([None], tf.string, "examples")}
        signatures = {
            "serving_default": tf.function(serving_default).get_concrete_function(**named, **self._others),
            "examples": tf.function(examples).get_concrete_function(**serialized, **self._others),
            "features": tf.function(features).get_concrete_function(**named),
        }
        tf.saved_model.save(self, folder, signatures, tf.saved_model.SaveOptions(experimental_custom_gradients=False))


def query_tower(model: TwoTower, graph: FittedGraph) -> ServingModel:
    """Raw columns of users in context to `vector`, [batch, dim] float32."""
    features = FittedFeatures(model.query_features, graph)
    return ServingModel("query_tower", features, lambda f: {"vector": model.query(f)}, _weights(model.query_tower))


def candidate_tower(model: TwoTower, graph: FittedGraph) -> ServingModel:
    """Raw columns of videos to `vector`, [batch, dim] float32."""
    features = FittedFeatures(model.candidate_features, graph)
    weights = _weights(model.candidate_tower)
    return ServingModel("candidate_tower", features, lambda f: {"vector": model.candidate(f)}, weights)


def retrieval(model: TwoTower, graph: FittedGraph, video_ids: np.ndarray, vectors: np.ndarray) -> ServingModel:
    """Raw columns of users in context, `k` and `exclude` to the best videos by the towers' dot product.

    Further inputs: `k`, int32, how many; `exclude`, [batch, n] or [1, n] int64 ids of videos to leave out, of which the
    least int64 is none, or an empty tensor. Outputs: `video_ids` [batch, k] int64 and `scores` [batch, k] float32, the
    best first; where there are fewer videos, the id is the least int64 and the score minus infinity.

    Args:
        model: the towers.
        graph: what was fitted.
        video_ids: [videos] int64.
        vectors: [videos, dim] float32, of the candidate tower.
    """
    index = ExactIndex(video_ids, vectors)
    features = FittedFeatures(model.query_features, graph)
    others = {
        "k": tf.TensorSpec([], tf.int32, "k"),
        "exclude": tf.TensorSpec([None, None], tf.int64, "exclude"),
    }

    def head(features: Features, k: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        return index.best(model.query(features), k, exclude)

    return ServingModel("retrieval", features, head, [index, *_weights(model.query_tower)], others)


class ExactIndex(tf.Module):
    """The vectors of all candidates, searched exhaustively.

    Args:
        video_ids: [videos] int64, distinct.
        vectors: [videos, dim] float32.
    """

    def __init__(self, video_ids: np.ndarray, vectors: np.ndarray):
        super().__init__(name="index")
        order = np.argsort(video_ids)
        self._ids = tf.Variable(video_ids[order], trainable=False, name="video_ids")
        self._vectors = tf.Variable(vectors[order], trainable=False, name="vectors")

    def best(self, query: tf.Tensor, k: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `retrieval`, of [batch, dim] vectors."""
        scores = tf.matmul(query, self._vectors, transpose_b=True)
        rows, count = tf.shape(scores)[0], self._ids.shape[0]
        exclude = serving_inputs.ids_by_row(exclude, rows)
        place = tf.minimum(
            tf.reshape(tf.searchsorted(self._ids, tf.reshape(exclude, [-1])), tf.shape(exclude)), count - 1
        )
        hit = tf.where(tf.equal(tf.gather(self._ids, place), exclude))
        where = tf.stack([tf.cast(hit[:, 0], tf.int32), tf.gather_nd(place, hit)], 1)
        scores = tf.tensor_scatter_nd_update(scores, where, tf.fill([tf.shape(where)[0]], -np.inf))
        values, found = tf.math.top_k(scores, tf.minimum(k, count))
        ids = tf.where(tf.math.is_inf(values), tf.constant(EMPTY_IDS, tf.int64), tf.gather(self._ids, found))
        return {"video_ids": ids, "scores": values}


def ranker(model: CatBoostModel, columns: Sequence[Mapping[str, Any]], graph: FittedGraph) -> ServingModel:
    """Raw columns of users, videos and context to `score`, [batch] float32: a probability, or YetiRank's raw score.

    Args:
        model: the trees.
        columns: of `columns.json`: `feature`, `index` of a component of a vector, `kind`.
        graph: what was fitted.
    """
    names = dict.fromkeys(column["feature"] for column in columns)
    categories = artifacts.categories(artifacts.vocabularies(graph.saved_model, graph.settings), graph.settings)
    trees = TreeEnsemble(model, [categories[columns[number]["feature"]] for number in model.categorical])

    def head(features: Features) -> dict[str, tf.Tensor]:
        numeric = _matrix(features, [columns[number] for number in model.numeric], tf.float32)
        categorical = _matrix(features, [columns[number] for number in model.categorical], tf.int64)
        raw = trees(numeric, categorical)
        return {"score": tf.cast(tf.sigmoid(raw) if trees.is_probability else raw, tf.float32)}

    return ServingModel(
        "ranker", FittedFeatures([graph.settings.table.by_name[name] for name in names], graph), head, [trees]
    )


def _matrix(features: Features, columns: Sequence[Mapping[str, Any]], dtype: tf.DType) -> tf.Tensor:
    """[columns, batch]."""
    if not columns:
        return tf.zeros([0, tf.shape(next(iter(features.values())))[0]], dtype)
    of = (features[c["feature"]] if c["index"] is None else features[c["feature"]][:, c["index"]] for c in columns)
    return tf.stack([tf.cast(values, dtype) for values in of])


def _weights(tower: Any) -> list[tf.Variable]:
    """The TensorFlow variables of a Keras model: the graph needs them, and not the rest of the model."""
    return [variable.value for variable in tower.variables]
