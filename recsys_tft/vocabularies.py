"""Vocabularies and the layout of their tokens.

Every vocabulary has the same layout:

    token 0                 missing, or padding of a list
    tokens 1 .. n_oov       out of vocabulary, by hash
    tokens n_oov + 1 ..     the vocabulary, most frequent first

The block in front never moves, so that masks work and an unseen value is not a missing one.
"""

import contextlib
import dataclasses
import posixpath
from typing import TYPE_CHECKING

from recsys_tft.statistics import EMPTY_IDS, EMPTY_VOCABULARY, Frequencies

if TYPE_CHECKING:
    import tensorflow as tf

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

    def tokens(self, values: "tf.Tensor", fitted: "FittedFile | tf.lookup.StaticHashTable", n_oov: int) -> "tf.Tensor":
        """The token of each of `values`, [n] int64 or string, as [n] int64 >= 1.

        Args:
            values: what to look up.
            fitted: gives the numbers of the vocabulary's values, from 0, and -1 of others.
            n_oov: hash buckets for what is not in it.
        """
        import tensorflow as tf

        index = fitted.lookup(values)
        text = tf.strings.as_string(values) if self.integers else values
        hashed = tf.strings.to_hash_bucket_fast(text, n_oov)
        return tf.where(index >= 0, index + 1 + n_oov, hashed + 1)


class FittedFile:
    """The file of a vocabulary in a graph that is being traced; all its readers share one table.

    Args:
        file: where it lies, scalar string, as an analyzer of tf.Transform gives it.
        integers: whether it holds int64 ids, one per line; else strings, one per record of a gzipped TFRecord.
    """

    def __init__(self, file: "tf.Tensor", integers: bool):
        self._file = file
        self._integers = integers
        self._table: tf.lookup.StaticHashTable | None = None

    def lookup(self, values: "tf.Tensor") -> "tf.Tensor":
        """[n] int64, the place of each of [n] values in the file, from 0; -1 of one that it lacks."""
        import tensorflow_transform as tft

        return tft.apply_vocabulary(values, self._file, default_value=-1, lookup_fn=self._look_up)

    def _look_up(self, values: "tf.Tensor", path: "tf.Tensor") -> "tuple[tf.Tensor, tf.Tensor]":
        """What is looked up, and the size of the table; `path` is known once the file has been written."""
        import tensorflow as tf

        known = tf.inside_function() and not tf.is_symbolic_tensor(path)
        with tf.init_scope() if known else contextlib.nullcontext():  # else each call would read the file
            if self._table is None:
                self._table = tf.lookup.StaticHashTable(self._initializer(path), -1)
            size = self._table.size()
        return self._table.lookup(values), size

    def _initializer(self, path: "tf.Tensor") -> "tf.lookup.TableInitializerBase":
        import tensorflow as tf
        from tensorflow_transform import tf_utils

        if not self._integers:
            return tf_utils.make_tfrecord_vocabulary_lookup_initializer(path)
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        return tf.lookup.TextFileInitializer(path, tf.int64, line, tf.int64, number)


def file_of(name: str, saved_model: str) -> str:
    """The file of a fitted vocabulary of a saved graph; TFT's own search takes brackets in a path for a pattern.

    Args:
        name: of the vocabulary.
        saved_model: the folder of the `transform_fn`.
    """
    import tensorflow as tf

    path = posixpath.join(saved_model, tf.saved_model.ASSETS_DIRECTORY, name)
    compressed = f"{path}.tfrecord.gz"  # first, as on some stores a name is there that others begin with
    return compressed if tf.io.gfile.exists(compressed) else path


def values_of(name: str, saved_model: str) -> list[bytes]:
    """The values of a fitted vocabulary in order: value i has the token 1 + n_oov + i; ids are in decimal."""
    import tensorflow as tf

    path = file_of(name, saved_model)
    if path.endswith(".gz"):
        batches = tf.data.TFRecordDataset(path, "GZIP").batch(65536).as_numpy_iterator()
        values = [value for batch in batches for value in batch.tolist()]
    else:
        values = tf.io.read_file(path).numpy().splitlines()
    return [] if values in ([EMPTY_VOCABULARY], [b"%d" % EMPTY_IDS]) else values
