"""The target statistics of a CatBoost model in its graph, looked up by numbers of categories or by hash.

A column has few tokens, so nearly all combinations of columns have few values, and their statistics are looked up by
index. Only combinations of too many values use CatBoost's hash and a hash table.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from recsys_tft.tree_graphs.catboost_statistics import StatisticsTables

_HASH_FACTOR = 0x4906BA494954CB65  # K of CatBoost's CalcHash: hash = K * (hash + K * next), modulo 2^64
_HASH_FACTOR_SQUARED = int(np.uint64(_HASH_FACTOR**2 % 2**64).view(np.int64))


class Lookups(tf.Module):
    """Callable: [inputs, batch] numbers and hashes to [statistics, batch] float32.

    Args:
        tables: the statistics.
        hashes: for each input, the int64 hash of each of its numbers.
        limit: combinations of at most this many values are looked up by index.

    Attributes:
        positions: [statistics] int32, the position of each of the tables' statistics in the result.
    """

    def __init__(self, tables: StatisticsTables, hashes: Sequence[np.ndarray], limit: int):
        super().__init__()
        sizes = [np.prod([float(len(hashes[element])) for element in elements]) for elements in tables.elements]
        small = [number for number, size in enumerate(sizes) if size <= limit]
        large = [number for number, size in enumerate(sizes) if size > limit]
        self._by_number = ByNumber(tables.select(small), hashes) if small else None
        self._by_hash = ByHash(tables.select(large)) if large else None
        owners = np.repeat(np.arange(len(sizes)), [len(values) for values in tables.values])
        order = [np.flatnonzero(owners == number) for number in (*small, *large)]
        self.positions = np.argsort(np.concatenate(order)).astype(np.int32)

    def __call__(self, numbers: tf.Tensor, hashes: tf.Tensor) -> tf.Tensor:
        parts = [self._by_number(numbers)] if self._by_number else []
        parts += [self._by_hash(hashes)] if self._by_hash else []
        return tf.concat(parts, 0)


class ByNumber(tf.Module):
    """Callable: [inputs, batch] int32 numbers to [statistics, batch] float32.

    Args:
        tables: the statistics.
        hashes: for each input, the int64 hash of each of its numbers.
    """

    def __init__(self, tables: StatisticsTables, hashes: Sequence[np.ndarray]):
        super().__init__()
        self._steps = tables.steps()
        sizes = np.array([len(values) for values in hashes], np.int32)
        self._sizes = [tf.constant(sizes[step][:, None]) for step in self._steps]
        filled = [_fill(*table, hashes) for table in zip(*tables, strict=True)]
        self._values = _variable(np.concatenate([values.ravel() for values in filled]), "statistics_by_number")
        self._owner, self._starts = _places(filled)

    def __call__(self, numbers: tf.Tensor) -> tf.Tensor:
        index = tf.zeros([len(self._steps[0]), tf.shape(numbers)[1]], tf.int32)
        finished = []
        for step, sizes in zip(self._steps, self._sizes, strict=True):
            finished.append(index[len(step) :])
            index = index[: len(step)] * sizes + tf.gather(numbers, step)
        index = tf.concat([index, *reversed(finished)], 0)
        return tf.gather(self._values, tf.gather(index, self._owner) + self._starts)


def _fill(
    elements: tuple[int, ...], table_hashes: np.ndarray, values: np.ndarray, hashes: Sequence[np.ndarray]
) -> np.ndarray:
    """[statistics, size] float32: of every combination of numbers, with the last input changing fastest."""
    keys = np.zeros(1, np.int64)
    for element in elements:
        keys = (_HASH_FACTOR * keys[:, None] + _HASH_FACTOR_SQUARED * hashes[element]).ravel()
    place = np.minimum(np.searchsorted(table_hashes, keys), len(table_hashes) - 1)
    return values[:, np.where(table_hashes[place] == keys, place, len(table_hashes))]


class ByHash(tf.Module):
    """Callable: [inputs, batch] int64 hashes to [statistics, batch] float32; one hash table for all statistics.

    Args:
        tables: the statistics.
    """

    def __init__(self, tables: StatisticsTables):
        super().__init__()
        self._steps = tables.steps()
        counts = np.array([len(table_hashes) for table_hashes in tables.hashes])
        firsts = np.cumsum(counts) - counts
        salts, keys = _salted(tables.hashes)
        self._salts = tf.constant(salts[:, None])
        self._firsts, self._counts = tf.constant(firsts[:, None]), tf.constant(counts[:, None])
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, np.arange(len(keys))), default_value=-1
        )
        self._values = _variable(np.concatenate([values.ravel() for values in tables.values]), "statistics_by_hash")
        self._owner, self._starts = _places(tables.values)

    def __call__(self, hashes: tf.Tensor) -> tf.Tensor:
        entry = self._table.lookup(tf.bitwise.bitwise_xor(self._keys(hashes), self._salts)) - self._firsts
        # Missing keys, and those of other tables, have the last value, of no combination.
        row = tf.where((entry >= 0) & (entry < self._counts), entry, self._counts)
        return tf.gather(self._values, tf.gather(tf.cast(row, tf.int32), self._owner) + self._starts)

    def _keys(self, hashes: tf.Tensor) -> tf.Tensor:
        """[tables, batch] int64 hashes. Step i is for combinations of more than i inputs, which come first."""
        scaled = _HASH_FACTOR_SQUARED * hashes
        finished, keys = [], tf.zeros([len(self._steps[0]), tf.shape(hashes)[1]], tf.int64)
        for step in self._steps:
            finished.append(keys[len(step) :])
            keys = _HASH_FACTOR * keys[: len(step)] + tf.gather(scaled, step)
        return tf.concat([keys, *reversed(finished)], 0)


def _salted(tables: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A number for each table that distinguishes its hashes from those of others; and all hashes with it."""
    for seed in itertools.count():
        salts = np.random.default_rng([seed, len(tables)]).integers(-(2**63), 2**63, len(tables))
        keys = np.concatenate([table_hashes ^ salt for table_hashes, salt in zip(tables, salts, strict=True)])
        if len(np.unique(keys)) == len(keys):
            break
    return salts, keys


def _places(filled: Sequence[np.ndarray]) -> tuple[tf.Tensor, tf.Tensor]:
    """The table of each statistic, and the offset of its values if all are concatenated."""
    owner = np.repeat(np.arange(len(filled)), [len(values) for values in filled])
    lengths = np.array([values.shape[1] for values in filled])[owner]
    return tf.constant(owner, tf.int32), tf.constant((np.cumsum(lengths) - lengths)[:, None], tf.int32)


def _variable(values: np.ndarray, name: str) -> tf.Variable:
    return tf.Variable(values, trainable=False, name=name)
