"""The loss of the two-tower model: softmax over the candidates of the batch."""

import keras_rs
import tensorflow as tf

_LOWEST = -1e9  # of a logit that is left out; added, not assigned, so that the positive keeps its own


def in_batch_softmax(
    query: tf.Tensor,
    candidate: tf.Tensor,
    candidate_ids: tf.Tensor,
    probability: tf.Tensor | None,
    weight: tf.Tensor,
    temperature: float,
) -> tf.Tensor:
    """Cross entropy of each row's candidate among all candidates of the batch, averaged by weight, as a scalar.

    Logits are dot products over `temperature`. Each candidate's is lowered by the log of the probability with which it
    is in a batch, so that frequent ones are not punished for being drawn as negatives more often (Yi et al.,
    Sampling-Bias-Corrected Neural Modeling, RecSys 2019). Accidental hits, the row's own candidate as some other row's,
    are left out.

    Args:
        query: [batch, dim] float32.
        candidate: [batch, dim] float32.
        candidate_ids: [batch] int64.
        probability: [batch] float32 above 0, of each candidate among training rows; None for no correction.
        weight: [batch] float32.
        temperature: above 0.
    """
    logits = tf.matmul(query, candidate, transpose_b=True) / temperature
    if probability is not None:
        # The layer's default floor of 1e-6 would distort the correction of rare videos in large catalogues.
        logits = keras_rs.layers.SamplingProbabilityCorrection(epsilon=1e-30)(logits, probability)
    same = tf.equal(candidate_ids[:, None], candidate_ids[None, :])
    accidental = tf.linalg.set_diag(same, tf.zeros_like(candidate_ids, tf.bool))
    logits += tf.where(accidental, _LOWEST, 0.0)
    rows = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.range(tf.shape(logits)[0]), logits)
    return tf.math.divide_no_nan(tf.reduce_sum(weight * rows), tf.reduce_sum(weight))
