"""An XGBoost model as a TensorFlow graph: a gather for each level of the trees. Serving needs no xgboost.

Each value becomes a code: for a number its position among the thresholds of its column, for a category the number of
its class. Whether a row goes right at a node is looked up in one table, at the node's offset plus the code. Inside, the
batch is the last axis.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from recsys_tft.tree_graphs.xgboost_model import XGBoostModel, classes

_SIGN = np.int32(-(2**31))
_LARGEST = np.float32(np.finfo(np.float32).max).view(
    np.int32
)  # the key of the largest number, as which infinity counts


class TreeEnsemble(tf.Module):
    """Callable: columns of [batch] rows to [batch] float64 raw scores, which are logits.

    Args:
        model: to compute.
        sizes: number of values of each categorical column: 0 .. size - 1; all others are unseen.
    """

    def __init__(self, model: XGBoostModel, sizes: Sequence[int]):
        super().__init__(name="xgboost")
        inner = np.flatnonzero(model.source >= 0)
        numeric, categorical = inner[~model.is_categorical[inner]], inner[model.is_categorical[inner]]
        self._has_numbers = len(model.numeric) > 0
        cuts = _cuts(model, numeric)
        self._cuts = tf.constant(cuts)
        ranks = cuts.shape[1]  # the code of a number is 0 .. ranks; the table below is 0 up to `ranks`, then 1
        columns, starts = np.zeros((2, len(model.left)), np.int32)  # leaves have the column of zeros, which goes left
        # Two codes for each number: missing numbers are below all thresholds in the first, above in the second.
        columns[numeric] = 1 + model.source[numeric] + len(model.numeric) * model.nan_goes_right[numeric]
        places = _places(cuts, model.source[numeric], _keys(model.threshold[numeric]))
        starts[numeric] = ranks - places
        tables = [np.arange(2 * ranks + 1) > ranks]
        class_of = []
        for row, size in enumerate(sizes):
            nodes = categorical[model.source[categorical] == row]
            class_of_category, members = classes([model.sets[node] for node in nodes.tolist()], size)
            class_of.append(class_of_category)
            columns[nodes] = 1 + 2 * len(model.numeric) + row
            begin = sum(map(len, tables))
            starts[nodes] = begin + members.shape[1] * np.arange(len(nodes))
            tables.append(members.ravel())
        counts = np.array([len(class_of_category) for class_of_category in class_of], np.int64)[:, None]
        self._last, self._first = tf.constant(counts - 1), tf.constant(np.cumsum(counts)[:, None] - counts)
        self._classes = _variable(np.concatenate([*class_of, np.zeros(0, np.int32)]), "classes")
        self._goes_right = _variable(np.concatenate(tables).astype(np.uint8), "goes_right")
        # Column, offset in the table, and left child of each node: one gather of three numbers.
        self._nodes = _variable(np.stack([columns, starts, model.left], 1), "nodes")
        self._leaves = _variable(model.leaves, "leaves")
        self._roots, self._depth = tf.constant(model.roots[:, None]), model.depth
        self._bias = model.bias

    def __call__(self, numeric: tf.Tensor, categorical: tf.Tensor) -> tf.Tensor:
        """Raw scores.

        Args:
            numeric: [columns, batch] float32, in the order of `XGBoostModel.numeric`; NaN for missing.
            categorical: [columns, batch] int64, in the order of `XGBoostModel.categorical`.
        """
        batch = tf.shape(numeric)[1]
        codes = tf.concat(
            [tf.zeros([1, batch], tf.int32), *self._number_codes(numeric), self._token_codes(categorical)], 0
        )
        codes, rows = tf.reshape(codes, [-1]), tf.range(batch)
        node = tf.tile(self._roots, [1, batch])
        for _ in range(self._depth):
            column, start, left = tf.unstack(tf.gather(self._nodes, node), axis=2)
            right = tf.gather(self._goes_right, start + tf.gather(codes, column * batch + rows))
            node = left + tf.cast(right, tf.int32)
        leaves = tf.gather(self._leaves, node)
        # Summed sequentially in float32, as in XGBoost.
        sums = tf.cumsum(tf.concat([tf.fill([1, batch], self._bias), leaves], 0), 0)
        return tf.cast(sums[-1], tf.float64)

    def _number_codes(self, numeric: tf.Tensor) -> list[tf.Tensor]:
        """[columns, batch] codes, once with missing numbers below all thresholds, and once above."""
        if not self._has_numbers:
            return []
        missing, ranks = tf.math.is_nan(numeric), self._cuts.shape[1]
        # As integers in the same order: TensorFlow's comparisons treat numbers below 1e-38 as 0.
        bits = tf.bitcast(tf.where(missing, 0.0, numeric), tf.int32)
        keys = tf.clip_by_value(tf.where(bits < 0, _SIGN - bits, bits), -_LARGEST, _LARGEST)
        codes = tf.searchsorted(self._cuts, keys, side="right")
        return [tf.where(missing, 0, codes), tf.where(missing, ranks, codes)]

    def _token_codes(self, categorical: tf.Tensor) -> tf.Tensor:
        inside = (categorical >= 0) & (categorical < self._last)
        return tf.gather(self._classes, tf.where(inside, categorical, self._last) + self._first)


def _keys(values: np.ndarray) -> np.ndarray:
    """[n] int32 in the order of [n] float32; -0 is 0."""
    bits = np.ascontiguousarray(values, np.float32).view(np.int32)
    return np.where(bits < 0, _SIGN - bits, bits)


def _cuts(model: XGBoostModel, nodes: np.ndarray) -> np.ndarray:
    """[numeric, most] int32 increasing keys of the thresholds of each column, then the largest number."""
    thresholds = [
        np.unique(_keys(model.threshold[nodes[model.source[nodes] == row]])) for row in range(len(model.numeric))
    ]
    padded = np.full((len(thresholds), max([1, *map(len, thresholds)])), np.iinfo(np.int32).max)
    for row, keys in enumerate(thresholds):
        padded[row, : len(keys)] = keys
    return padded.astype(np.int32)


def _places(cuts: np.ndarray, rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """[n] int: the position of each of [n] keys in its row of cuts."""
    positions = np.zeros(len(keys), np.int64)
    for row, keys_of_column in enumerate(cuts):
        positions[rows == row] = np.searchsorted(keys_of_column, keys[rows == row])
    return positions


def _variable(values: np.ndarray, name: str) -> tf.Variable:
    return tf.Variable(values, trainable=False, name=name)
