"""Tastes as TensorFlow operations."""

from collections.abc import Mapping

import tensorflow as tf

from recsys_tft.ranking.tastes import Tastes


class TastesGraph(tf.Module):
    """Callable: features to the same, with two [batch] float32 features in place of the tokens.

    Args:
        known: the fitted tastes.
    """

    def __init__(self, known: Tastes):
        super().__init__(name="tastes")
        self._columns = known.columns
        self._users, self._videos = (
            tf.Variable(table, trainable=False, name=name)
            for name, table in (("users", known.users), ("videos", known.videos))
        )

    def __call__(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """As `Tastes.__call__`, to the last bit."""
        if not self._columns:
            return dict(features)
        user, video = (
            _rows(table, features[name]) for table, name in zip((self._users, self._videos), self._columns, strict=True)
        )
        worth = video[:, 0]
        for number in range(1, user.shape[1]):
            worth += user[:, number] * video[:, number]
        values = (tf.cast(each, tf.float32) for each in (user[:, 0], worth))
        return dict(features) | dict(zip(self._columns, values, strict=True))


def _rows(table: tf.Variable, tokens: tf.Tensor) -> tf.Tensor:
    """[batch, 1 + factors] float64."""
    last = table.shape[0] - 1
    places = tf.where((tokens >= 0) & (tokens < last), tf.cast(tokens, tf.int64), tf.cast(last, tf.int64))
    return tf.cast(tf.gather(table, places), tf.float64)
