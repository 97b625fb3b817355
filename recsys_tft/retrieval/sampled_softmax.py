"""The loss of the two-tower model: softmax of a row's own candidate among sampled ones."""

import dataclasses

import keras_rs
import tensorflow as tf

_LOWEST = -1e9  # a masked logit


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Vectors of videos, possibly repeated.

    Attributes:
        vectors: [n, dim] float32.
        ids: [n] int64, equal for the same video.
        probability: [n] float32 above 0, proportional to the sampling probability; None: uniform.
        begins: [n] int64 microseconds, from when on each can be chosen; None: always.
    """

    vectors: tf.Tensor
    ids: tf.Tensor
    probability: tf.Tensor | None = None
    begins: tf.Tensor | None = None


def sampled_softmax(
    query: tf.Tensor,
    own: Candidates,
    others: Candidates,
    weight: tf.Tensor,
    temperature: float,
    times: tf.Tensor | None = None,
) -> tf.Tensor:
    """Cross entropy of each row's own candidate among itself and all others: a scalar, the weighted mean.

    Logits are dot products over `temperature`. Each is reduced by the log of the candidate's sampling probability, so
    that frequent candidates are not penalized for being sampled more often (Bengio and Senecal, Adaptive Importance
    Sampling, 2008; Yi et al., Sampling-Bias-Corrected Neural Modeling, RecSys 2019). Accidental hits, the row's own
    candidate among the others, are masked, and so are candidates that begin after the row. With the candidates of the
    batch as the others this is the in-batch softmax; with every video once, and no correction, the full softmax.

    Args:
        query: [batch, dim] float32.
        own: [batch] candidates.
        others: [n] candidates, the same for all rows.
        weight: [batch] float32.
        temperature: above 0.
        times: [batch] int64 microseconds, when each row is; needed where others begin at some time.
    """
    first = _corrected(tf.reduce_sum(query * own.vectors, axis=1) / temperature, own.probability)
    rest = _corrected(tf.matmul(query, others.vectors, transpose_b=True) / temperature, others.probability)
    left_out = tf.equal(own.ids[:, None], others.ids[None, :])
    if times is not None and others.begins is not None:
        left_out |= others.begins[None, :] > times[:, None]
    rest = tf.where(left_out, _LOWEST, rest)
    logits = tf.concat([first[:, None], rest], 1)
    rows = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.zeros_like(own.ids, tf.int32), logits)
    return tf.math.divide_no_nan(tf.reduce_sum(weight * rows), tf.reduce_sum(weight))


def _corrected(logits: tf.Tensor, probability: tf.Tensor | None) -> tf.Tensor:
    if probability is None:
        return logits
    # The layer's default floor of 1e-6 would distort the correction of rare videos in large catalogues.
    return keras_rs.layers.SamplingProbabilityCorrection(epsilon=1e-30)(logits, probability)
