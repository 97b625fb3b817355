"""The rows of users and videos that take part in fitting: those with an exposure in the training split, each once.

Of one with versions that is the one which a training exposure took last, so that no number is fitted on what is later,
and no key counts more for having changed. In vocabularies, a value that it had before counts once for each key, too.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft import ids, time_lookups
from recsys_tft.columns import HISTORY
from recsys_tft.examples.negatives import Catalogue
from recsys_tft.features import Entity, Feature, FeatureTable
from recsys_tft.point_in_time.user_context import COUNTED_VIDEO
from recsys_tft.tables import versions


def of_users(users: pa.Table, fitted: np.ndarray, training: pa.Table, table: FeatureTable) -> Iterator[pa.Table]:
    """Those of the users of a partition.

    Args:
        users: by increasing `user_id`, or versions of them.
        fitted: [n] int64 ids of those with an exposure in the training split.
        training: exposures in the training split.
        table: which columns have vocabularies.
    """
    if not time_lookups.is_versioned(users):
        yield users.filter(pa.array(np.isin(users["user_id"].to_numpy(), fitted)))
        return
    training = training.filter(pa.array(np.isin(training["user_id"].to_numpy(), fitted)))
    user, time = (training[name].to_numpy() for name in ("user_id", "interaction_time"))
    last = time_lookups.ends(user)  # exposures are sorted by user and time
    yield from _fitted(users, "user_id", user[last], time[last], table.select(entity=Entity.USER))


def of_videos(videos: pa.Table, catalogue: Catalogue, until: int, table: FeatureTable) -> Iterator[pa.Table]:
    """Those of the videos of a partition; `until` is the time of the last exposure of the training split."""
    inside = videos.filter(pa.array(catalogue.position(videos["video_id"].to_numpy()) >= 0))
    if not time_lookups.is_versioned(videos):
        yield inside
        return
    keys = time_lookups.distinct(inside["video_id"].to_numpy())
    yield from _fitted(inside, "video_id", keys, np.full(len(keys), until), table.select(entity=Entity.VIDEO))


def of_pairs(exposures: pa.Table) -> pa.Table:
    """The histories of exposures that are counted in what videos have in common."""
    return exposures.select([HISTORY[0], COUNTED_VIDEO]).filter(exposures[COUNTED_VIDEO].is_valid())


def _fitted(
    table: pa.Table, key: str, keys: np.ndarray, moments: np.ndarray, features: tuple[Feature, ...]
) -> Iterator[pa.Table]:
    """The versions of [k] keys as of [k] moments; then for each column with a vocabulary what they had before."""
    owner, rows = time_lookups.Timeline(table, key).between(keys, np.full(len(keys), versions.ALWAYS + 1), moments)
    last = time_lookups.ends(owner)
    yield table.take(pa.array(rows[last]))
    is_earlier = np.ones(len(rows), bool)
    is_earlier[last] = False
    of_rows = pl.DataFrame({"key": owner, "row": rows, "is_earlier": is_earlier})
    sources = (source for f in features if f.vocabulary for source in f.sources)
    for name in dict.fromkeys(source for source in sources if source != key and source in table.column_names):
        values = of_rows.with_columns(value=pl.Series(values=table[name].take(pa.array(rows))))
        other = values.unique(["key", "value"], keep="last", maintain_order=True).filter("is_earlier")
        yield table.select(ids.beside([name], table)).take(pa.array(other["row"].to_numpy()))
