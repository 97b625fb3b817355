"""Cold embeddings: replaces the vectors of values without training rows by that of an unseen or a missing value.

Such a vector is still random: for values of a column that the data set lacks, videos without a positive, or an age
group without users. Requests with one would get random results, instead of those of an unknown value.
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from recsys_tft.columns import Accuracy
from recsys_tft.features import Feature
from recsys_tft.retrieval.two_tower import TwoTower
from recsys_tft.vocabularies import MISSING_TOKEN


class ColdEmbeddings:
    """Replaces the vectors of values without training rows.

    Args:
        model: with the tables.
        counts: for each categorical feature [values] int64, the training rows with each of its tokens.
    """

    def __init__(self, model: TwoTower, counts: Mapping[str, np.ndarray]):
        shown: dict[str, np.ndarray] = {}
        n_oov: dict[str, int] = {}
        for feature in (f for f in (*model.query_features, *model.candidate_features) if f.is_categorical):
            name, found = str(feature.embedding_table), shown_tokens(feature, counts[feature.name], model)
            shown[name] = shown.get(name, False) | found
            n_oov[name] = _out_of_vocabulary(feature, model)
        self._mends = [
            (
                table,
                tf.constant(_in_rows(~shown[name], table)),
                tf.constant(stand_ins(shown[name], n_oov[name]), tf.int64),
            )
            for name, table in model.tables().items()
            if not shown[name].all()
        ]

    def __call__(self) -> None:
        """Replace the vectors, by the current weights."""
        for table, untrained, like in self._mends:
            vectors = tf.convert_to_tensor(table.embeddings)
            # An empty mean is 0: without any training row, a value adds nothing.
            mean = tf.math.divide_no_nan(tf.reduce_sum(tf.gather(vectors, like), 0), tf.cast(tf.size(like), tf.float32))
            table.embeddings.assign(tf.where(untrained[:, None], mean, vectors))


def _in_rows(untrained: np.ndarray, table: keras.layers.Embedding) -> np.ndarray:
    """Extend the mask to all rows of a table; spare rows stay unchanged."""
    return np.pad(untrained, (0, table.embeddings.shape[0] - len(untrained)))


def shown_tokens(feature: Feature, counts: np.ndarray, model: TwoTower) -> np.ndarray:
    """[values] bool: which vectors training rows read.

    Those are the tokens of rows without the padding of lists; the unseen value with OOV dropout; and the missing one if
    the past is hidden in some rows.
    """
    options, n_oov = model.settings.two_tower, _out_of_vocabulary(feature, model)
    shown = counts > 0
    if n_oov and options.oov_dropout and shown[1 + n_oov :].any():
        shown[1 : 1 + n_oov] = True
    if feature.accuracy is Accuracy.AS_OF and options.history_dropout:
        shown[MISSING_TOKEN] = True
    if feature.op.shape(model.settings) is None:
        shown[MISSING_TOKEN] = False
    return shown


def stand_ins(shown: np.ndarray, n_oov: int) -> Sequence[int]:
    """The tokens whose mean replaces other vectors: unseen ones, or else the missing one, or else all in training."""
    tokens = np.arange(len(shown))
    parts = (tokens[1 : 1 + n_oov], tokens[:1], tokens)
    return next((part[shown[part]] for part in parts if shown[part].any()), ())


def _out_of_vocabulary(feature: Feature, model: TwoTower) -> int:
    return model.settings.vocabulary(feature.vocabulary.name).n_oov if feature.vocabulary else 0
