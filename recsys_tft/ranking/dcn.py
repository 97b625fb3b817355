"""The neural ranker: a deep and cross network (Wang et al., DCN V2, WWW 2021) in Keras 3."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from keras_rs.layers import FeatureCross

from recsys_tft.configuration.model_settings import DcnSettings

LABEL = "label"  # the first head
_FARTHEST = 5.0  # standard deviations from the mean, at which numbers are clipped
_STEPS = 32  # of integrated gradients, from the average row to a row


@dataclasses.dataclass(frozen=True)
class DcnShape:
    """The architecture of a network.

    Attributes:
        sizes: for each column the number of tokens; None for a numeric column.
        heads: LABEL and the auxiliary targets.
        options: widths and regularisation.
        seed: of the dropout.
    """

    sizes: tuple[int | None, ...]
    heads: tuple[str, ...]
    options: DcnSettings
    seed: int

    @property
    def numeric(self) -> tuple[int, ...]:
        """The places of numeric columns."""
        return tuple(number for number, size in enumerate(self.sizes) if size is None)

    @property
    def categorical(self) -> tuple[int, ...]:
        """The places of columns of tokens."""
        return tuple(number for number, size in enumerate(self.sizes) if size is not None)

    def as_json(self) -> dict[str, Any]:
        """JSON values, for `from_json`."""
        return dataclasses.asdict(self) | {"options": self.options.model_dump(mode="json")}


def from_json(found: Mapping[str, Any]) -> DcnShape:
    """The inverse of `DcnShape.as_json`."""
    options = DcnSettings.model_validate(found["options"])
    return DcnShape(tuple(found["sizes"]), tuple(found["heads"]), options, found["seed"])


class Dcn(keras.Model):
    """Maps the columns of rows to logits, one for each head.

    Tokens are embedded, and numbers standardised; together they are the input of cross layers and, in parallel, of
    dense layers with ReLU, and the heads read both. Embeddings are initialised to zero, so that a token that is in no
    training row, or is beyond the sizes, has no effect.

    Args:
        shape: the architecture.
    """

    def __init__(self, shape: DcnShape):
        super().__init__(name="dcn")
        self.shape = shape
        options, sizes = shape.options, np.array([shape.sizes[number] for number in shape.categorical], np.int64)
        self._width = len(sizes) * options.embedding_dim + len(shape.numeric)
        rows = int((sizes + 1).sum())  # one more of each column, for what is beyond its size
        weight = self.add_weight
        self._table = weight(shape=(rows, options.embedding_dim), initializer="zeros", name="table")
        self._sizes, self._first = sizes, np.cumsum(sizes + 1) - sizes - 1
        of_numbers = {"shape": (len(shape.numeric),), "trainable": False}
        self._mean = weight(**of_numbers, initializer="zeros", name="mean")
        self._deviation = weight(**of_numbers, initializer="ones", name="deviation")
        self._average = weight(shape=(self._width,), initializer="zeros", name="average", trainable=False)
        self._crosses = [FeatureCross(name=f"cross_{number}") for number in range(options.cross_layers)]
        self._hidden = [keras.layers.Dense(width, activation="relu") for width in options.hidden]
        self._drops = [
            keras.layers.Dropout(options.dropout, seed=shape.seed + number) for number in range(len(options.hidden))
        ]
        self._heads = keras.layers.Dense(len(shape.heads), name="heads")
        self(tf.zeros([1, len(shape.numeric)]), tf.zeros([1, len(sizes)], tf.int64))

    def call(self, numeric: tf.Tensor, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        """[batch, heads] logits.

        Args:
            numeric: [batch, numbers] float32; NaN counts as the mean.
            tokens: [batch, tokens] int64.
            training: whether dropout is applied.
        """
        return self._logits(self._inputs(numeric, tokens), training)

    def prepare(self, numeric: np.ndarray, rate: float) -> None:
        """Fits means and standard deviations of [n, numbers], and the bias of the first head by the positive rate."""
        finite = np.where(np.isfinite(numeric), numeric, np.nan).astype(np.float64)
        with np.errstate(invalid="ignore"):
            known = np.asarray(np.isfinite(finite).any(axis=0))
            mean, deviation = (of(finite[:, known], axis=0) for of in (np.nanmean, np.nanstd))
        for variable, values, usual in ((self._mean, mean, 0.0), (self._deviation, deviation, 1.0)):
            filled = np.full(len(known), usual)
            filled[known] = values
            variable.assign(filled)
        self._deviation.assign(np.where(np.asarray(self._deviation) > 0, np.asarray(self._deviation), 1.0))
        bias = np.zeros(len(self.shape.heads))
        bias[0] = np.log(rate / (1 - rate))
        self._heads.bias.assign(bias)

    def remember_average(self, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Fits the average input of rows, the baseline of `contributions`."""
        sums = sum(np.asarray(self._inputs(*batch), np.float64).sum(axis=0) for batch in batches)
        self._average.assign(sums / sum(len(numeric) for numeric, _ in batches))

    def contributions(self, numeric: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """[batch, columns] float32: what each column adds to the logit of LABEL, compared with the average input.

        Integrated gradients (Sundararajan et al., Axiomatic Attribution for Deep Networks, ICML 2017), by the midpoint
        rule: their sum over columns is the row's logit minus that of the average input, up to the error of the rule.
        """
        inputs = self._inputs(numeric, tokens)
        way = inputs - self._average
        batch = tf.shape(inputs)[0]
        steps = (tf.range(_STEPS, dtype=tf.float32) + 0.5) / _STEPS
        points = tf.reshape(self._average + steps[:, None, None] * way, [_STEPS * batch, self._width])
        with tf.GradientTape() as tape:
            tape.watch(points)
            logit = self._logits(points, False)[:, 0]
        gradients = tf.reshape(tape.gradient(logit, points), [_STEPS, batch, self._width])
        found = way * tf.reduce_mean(gradients, 0)
        width = len(self._sizes) * self.shape.options.embedding_dim
        of_tokens = tf.reshape(found[:, :width], [batch, len(self._sizes), self.shape.options.embedding_dim])
        by_kind = tf.concat([tf.reduce_sum(of_tokens, 2), found[:, width:]], 1)
        return tf.gather(by_kind, np.argsort([*self.shape.categorical, *self.shape.numeric]), axis=1)

    def _inputs(self, numeric: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        tokens = tf.cast(tokens, tf.int64)
        places = tf.where((tokens >= 0) & (tokens < self._sizes), tokens, self._sizes) + self._first
        vectors = tf.gather(tf.convert_to_tensor(self._table), places)
        width = len(self._sizes) * self.shape.options.embedding_dim
        far = (tf.cast(numeric, tf.float32) - self._mean) / self._deviation
        known = tf.where(tf.math.is_nan(far), 0.0, tf.clip_by_value(far, -_FARTHEST, _FARTHEST))
        return tf.concat([tf.reshape(vectors, [tf.shape(known)[0], width]), known], 1)

    def _logits(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        crossed = deep = inputs
        for cross in self._crosses:
            crossed = cross(inputs, crossed)
        for layer, drop in zip(self._hidden, self._drops, strict=True):
            deep = drop(layer(deep), training=training)
        return self._heads(ops.concatenate([crossed, deep], axis=1) if self._hidden else crossed)
