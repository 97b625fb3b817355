"""Vocabularies and the layout of their tokens.

Every vocabulary has the same layout:

    token 0                 missing, or padding of a list
    tokens 1 .. n_oov       out of vocabulary, by hash
    tokens n_oov + 1 ..     the vocabulary, most frequent first

The block in front never moves, so that masks work and an unseen value is not a missing one.
"""

import dataclasses
import posixpath
from typing import TYPE_CHECKING

from recsys_tft import row_settings
from recsys_tft.frequencies import EMPTY_VOCABULARY, Frequencies
from recsys_tft.statistics import EMPTY_IDS

if TYPE_CHECKING:
    import tensorflow as tf

    from recsys_tft.configuration.job_settings import VocabularySettings
    from recsys_tft.configuration.settings import Settings
    from recsys_tft.frequencies import FittedFile

MISSING_TOKEN = 0
_OPTIONS = ("n_oov", "min_count", "max_size")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A vocabulary, declared once and named by the features that use it.

    Options that are None default to `vocabularies.default` and `embeddings.default_dim` of the settings; the settings
    for the vocabulary's name override all.

    Attributes:
        name: its name in the transform graph, in `artifacts/vocabularies/` and in the settings.
        integers: whether its values are int64 ids rather than strings.
        ids: whether its strings are ids; set by `FeatureTable.with_ids` if the user's tables have text ids.
        dim: width of its embedding table.
        n_oov: hash buckets for out-of-vocabulary values.
        min_count: values that occur less often are dropped.
        max_size: its largest number of values.

    Raises:
        InputError: at construction, if an option is out of its limits.
    """

    name: str
    integers: bool = False
    dim: int | None = None
    n_oov: int | None = None
    min_count: int | None = None
    max_size: int | None = None
    ids: bool = False

    def __post_init__(self) -> None:
        row_settings.check_options(f"Vocabulary('{self.name}')", dim=self.dim, **self.own_options)

    @property
    def own_options(self) -> dict[str, int]:
        """The options of VocabularySettings that are set on the row."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        return {name: value for name, value in options.items() if value is not None}

    def options(self, settings: "Settings") -> "VocabularySettings":
        """Its limits and hash buckets: from the settings by its name, or its own, or those of `default`."""
        if self.name in settings.vocabularies:
            return settings.vocabularies[self.name]
        default = settings.default_vocabulary
        limits = {name: getattr(default, name) for name in _OPTIONS} | self.own_options
        return type(default)(**limits)  # and no method of pydantic's, which AutoGraph cannot follow

    def statistic(self, options: "VocabularySettings") -> Frequencies:
        """The statistic to fit."""
        return Frequencies(options.min_count, options.max_size, self.integers, self.ids)

    def table(self, saved_model: str) -> "tf.lookup.StaticHashTable":
        """The lookup table of a saved graph, from values to numbers from 0.

        Args:
            saved_model: the folder of the `transform_fn`.
        """
        import tensorflow as tf

        from recsys_tft import lookup_files

        read = lookup_files.integers_in if self.integers else lookup_files.strings_in
        return tf.lookup.StaticHashTable(read(file_of(self.name, saved_model)), -1)

    def tokens(self, values: "tf.Tensor", fitted: "FittedFile | tf.lookup.StaticHashTable", n_oov: int) -> "tf.Tensor":
        """The token of each of `values`, [n] int64 or string, as [n] int64 >= 1.

        Args:
            values: to look up.
            fitted: looks up the numbers of the vocabulary's values, from 0; -1 for others.
            n_oov: hash buckets for other values.
        """
        import tensorflow as tf

        index = fitted.lookup(values)
        text = tf.strings.as_string(values) if self.integers else values
        hashed = tf.strings.to_hash_bucket_fast(text, n_oov)
        return tf.where(index >= 0, index + (1 + n_oov), hashed + 1)


def file_of(name: str, saved_model: str) -> str:
    """The file of a fitted vocabulary of a saved graph; TFT's search would read brackets in a path as a pattern.

    Args:
        name: of the vocabulary.
        saved_model: the folder of the `transform_fn`.
    """
    import tensorflow as tf

    path = posixpath.join(saved_model, tf.saved_model.ASSETS_DIRECTORY, name)
    compressed = f"{path}.tfrecord.gz"  # first, as some stores report prefixes of names as existing
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
