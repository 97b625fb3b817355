"""Encoders of ordered lists of videos, the most recent one first; a mean of their vectors would lose the order.

Each is a Keras layer from [batch, n, width] vectors and a [batch, n] bool mask, False for padding, to about
[batch, width] float32, zeros for an empty list. Videos beyond the last `length` ones are not read.
"""

import keras
import tensorflow as tf
from keras import ops

HEADS = 4
_WRITTEN_OUT = 64  # steps of a GRU at most
_LOWEST = -1e9  # of a logit of padding


class Weighted(keras.layers.Layer):
    """The mean of the vectors, weighted by the softmax of a learned number per position.

    All numbers are initially 0, so it begins as the plain mean.

    Args:
        length: number of positions.
    """

    def __init__(self, length: int, name: str):
        super().__init__(name=name)
        self._length = length

    def build(self, *shapes: tuple[int | None, ...], **named: tuple[int | None, ...]) -> None:
        self._places = self.add_weight(shape=(self._length,), initializer="zeros", name="places")
        self.built = True

    def call(self, vectors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        vectors, mask = vectors[:, : self._length], mask[:, : self._length]
        shares = _softmax(self._places[: ops.shape(mask)[1]], mask)
        return ops.sum(vectors * ops.expand_dims(shares, 2), axis=1)


class Attention(keras.layers.Layer):
    """Self-attention of the most recent video over all of the list, itself included, in HEADS heads.

    In each head the logit of a video is q k / sqrt(size) + a learned number of its position, with q of the most recent
    video and k of this one (Vaswani et al., Attention Is All You Need, 2017, with the position as a bias, as in Raffel
    et al., JMLR 2020, and Zhai et al., Actions Speak Louder than Words, ICML 2024). As only older videos follow, it
    equals the last position of causal attention. The result is concatenated with a ReLU layer of it, so that repeated
    categories count less and less.

    Args:
        length: number of positions.
    """

    def __init__(self, length: int, name: str):
        super().__init__(name=name)
        self._length = length

    def build(self, vectors: tuple[int, ...], *shapes: tuple[int | None, ...], **named: tuple) -> None:
        self._size = max(1, vectors[-1] // HEADS)
        self._query, self._key, self._value = (
            keras.layers.Dense(HEADS * self._size, name=name) for name in ("query", "key", "value")
        )
        for layer in (self._query, self._key, self._value):
            layer.build((None, None, vectors[-1]))
        self._hidden = keras.layers.Dense(2 * vectors[-1], activation="relu", name="hidden")
        self._hidden.build((None, HEADS * self._size))
        self._places = self.add_weight(shape=(HEADS, self._length), initializer="zeros", name="places")
        self.built = True

    def call(self, vectors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        vectors, mask = vectors[:, : self._length], mask[:, : self._length]
        shown = vectors * ops.cast(ops.expand_dims(mask, 2), vectors.dtype)
        query, key, value = (
            self._heads(layer(part))
            for layer, part in ((self._query, shown[:, :1]), (self._key, shown), (self._value, shown))
        )
        logits = ops.einsum("bqhs,bkhs->bhk", query, key) / self._size**0.5
        shares = _softmax(logits + self._places[:, : ops.shape(mask)[1]], ops.expand_dims(mask, 1))
        found = ops.reshape(ops.einsum("bhk,bkhs->bhs", shares, value), (-1, HEADS * self._size))
        some = ops.cast(ops.any(mask, axis=1, keepdims=True), found.dtype)
        return ops.concatenate([found, self._hidden(found) * some], axis=1)

    def _heads(self, vectors: tf.Tensor) -> tf.Tensor:
        """[batch, n, heads, size]."""
        return ops.reshape(vectors, (-1, ops.shape(vectors)[1], HEADS, self._size))


class Recurrent(keras.layers.Layer):
    """The state of a GRU after the list, from the oldest to the most recent (Hidasi et al., GRU4Rec, ICLR 2016).

    Args:
        length: how many videos.
    """

    def __init__(self, length: int, name: str):
        super().__init__(name=name)
        self._length = length

    def build(self, vectors: tuple[int, ...], *shapes: tuple[int | None, ...], **named: tuple) -> None:
        # Unrolled steps take a fifth of the time of a loop in the graph.
        self._gru = keras.layers.GRU(vectors[-1], unroll=self._length <= _WRITTEN_OUT, name="gru")
        self._gru.build((None, None, vectors[-1]))
        self.built = True

    def call(self, vectors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        # Padding comes first then, and does not change the state.
        vectors, mask = vectors[:, : self._length], mask[:, : self._length]
        places = ((0, 0), (0, self._length - ops.shape(mask)[1]))
        mask = ops.flip(tf.pad(mask, places), axis=1)
        vectors = ops.flip(tf.pad(vectors, (*places, (0, 0))), axis=1)
        return self._gru(
            ops.reshape(vectors, (-1, self._length, vectors.shape[-1])), mask=ops.reshape(mask, (-1, self._length))
        )


ENCODERS = {"weighted": Weighted, "attention": Attention, "gru": Recurrent}


def _softmax(logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Softmax along the last axis over the unmasked elements, 0 elsewhere; all 0 if all are masked."""
    shown = ops.cast(mask, "float32")
    return tf.nn.softmax(logits + (1 - shown) * _LOWEST) * shown
