"""A logistic regression and what is boosted on top of it, as TensorFlow operations."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from recsys_tft.ranking.logistic import LARGEST, Logistic


class Sum(tf.Module):
    """As `Served.scores`: those of trees plus the logit of a regression.

    Args:
        trees: as `Served.scores`.
        start: the regression.
        numeric: as `Served.numeric`.
    """

    def __init__(self, trees: tf.Module, start: Logistic, numeric: Sequence[int]):
        super().__init__(name="boosted_logistic")
        self._trees = trees
        self._bias, self._weights = start.bias, start.weights[:, None]
        self._means, self._scales, self._missing = start.means[:, None], start.scales[:, None], start.missing[:, None]
        self._places = np.array([list(numeric).index(column) for column in start.columns], np.int32)

    def __call__(self, numeric: tf.Tensor, categorical: tf.Tensor) -> tf.Tensor:
        numbers = tf.cast(tf.gather(numeric, self._places), tf.float64)
        standardized = tf.clip_by_value((numbers - self._means) * self._scales, -LARGEST, LARGEST)
        terms = tf.where(tf.math.is_nan(numbers), self._missing, self._weights * standardized)
        return self._trees(numeric, categorical) + (self._bias + tf.reduce_sum(terms, axis=0))
