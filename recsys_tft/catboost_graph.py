"""A CatBoost model as a TensorFlow graph: compare, bit index, gather. It needs no catboost where it is served.

Inside, the batch is the last axis, so that choosing inputs copies whole rows.
"""

import numpy as np
import tensorflow as tf

from recsys_tft import cuckoo
from recsys_tft.catboost_model import CatBoostModel, Tests

_HASH_FACTOR = 0x4906BA494954CB65  # K of CatBoost's CalcHash: hash = K * (hash + K * next), modulo 2^64
_HASH_FACTOR_SQUARED = int(np.uint64(_HASH_FACTOR**2 % 2**64).view(np.int64))
_UNSEEN = 1 << 40  # takes the place of a hash, which has 32 bits
_LANE = 8  # outcomes of so many rows, a byte each, are handled as one int64; bits of so many splits fit into a byte


class TreeEnsemble(tf.Module):
    """Callable: columns of [batch] rows to [batch] float64 raw scores: logits or rank scores.

    Args:
        model: what it computes.
    """

    def __init__(self, model: CatBoostModel):
        super().__init__(name="catboost")
        self.is_probability = model.is_probability
        self._nan_is_large = tf.constant(model.nan_is_large[:, None])
        self._categories = _table(model.categories, "categories")
        self._category_hashes = _table(np.append(model.category_hashes, _UNSEEN), "category_hashes")
        self._above = _Above(model.above)
        self._equal = _Equal(model.equal)
        self._statistics = _Statistics(model) if model.statistics.elements else None
        self._statistic_above = _Above(model.statistic_above)
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
        hashes = self._hashes(categorical)
        outcomes = [self._above(numeric), self._equal(hashes)]
        if self._statistics is not None:
            outcomes.append(self._statistic_above(self._statistics(numeric, hashes)))
        leaf = self._first_leaf + self._bits(tf.concat(outcomes, 0))
        return tf.reduce_sum(tf.gather(self._leaves, leaf), 0) * self._scale + self._bias

    def _hashes(self, categorical: tf.Tensor) -> tf.Tensor:
        """[columns, batch] int64 hashes of categorical values; that of an unseen one is no value's."""
        known = self._categories.shape[0]
        if not known:
            return tf.fill(tf.shape(categorical), tf.constant(_UNSEEN, tf.int64))
        flat = tf.reshape(categorical, [-1])
        place = tf.minimum(tf.searchsorted(self._categories, flat), known - 1)
        place = tf.where(tf.equal(tf.gather(self._categories, place), flat), place, known)
        return tf.reshape(tf.gather(self._category_hashes, place), tf.shape(categorical))

    def _bits(self, outcomes: tf.Tensor) -> tf.Tensor:
        """[tests, batch] bool to [trees, batch] int32, whose bit b is the outcome of a tree's split b."""
        batch = tf.shape(outcomes)[1]
        # One more test, of which the outcome is false, fills trees up to the same depth.
        bytes_ = tf.pad(tf.cast(outcomes, tf.uint8), [[0, 1], [0, -batch % _LANE]])
        lanes = tf.bitcast(tf.reshape(bytes_, [tf.shape(bytes_)[0], -1, _LANE]), tf.int64)
        index = tf.zeros([self._splits.shape[1], batch], tf.int32)
        for first in reversed(range(0, len(self._splits), _LANE)):
            index = index * 2**_LANE + _unpack(_packed(lanes, self._splits[first : first + _LANE]), batch)
        return index


def _packed(lanes: tf.Tensor, splits: np.ndarray) -> tf.Tensor:
    """[trees, lanes] int64, in each of whose bytes the bits are the outcomes of [depth, trees] splits, depth <= 8."""
    last, *others = reversed(splits)
    packed = tf.gather(lanes, last)
    for layer in others:
        packed = packed + packed + tf.gather(lanes, layer)
    return packed


def _unpack(packed: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """[trees, lanes] int64 to the [trees, batch] bytes that they hold, as int32."""
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


class _Statistics(tf.Module):
    """From numeric columns and hashes of categorical ones to the target statistics, [statistics, batch] float32."""

    def __init__(self, model: CatBoostModel):
        super().__init__()
        tables = model.statistics
        self._numeric_elements, self._category_elements = (
            _Above(model.numeric_elements),
            _Equal(model.category_elements),
        )
        longest = len(tables.elements[0])
        self._steps = [_elements_at(step, tables.elements) for step in range(longest)]
        slots = cuckoo.build(tables.hashes)
        self._factors = [tf.constant(factors[:, None]) for factors in slots.factors]
        self._shifts, self._sizes = tf.constant(slots.shifts[:, None]), tf.constant(slots.sizes[:, None])
        self._first_slots = tf.constant(slots.first_slots[:, None])
        self._keys_of_slots = _table(slots.keys, "statistic_keys")
        per_slot, owner = _values_of_slots(slots, tables.values)
        starts = np.cumsum(slots.sizes[owner] + 1) - slots.sizes[owner] - 1
        self._owner, self._starts = tf.constant(owner, tf.int32), tf.constant(starts[:, None])
        self._values = _table(per_slot, "statistic_values")

    def __call__(self, numeric: tf.Tensor, hashes: tf.Tensor) -> tf.Tensor:
        outcomes = [self._numeric_elements(numeric), self._category_elements(hashes)]
        elements = tf.concat([hashes, *(tf.cast(outcome, tf.int64) for outcome in outcomes)], 0)
        keys = self._keys(elements)
        slots = [tf.bitwise.right_shift(keys * factors, self._shifts) & (self._sizes - 1) for factors in self._factors]
        first, second = (tf.equal(tf.gather(self._keys_of_slots, self._first_slots + slot), keys) for slot in slots)
        found = tf.where(first, slots[0], tf.where(second, slots[1], self._sizes))
        return tf.gather(self._values, tf.gather(found, self._owner) + self._starts)

    def _keys(self, elements: tf.Tensor) -> tf.Tensor:
        """[tables, batch] int64 hashes. Step i is for combinations of more than i elements, which come first."""
        scaled = _HASH_FACTOR_SQUARED * elements
        finished, keys = [], tf.zeros([len(self._steps[0]), tf.shape(elements)[1]], tf.int64)
        for step in self._steps:
            finished.append(keys[len(step) :])
            keys = _HASH_FACTOR * keys[: len(step)] + tf.gather(scaled, step)
        return tf.concat([keys, *reversed(finished)], 0)


def _elements_at(step: int, combinations: tuple[tuple[int, ...], ...]) -> np.ndarray:
    return np.array([elements[step] for elements in combinations if len(elements) > step], np.int32)


def _values_of_slots(slots: cuckoo.CuckooTables, values: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """For each statistic the values of its table's slots, then that of no slot, in one array; and each one's table."""
    ends = slots.first_slots + slots.sizes
    entries = [slots.entry[first:end] for first, end in zip(slots.first_slots, ends, strict=True)]
    # Entry -1, of an empty slot, has the value of no slot, which is the last one.
    arrays = [of[:, np.append(entry, -1)].ravel() for of, entry in zip(values, entries, strict=True)]
    return np.concatenate(arrays), np.repeat(np.arange(len(values)), [len(of) for of in values])


def _table(values: np.ndarray, name: str) -> tf.Variable:
    return tf.Variable(values, trainable=False, name=name)
