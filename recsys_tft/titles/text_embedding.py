"""A text, such as the title of a video, as a sentence embedding."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from recsys_tft.features import Entity, Feature
from recsys_tft.ops import FittedGraph, Fitting, Op
from recsys_tft.titles import title_encoder
from recsys_tft.titles.encoder_spec import NONE, Spec, parse

if TYPE_CHECKING:
    import tensorflow as tf

    from recsys_tft.configuration.settings import Settings
    from recsys_tft.titles.frozen_encoder import FrozenEncoder
    from recsys_tft.titles.hub_encoder import HubEncoder


@dataclasses.dataclass(frozen=True)
class TextEmbedding(Op):
    """Sentence embedding of a text.

    The encoder is part of the graph; a loaded one may be under the feature's name in `Fitting.fitted`. The batch job
    encodes each distinct text once and joins the vectors; see `beam_pipelines.texts`.

    Attributes:
        encoder: a Spec, like `title_encoder` of the settings, which is used if it is None. The setting `text_encoders`
            overrides both by the feature's name.

    Columns:
        text: [batch] string.

    Returns:
        [batch, width] float32, with the encoder's width; the zero vector if the text is missing or empty.

    Raises:
        InputError: at construction, if the encoder has an unknown form.

    Examples:
        Feature("description_embedding", "description", TextEmbedding("minilm"), CANDIDATE)
    """

    encoder: Spec | None = None
    missing: ClassVar[str] = "the zero vector"
    is_large: ClassVar[bool] = True
    embeds_text: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.encoder is not None:
            object.__setattr__(self, "encoder", parse(self.encoder, "the encoder of TextEmbedding"))

    def spec(self, settings: "Settings") -> Spec:
        """The encoder under these settings."""
        return settings.title_encoder if self.encoder is None else self.encoder

    def is_active(self, settings: "Settings") -> bool:
        return self.spec(settings) != NONE

    def shape(self, settings: "Settings") -> tuple[int, ...]:
        return (title_encoder.width(self.spec(settings), settings.title_precision),)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        encoder = fitting.fitted[name] if name in fitting.fitted else self._load(fitting.settings)
        (texts,) = columns
        shape = tf.stack([texts.dense_shape[0], tf.constant(encoder.width, tf.int64)])
        vectors = tf.scatter_nd(texts.indices[:, :1], encoder(texts.values), shape)
        return tf.ensure_shape(vectors, [None, encoder.width])

    def served(self, name: str, graph: FittedGraph) -> "FrozenEncoder":
        """The encoder as constants of the served graph, shared by all features of it."""
        from recsys_tft.titles.frozen_encoder import FrozenEncoder

        spec, precision = self.spec(graph.settings), graph.settings.title_precision
        if spec not in graph.shared:
            graph.shared[spec] = FrozenEncoder(title_encoder.load(spec, precision))
        return graph.shared[spec]

    def _load(self, settings: "Settings") -> "HubEncoder":
        import tensorflow as tf
        import tensorflow_transform as tft

        spec = self.spec(settings)
        load = functools.partial(title_encoder.load, spec, settings.title_precision)
        # Features of one encoder share it. Graphs of earlier runs have the name of the title encoder.
        other = "" if spec == settings.title_encoder else f"_{hashlib.sha256(repr(spec).encode()).hexdigest()[:8]}"
        # Outside of a function no graph has to track the weights.
        return tft.make_and_track_object(load, name=f"title_encoder{other}") if tf.inside_function() else load()


def text_features(settings: "Settings", *entities: Entity) -> tuple[Feature, ...]:
    """The features that embed a text under these settings, optionally of some entities only."""
    return tuple(
        feature
        for feature in settings.table.features
        if feature.op.embeds_text and feature.is_active(settings) and (not entities or feature.entity in entities)
    )


def text_op(feature: Feature) -> TextEmbedding:
    """The op of a text feature."""
    return cast(TextEmbedding, feature.op)


def encoders(settings: "Settings") -> dict[Spec, str]:
    """The distinct encoders of the features, with their names in the settings."""
    names: dict[Spec, str] = {}
    for feature in text_features(settings):
        name = "title_encoder" if text_op(feature).encoder is None else f"text_encoders.{feature.name}"
        names.setdefault(text_op(feature).spec(settings), name)
    return names


def sources(features: Sequence[Feature]) -> list[str]:
    """The distinct text columns of features."""
    return list(dict.fromkeys(source for feature in features for source in feature.sources))
