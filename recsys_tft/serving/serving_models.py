"""The serving models: SavedModels that take raw columns, each with only the features that it reads."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recsys_tft import ids
from recsys_tft.columns import IdKind
from recsys_tft.ops import FittedGraph
from recsys_tft.ranking import calibration, tastes
from recsys_tft.ranking.calibration import Calibration
from recsys_tft.ranking.ranker_interface import Served
from recsys_tft.ranking.tastes import Tastes
from recsys_tft.ranking.tastes_graph import TastesGraph
from recsys_tft.retrieval.two_tower import TwoTower
from recsys_tft.serving import serving_inputs
from recsys_tft.serving.fitted_features import FittedFeatures
from recsys_tft.serving.saved_signatures import CONTRIBUTIONS
from recsys_tft.serving.serving_inputs import MISSING_VALUES

Features = Mapping[str, tf.Tensor | tf.RaggedTensor]


class ServingModel(tf.Module):
    """A model with the graph of the features that it reads.

    Args:
        name: one of NAMES.
        features: that it reads.
        head: from the features of [batch] rows, and the other inputs, to the outputs by name.
        parts: objects of the head that are saved with it.
        others: specs of inputs that are not raw columns.
        defaults: of these, for requests that leave them out.
        heads: further heads by the name of their signature, which take only the features.
    """

    def __init__(
        self,
        name: str,
        features: FittedFeatures,
        head: Callable[..., dict[str, tf.Tensor]],
        parts: Sequence[Any],
        others: Mapping[str, tf.TensorSpec] | None = None,
        defaults: Mapping[str, tf.Tensor] | None = None,
        heads: Mapping[str, Callable[[Features], dict[str, tf.Tensor]]] | None = None,
    ):
        super().__init__(name=name)
        self._features, self._head, self._parts, self._others = features, head, list(parts), dict(others or {})
        self._heads = (heads or {}).items  # TensorFlow would trace an attribute that is a mapping
        self._defaults = (defaults or {}).items

    def save(self, folder: str) -> None:
        """Write the SavedModel.

        Signatures: `serving_default` takes named inputs, `examples` tf.Examples; `features` returns the engineered
        features of named inputs, lists padded with 0; those of further heads take named inputs. Each has defaults for
        omitted inputs: an omitted raw column is missing in every row.
        """
        columns = self._features.columns
        named = serving_inputs.specs(columns)
        as_it_is = functools.partial(tf.function, autograph=False)  # as in tf.Transform; saves a third of the time
        # All three are traced once, and called by the signatures.
        engineered = as_it_is(self._features, input_signature=[serving_inputs.sparse_specs(columns)])
        engineer_named = as_it_is(lambda inputs: engineered(serving_inputs.from_named(inputs, columns)))
        head = as_it_is(self._head)

        def serving_default(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            others = {name: inputs.pop(name) for name in self._others}
            return head(engineer_named(inputs), **others)

        def examples(examples: tf.Tensor, **others: tf.Tensor) -> dict[str, tf.Tensor]:
            return head(engineered(serving_inputs.from_examples(examples, columns)), **others)

        def features(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            engineered_values = engineer_named(inputs)
            return {n: v.to_tensor() if isinstance(v, tf.RaggedTensor) else v for n, v in engineered_values.items()}

        serialized = {"examples": tf.TensorSpec([None], tf.string, "examples")}
        defaults = dict(self._defaults())
        missing = {name: tf.zeros([0] * spec.shape.rank, spec.dtype) for name, spec in named.items()}
        signatures = {
            "serving_default": _signature(serving_default, {**named, **self._others}, {**missing, **defaults}),
            "examples": _signature(examples, {**serialized, **self._others}, defaults),
            "features": _signature(features, named, missing),
        } | {
            name: _signature(lambda head=head, **inputs: head(engineer_named(inputs)), named, missing)
            for name, head in self._heads()
        }
        tf.saved_model.save(self, folder, signatures, tf.saved_model.SaveOptions(experimental_custom_gradients=False))


def _signature(
    function: Callable[..., dict[str, tf.Tensor]],
    specs: Mapping[str, tf.TensorSpec],
    defaults: Mapping[str, tf.Tensor],
) -> tf.types.experimental.PolymorphicFunction:
    """A function of named tensors as a signature, with its parameters' defaults for omitted inputs.

    TensorFlow reads defaults off the last positional parameters, which it sorts by name.
    """
    names = [name for name in sorted(specs) if name not in defaults] + sorted(defaults)

    def positional(*values: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(**dict(zip(names, values, strict=True)))

    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    parameters = [inspect.Parameter(name, kind, default=defaults.get(name, empty)) for name in names]
    cast(Any, positional).__signature__ = inspect.Signature(parameters)
    return tf.function(positional, [specs[name] for name in names], autograph=False)


def query_tower(model: TwoTower, graph: FittedGraph) -> ServingModel:
    """Raw columns of users and context to `vector`, [batch, dim] float32."""
    features = FittedFeatures(model.query_features, graph)
    return ServingModel("query_tower", features, lambda f: {"vector": model.query(f)}, _weights(model.query_tower))


def candidate_tower(model: TwoTower, graph: FittedGraph) -> ServingModel:
    """Raw columns of videos to `vector`, [batch, dim] float32."""
    features = FittedFeatures(model.candidate_features, graph)
    weights = _weights(model.candidate_tower)
    return ServingModel("candidate_tower", features, lambda f: {"vector": model.candidate(f)}, weights)


def retrieval(
    model: TwoTower, graph: FittedGraph, video_ids: pa.Array | np.ndarray, vectors: np.ndarray
) -> ServingModel:
    """Raw columns of users and context, `k` and `exclude` to the best videos by the towers' dot product.

    Further inputs: `k`, int32, how many, one number or [batch], by default `recommender.candidates`; `exclude`,
    [batch, n] or [1, n] ids of videos to leave out, padded with the missing id, or an empty tensor.
    Outputs: `video_ids` [batch, k] and `scores` [batch, k] float32, the best first, for the largest k; rows with fewer
    videos, or a smaller k, are padded with the missing id and minus infinity. Ids are int64, the least one missing, or
    strings, '' missing.

    Args:
        model: the towers.
        graph: what was fitted.
        video_ids: [videos] int64 or binary.
        vectors: [videos, dim] float32 of the candidate tower.
    """
    index = ExactIndex(video_ids, vectors, graph.settings.ids.video_id)
    features = FittedFeatures(model.query_features, graph)
    others = {
        "k": tf.TensorSpec(None, tf.int32, "k"),
        "exclude": tf.TensorSpec([None, None], index.dtype, "exclude"),
    }

    def head(features: Features, k: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        return index.best(model.query(features), k, exclude)

    candidates = graph.settings.recommender.candidates
    defaults = {"k": tf.constant(candidates), "exclude": tf.constant([], index.dtype, [0, 0])}
    return ServingModel("retrieval", features, head, [index, *_weights(model.query_tower)], others, defaults)


class ExactIndex(tf.Module):
    """The vectors of all candidates, searched exhaustively; ties are broken by the smaller id.

    Args:
        video_ids: [videos] int64 or binary, distinct.
        vectors: [videos, dim] float32.
        kind: of the ids.

    Attributes:
        dtype: of the ids.
    """

    def __init__(self, video_ids: pa.Array | np.ndarray, vectors: np.ndarray, kind: IdKind = IdKind.INTEGER):
        super().__init__(name="index")
        array = pa.array(video_ids)
        order = np.argsort(ids.ranks(array, kind))
        sorted_ids = array.take(pa.array(order)).to_numpy(zero_copy_only=False)
        self.dtype = tf.int64 if pa.types.is_integer(array.type) else tf.string
        self._ids = tf.Variable(tf.constant(sorted_ids, self.dtype), trainable=False, name="video_ids")
        self._vectors = tf.Variable(vectors[order], trainable=False, name="vectors")
        self._kind, self._salt = kind, 0
        if self.dtype == tf.string:
            rows = self._by_hash()
            self._hashes = tf.Variable(tf.gather(self._hash(self._ids), rows), trainable=False, name="hashes")
            self._rows = tf.Variable(rows, trainable=False, name="rows")

    def _by_hash(self) -> np.ndarray:
        """[videos] int32 rows by the hashes of their ids, with the first salt that gives distinct hashes."""
        while True:
            hashes = self._hash(self._ids).numpy()
            rows = np.argsort(hashes, kind="stable")
            if (np.diff(hashes[rows]) > 0).all():
                return rows.astype(np.int32)
            self._salt += 1

    def _hash(self, texts: tf.Tensor) -> tf.Tensor:
        """SipHash (Aumasson and Bernstein, 2012), int64 >= 0."""
        return tf.strings.to_hash_bucket_strong(texts, 2**63 - 1, [self._salt, 0])

    def _find(self, wanted_ids: tf.Tensor) -> tf.Tensor:
        """[n] int32: the only row that may have each of [n] ids."""
        last = self._ids.shape[0] - 1
        if self.dtype != tf.string:
            return tf.minimum(tf.searchsorted(self._ids, wanted_ids), last)
        return tf.gather(self._rows, tf.minimum(tf.searchsorted(self._hashes, self._hash(wanted_ids)), last))

    def best(self, query: tf.Tensor, k: tf.Tensor, exclude: tf.Tensor) -> dict[str, tf.Tensor]:
        """Like `retrieval`, for [batch, dim] vectors."""
        scores = tf.matmul(query, self._vectors, transpose_b=True)
        rows, count = tf.shape(scores)[0], self._ids.shape[0]
        exclude = serving_inputs.ids_by_row(exclude, rows, self._kind)
        place = tf.reshape(self._find(tf.reshape(exclude, [-1])), tf.shape(exclude))
        hit = tf.where(tf.equal(tf.gather(self._ids, place), exclude))
        where = tf.stack([tf.cast(hit[:, 0], tf.int32), tf.gather_nd(place, hit)], 1)
        scores = tf.tensor_scatter_nd_update(scores, where, tf.fill([tf.shape(where)[0]], -np.inf))
        most = tf.minimum(serving_inputs.one_by_row(k, rows, "k"), count)
        values, top_rows = tf.math.top_k(scores, tf.reduce_max(most))
        values = tf.where(tf.range(tf.shape(values)[1]) < most, values, -np.inf)  # of rows with a smaller k
        missing = tf.constant(MISSING_VALUES[self.dtype], self.dtype)
        return {
            "video_ids": tf.where(tf.math.is_inf(values), missing, tf.gather(self._ids, top_rows)),
            "scores": values,
        }


def ranker(
    served: Served,
    columns: Sequence[Mapping[str, Any]],
    graph: FittedGraph,
    calibrated: Calibration = calibration.NONE,
    taste_table: Tastes = tastes.NONE,
) -> ServingModel:
    """Raw columns of users, videos and context to `score`, [batch] float32: a probability, or a ranking's raw score.

    If the model's graph explains itself, the signature `contributions` has the contribution of each column to the raw
    score, [batch, columns] float32.

    Args:
        served: the model.
        columns: of `columns.json`: `feature`, `index` of a component of a vector, `kind`.
        graph: the fitted values.
        calibrated: turns a classifier's raw score into a probability.
        taste_table: vectors that the model reads in the place of ids.
    """
    in_place = TastesGraph(taste_table)
    names = dict.fromkeys(column["feature"] for column in columns)

    def inputs(tokens: Features) -> tuple[tf.Tensor, tf.Tensor]:
        features = in_place(tokens)
        numeric = _matrix(features, [columns[number] for number in served.numeric], tf.float32)
        return numeric, _matrix(features, [columns[number] for number in served.categorical], tf.int64)

    def head(features: Features) -> dict[str, tf.Tensor]:
        raw = served.scores(*inputs(features))
        return {"score": tf.cast(_probability(raw, calibrated) if served.is_probability else raw, tf.float32)}

    def contributions(features: Features) -> dict[str, tf.Tensor]:
        assert served.contributions is not None
        return {CONTRIBUTIONS: served.contributions(*inputs(features))}

    fitted = FittedFeatures([graph.settings.table.by_name[name] for name in names], graph)
    heads = {} if served.contributions is None else {CONTRIBUTIONS: contributions}
    return ServingModel("ranker", fitted, head, [served.scores, in_place], heads=heads)


def _probability(raw: tf.Tensor, calibrated: Calibration) -> tf.Tensor:
    """[batch] float64, as `Calibration.__call__`."""
    segment = tf.searchsorted(tf.constant(calibrated.scores), raw, side="right")
    knot = tf.maximum(segment - 1, 0)
    start, slope = tf.gather(calibrated.scores, knot), tf.gather(calibrated.slopes, segment)
    return tf.sigmoid(tf.gather(calibrated.logits, knot) + slope * (raw - start))


def _matrix(features: Features, columns: Sequence[Mapping[str, Any]], dtype: tf.DType) -> tf.Tensor:
    """[columns, batch]."""
    if not columns:
        return tf.zeros([0, tf.shape(next(iter(features.values())))[0]], dtype)
    columns_of_features = (
        features[c["feature"]] if c["index"] is None else features[c["feature"]][:, c["index"]] for c in columns
    )
    return tf.stack([tf.cast(values, dtype) for values in columns_of_features])


def _weights(tower: Any) -> list[tf.Variable]:
    """The TensorFlow variables of a Keras model, the only part of it that the graph needs."""
    return [variable.value for variable in tower.variables]
