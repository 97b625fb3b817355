"""A CatBoost model as a TensorFlow graph: compare, bit index, gather. Serving needs no catboost.

Inside, the batch is the last axis, so that selecting inputs copies whole rows.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from recsys_tft.tree_graphs.catboost_lookups import Lookups
from recsys_tft.tree_graphs.catboost_model import CatBoostModel, Tests

_UNSEEN = 1 << 40  # in the place of a hash of 32 bits
_LANE = 8  # rows whose outcomes, a byte each, are one int64; also splits whose bits fit into a byte


class TreeEnsemble(tf.Module):
    """Callable: columns of [batch] rows to [batch] float64 raw scores: logits or rank scores.

    Args:
        model: to compute.
        sizes: number of values of each categorical column: 0 .. size - 1; all others are unseen.
        limit: combinations of at most this many values are looked up by index, which takes as many floats each.
    """

    def __init__(self, model: CatBoostModel, sizes: Sequence[int], limit: int = 1 << 16):
        super().__init__(name="catboost")
        self.is_probability = model.is_probability
        self._nan_is_large = tf.constant(model.nan_is_large[:, None])
        hashes = [_hashes(model, size) for size in sizes]
        counts = np.array([len(values) for values in hashes], np.int64)[:, None]
        self._sizes, self._first_hash = (
            tf.constant(counts - 1),
            tf.constant(np.cumsum(counts)[:, None] - counts, tf.int32),
        )
        self._hashes = tf.constant(np.concatenate([*hashes, np.zeros(0, np.int64)]))
        self._above = _Above(model.above)
        self._equal = _Equal(model.equal)
        self._numeric_elements, self._category_elements = (
            _Above(model.numeric_elements),
            _Equal(model.category_elements),
        )
        outcomes = [np.arange(2)] * (len(model.numeric_elements.source) + len(model.category_elements.source))
        self._statistics, above = None, model.statistic_above
        if model.statistics.elements:
            self._statistics = Lookups(model.statistics, [*hashes, *outcomes], limit)
            above = Tests(self._statistics.positions[above.source], above.value)
        self._statistic_above = _Above(above)
        self._splits = model.splits
        trees, leaves = model.leaves.shape
        self._first_leaf = tf.constant(np.arange(trees)[:, None] * leaves, tf.int32)
        self._leaves = _table(model.leaves.ravel(), "leaves")
        self._scale, self._bias = model.scale, model.bias

    def __call__(self, numeric: tf.Tensor, categorical: tf.Tensor) -> tf.Tensor:
        """Raw scores.

        Args:
            numeric: [columns, batch] float32, in the order of `CatBoostModel.numeric`; NaN for missing.
            categorical: [columns, batch] int64, in the order of `CatBoostModel.categorical`.
        """
        numeric = tf.where(tf.math.is_nan(numeric) & self._nan_is_large, np.float32(np.inf), numeric)
        inside = (categorical >= 0) & (categorical < self._sizes)
        numbers = tf.cast(tf.where(inside, categorical, self._sizes), tf.int32)
        hashes = tf.gather(self._hashes, numbers + self._first_hash)
        outcomes = [self._above(numeric), self._equal(hashes)]
        if self._statistics is not None:
            outcomes.append(self._statistic_above(self._statistics(*self._inputs(numeric, numbers, hashes))))
        leaf = self._first_leaf + self._bits(tf.concat(outcomes, 0))
        return tf.reduce_sum(tf.gather(self._leaves, leaf), 0) * self._scale + self._bias

    def _inputs(self, numeric: tf.Tensor, numbers: tf.Tensor, hashes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The numbers and the hashes of the inputs of combinations; an outcome's hash is 0 or 1."""
        outcomes = tf.concat([self._numeric_elements(numeric), self._category_elements(hashes)], 0)
        return tuple(tf.concat([inputs, tf.cast(outcomes, inputs.dtype)], 0) for inputs in (numbers, hashes))

    def _bits(self, outcomes: tf.Tensor) -> tf.Tensor:
        """[tests, batch] bool to [trees, batch] int32, whose bit b is the outcome of a tree's split b."""
        batch = tf.shape(outcomes)[1]
        # An additional test, whose outcome is false, pads trees to the same depth.
        bytes_ = tf.pad(tf.cast(outcomes, tf.uint8), [[0, 1], [0, -batch % _LANE]])
        lanes = tf.bitcast(tf.reshape(bytes_, [tf.shape(bytes_)[0], -1, _LANE]), tf.int64)
        index = tf.zeros([self._splits.shape[1], batch], tf.int32)
        for first in reversed(range(0, len(self._splits), _LANE)):
            index = index * 2**_LANE + _unpack(_packed(lanes, self._splits[first : first + _LANE]), batch)
        return index


def _hashes(model: CatBoostModel, size: int) -> np.ndarray:
    """[size + 1] int64: CatBoost's hashes of 0 .. size - 1, _UNSEEN for those not in training, and for all others."""
    hashes = np.full(size + 1, _UNSEEN)
    inside = (model.categories >= 0) & (model.categories < size)
    hashes[model.categories[inside]] = model.category_hashes[inside]
    return hashes


def _packed(lanes: tf.Tensor, splits: np.ndarray) -> tf.Tensor:
    """[trees, lanes] int64; the bits of each byte are the outcomes of [depth, trees] splits, depth <= 8."""
    last, *others = reversed(splits)
    packed = tf.gather(lanes, last)
    for layer in others:
        packed = packed + packed + tf.gather(lanes, layer)
    return packed


def _unpack(packed: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """[trees, lanes] int64 to their [trees, batch] bytes, as int32."""
    trees = tf.shape(packed)[0]
    return tf.cast(tf.reshape(tf.bitcast(packed, tf.uint8), [trees, tf.shape(packed)[1] * _LANE]), tf.int32)[:, :batch]


class _Above(tf.Module):
    """[n, batch] float32 to [tests, batch] bool."""

    def __init__(self, tests: Tests):
        super().__init__()
        self._source, self._border = tf.constant(tests.source), tf.constant(tests.value[:, None])

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, self._source) > self._border


class _Equal(tf.Module):
    """[n, batch] int64 to [tests, batch] bool."""

    def __init__(self, tests: Tests):
        super().__init__()
        self._source, self._value = tf.constant(tests.source), tf.constant(tests.value[:, None])

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        return tf.equal(tf.gather(values, self._source), self._value)


def _table(values: np.ndarray, name: str) -> tf.Variable:
    return tf.Variable(values, trainable=False, name=name)
