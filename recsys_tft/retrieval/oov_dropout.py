"""Teaches a model what it is not to know: an unseen value, and a user without a past.

The tokens of values out of the vocabulary occur in no training row, so their embeddings would stay random. Each
value is shown as unseen in a few rows of an epoch, the same number for all values: a share of all rows would teach that
an unseen video is like a popular one, as most rows are of those.

Rows without a history are few: the first of each user. What is learned with one leaves little to the rest of the query
tower, so that in a share of rows it is hidden (as in Volkovs et al., DropoutNet, NIPS 2017).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from recsys_tft.columns import Accuracy
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Feature

_MOST = 0.5  # of the rows of a value


class OovDropout:
    """Replaces tokens of features that read a vocabulary.

    Args:
        features: of one tower.
        counts: for each categorical feature [values] int64, in how many training rows each of its tokens is.
        settings: of the run; `two_tower.oov_dropout` says in how many rows of an epoch each value is to be unseen.
        seed: of the choice.
    """

    def __init__(self, features: Sequence[Feature], counts: Mapping[str, np.ndarray], settings: Settings, seed: int):
        self._seed = seed
        self._oov = {f.name: settings.vocabulary(f.vocabulary.name).n_oov for f in features if f.vocabulary}
        self._rates = {
            name: tf.constant(_rates(counts[name], n_oov, settings.two_tower.oov_dropout))
            for name, n_oov in self._oov.items()
        }

    def __call__(self, rows: Mapping[str, tf.Tensor], step: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """[batch, ...] features with some tokens replaced, and the [batch] float32 probability of this choice.

        Args:
            rows: by feature.
            step: int64 scalar; the choice depends on it and the seed alone.
        """
        replaced, probability = dict(rows), tf.ones(tf.shape(next(iter(rows.values())))[:1])
        for number, (name, rates) in enumerate(self._rates.items()):
            tokens = rows[name]
            rate = tf.gather(rates, tokens)
            key = tf.stack([tf.constant(self._seed * 1000 + number, tf.int64), step])
            drawn = tf.random.stateless_uniform(tf.shape(tokens), key)
            chosen = drawn < rate
            # Which of the out-of-vocabulary tokens, from the same draw: what is below the rate is uniform below it.
            other = 1 + tf.cast(tf.math.floor(tf.math.divide_no_nan(drawn, rate) * self._oov[name]), tokens.dtype)
            replaced[name] = tf.where(chosen, other, tokens)
            if tokens.shape.rank == 1:
                probability *= tf.where(chosen, rate, 1 - rate)
        return replaced, probability


def without_past(
    rows: Mapping[str, tf.Tensor], features: Sequence[Feature], share: float, seed: int, step: tf.Tensor
) -> dict[str, tf.Tensor]:
    """[batch, ...] features in which, in a share of rows, all that is as of the exposure is 0, as where it is missing.

    Args:
        rows: by feature.
        features: of the query tower.
        share: of rows, from 0 to 1.
        seed: of the choice.
        step: int64 scalar; the choice depends on it and the seed alone.
    """
    past = [feature.name for feature in features if feature.accuracy is Accuracy.AS_OF]
    batch = tf.shape(next(iter(rows.values())))[:1]
    kept = tf.random.stateless_uniform(batch, tf.stack([tf.constant(seed * 1000 - 1, tf.int64), step])) >= share
    return dict(rows) | {name: _where(kept, rows[name]) for name in past}


def _where(kept: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """[batch, ...] values, 0 in rows that are not kept."""
    shape = tf.concat([tf.shape(kept), tf.ones(values.shape.rank - 1, tf.int32)], 0)
    return values * tf.cast(tf.reshape(kept, shape), values.dtype)


def _rates(counts: np.ndarray, n_oov: int, rows: float) -> np.ndarray:
    """[values] float32: how often each token is replaced; missing and out-of-vocabulary ones never."""
    rates = np.minimum(_MOST, rows / np.maximum(counts, 1)).astype(np.float32)
    rates[: 1 + n_oov] = 0
    return rates
