"""Feature coverage: how often raw values of features are missing or unseen."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Feature


def coverage(raw: pa.Table, engineered: pa.Table, features: Sequence[Feature], settings: Settings) -> Counter[str]:
    """Per feature the number of rows, of missing values, and of rows with an out-of-vocabulary token.

    Args:
        raw: [n] raw rows.
        engineered: their features.
        features: to count.
        settings: of the run.
    """
    counts: Counter[str] = Counter()
    for feature in features:
        counts[f"features/{feature.name}/rows"] = len(raw)
        counts[f"features/{feature.name}/missing"] = _missing(raw, feature)
        if feature.vocabulary:
            n_oov = settings.vocabulary(feature.vocabulary.name).n_oov
            counts[f"features/{feature.name}/oov"] = _out_of_vocabulary(engineered[feature.name], n_oov)
    return counts


def _missing(raw: pa.Table, feature: Feature) -> int:
    """Rows in which no source has a value."""
    missing = [
        pc.equal(pc.fill_null(pc.list_value_length(raw[column.name]), 0), 0)
        if column.is_list
        else raw[column.name].is_null()
        for column in feature.columns
    ]
    every = missing[0]
    for other in missing[1:]:
        every = pc.and_(every, other)
    return pc.sum(every).as_py() or 0


def _out_of_vocabulary(tokens: pa.ChunkedArray, n_oov: int) -> int:
    """Rows with a token in 1 .. n_oov; of a list, with any such token."""
    if not pa.types.is_list(tokens.type):
        return pc.sum(pc.and_(pc.greater_equal(tokens, 1), pc.less_equal(tokens, n_oov))).as_py() or 0
    flat, owners = pc.list_flatten(tokens), pc.list_parent_indices(tokens)
    unseen = pc.and_(pc.greater_equal(flat, 1), pc.less_equal(flat, n_oov))
    return len(owners.filter(unseen).unique())
