"""OOV dropout: trains the embeddings of unseen ids and of users without history.

Out-of-vocabulary tokens occur in no training row, so their embeddings would stay random. Each value is replaced by one
in a few rows of an epoch, in the same number for all values: with a share of all rows, unseen videos would become like
popular ones, as most rows are of those.

Few rows have no history: the first one of each user. With a history the rest of the query tower would learn little, so
the history is hidden in a share of rows (as in Volkovs et al., DropoutNet, NIPS 2017).
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
        counts: for each categorical feature [values] int64, the training rows with each of its tokens.
        settings: of the run; `two_tower.oov_dropout` is the number of rows of an epoch in which each value is unseen.
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
            # The out-of-vocabulary token, from the same draw: draws below the rate are uniform below it.
            other = 1 + tf.cast(tf.math.floor(tf.math.divide_no_nan(drawn, rate) * self._oov[name]), tokens.dtype)
            replaced[name] = tf.where(chosen, other, tokens)
            if tokens.shape.rank == 1:
                probability *= tf.where(chosen, rate, 1 - rate)
        return replaced, probability


def without_past(
    rows: Mapping[str, tf.Tensor], features: Sequence[Feature], share: float, seed: int, step: tf.Tensor
) -> dict[str, tf.Tensor]:
    """[batch, ...] features; in a share of rows all point-in-time features of the exposure are 0, as if missing.

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
    """[values] float32: the rate at which each token is replaced; 0 for missing and out-of-vocabulary ones."""
    rates = np.minimum(_MOST, rows / np.maximum(counts, 1)).astype(np.float32)
    rates[: 1 + n_oov] = 0
    return rates
