"""The title of a video as a sentence embedding."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from recsys_tft.ops import FittedGraph, Fitting, Op
from recsys_tft.titles import title_encoder

if TYPE_CHECKING:
    import tensorflow as tf

    from recsys_tft.configuration.settings import Settings
    from recsys_tft.titles.frozen_encoder import FrozenEncoder
    from recsys_tft.titles.hub_encoder import HubEncoder


@dataclasses.dataclass(frozen=True)
class TitleEmbedding(Op):
    """Sentence embedding of a title, by the encoder that `title_encoder` of the settings names.

    The encoder is part of the graph; one that has been loaded already may stand under the feature's name in
    `Fitting.fitted`. The batch job encodes each distinct title once and joins the vectors; see
    `beam_pipelines.titles`.

    Columns:
        title: [batch] string.

    Returns:
        [batch, width] float32, width being the encoder's; the zero vector where the title is missing or empty.
    """

    missing: ClassVar[str] = "the zero vector"
    is_large: ClassVar[bool] = True

    def is_active(self, settings: "Settings") -> bool:
        return settings.title_encoder != "none"

    def shape(self, settings: "Settings") -> tuple[int, ...]:
        return (title_encoder.width(settings.title_encoder, settings.title_precision),)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        encoder = fitting.fitted[name] if name in fitting.fitted else self._load(fitting.settings)
        (titles,) = columns
        shape = tf.stack([titles.dense_shape[0], tf.constant(encoder.width, tf.int64)])
        vectors = tf.scatter_nd(titles.indices[:, :1], encoder(titles.values), shape)
        return tf.ensure_shape(vectors, [None, encoder.width])

    def served(self, name: str, graph: FittedGraph) -> "FrozenEncoder":
        """The encoder, as constants of the served graph."""
        from recsys_tft.titles.frozen_encoder import FrozenEncoder

        return FrozenEncoder(title_encoder.load(graph.settings.title_encoder, graph.settings.title_precision))

    @staticmethod
    def _load(settings: "Settings") -> "HubEncoder":
        import tensorflow as tf
        import tensorflow_transform as tft

        load = functools.partial(title_encoder.load, settings.title_encoder, settings.title_precision)
        # Outside of a function there is no graph that would have to keep the weights.
        return tft.make_and_track_object(load, name="title_encoder") if tf.inside_function() else load()
