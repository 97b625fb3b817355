"""Vocabularies and the layout of their tokens.

Every vocabulary has the same layout:

    token 0                 missing, or padding of a list
    tokens 1 .. n_oov       out of vocabulary, by hash
    tokens n_oov + 1 ..     the vocabulary, most frequent first

The block in front never moves, so that masks work and an unseen value is not a missing one.
"""

import dataclasses
from typing import TYPE_CHECKING

from recsys_tft.statistics import EMPTY_IDS, EMPTY_VOCABULARY, Frequencies

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_transform as tft

    from recsys_tft.configuration.job_settings import VocabularySettings

MISSING = 0


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A vocabulary, declared once and named by the features that look values up in it.

    Attributes:
        name: its name in the transform graph, in `artifacts/vocabularies/` and in the settings.
        integers: whether its values are int64 ids rather than strings.
    """

    name: str
    integers: bool = False

    def statistic(self, settings: "VocabularySettings") -> Frequencies:
        """What is to be fitted."""
        return Frequencies(settings.min_count, settings.max_size, self.integers)

    def tokens(self, values: "tf.Tensor", fitted: "tf.Tensor | tf.lookup.StaticHashTable", n_oov: int) -> "tf.Tensor":
        """The token of each of `values`, [n] int64 or string, as [n] int64 >= 1.

        Args:
            values: what to look up.
            fitted: the vocabulary's file, or where it has been read already, a table of its values' numbers from 0.
            n_oov: hash buckets for what is not in it.
        """
        import tensorflow as tf

        index = fitted.lookup(values) if hasattr(fitted, "lookup") else self._in_file(values, fitted)
        text = tf.strings.as_string(values) if self.integers else values
        hashed = tf.strings.to_hash_bucket_fast(text, n_oov)
        return tf.where(index >= 0, index + 1 + n_oov, hashed + 1)

    def _in_file(self, values: "tf.Tensor", file: "tf.Tensor") -> "tf.Tensor":
        import tensorflow_transform as tft

        file_format = "text" if self.integers else "tfrecord_gzip"
        return tft.apply_vocabulary(values, file, default_value=-1, file_format=file_format)


def values_of(name: str, graph: "tft.TFTransformOutput") -> list[bytes]:
    """The values of a fitted vocabulary in order: value i has the token 1 + n_oov + i; ids are in decimal."""
    import tensorflow as tf

    path = graph.vocabulary_file_by_name(name)
    if path.endswith(".gz"):
        batches = tf.data.TFRecordDataset(path, "GZIP").batch(65536).as_numpy_iterator()
        values = [value for batch in batches for value in batch.tolist()]
    else:
        values = tf.io.read_file(path).numpy().splitlines()
    return [] if values in ([EMPTY_VOCABULARY], [b"%d" % EMPTY_IDS]) else values
