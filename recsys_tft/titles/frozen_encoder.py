"""A title encoder for serving, with its weights as constants, which TensorFlow folds and fuses."""

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from recsys_tft.titles.hub_encoder import HubEncoder

MOST_BYTES = 1 << 30  # of weights; a graph is limited to 2 GiB


class FrozenEncoder(tf.Module):
    """Callable: [n] tf.string to [n, width] float32, as the encoder; a third faster for MiniLM.

    An encoder with tables, or with more than MOST_BYTES of weights, is not frozen.

    Args:
        encoder: what to freeze.

    Attributes:
        width: of the vectors.
    """

    def __init__(self, encoder: HubEncoder):
        super().__init__(name="title_encoder")
        self.width = encoder.width
        traced = tf.function(encoder.__call__).get_concrete_function(tf.TensorSpec([None], tf.string))
        resources = {id(taken) for taken, _ in traced.graph.captures if taken.dtype == tf.resource}
        size = sum(variable.shape.num_elements() * variable.dtype.size for variable in traced.variables)
        can_be = resources <= {id(variable.handle) for variable in traced.variables} and size <= MOST_BYTES
        self._encoder = None if can_be else encoder
        self._encode = convert_variables_to_constants_v2(traced) if can_be else encoder

    def __call__(self, titles: tf.Tensor) -> tf.Tensor:
        vectors = self._encode(titles)
        return vectors[0] if isinstance(vectors, list | tuple) else vectors
