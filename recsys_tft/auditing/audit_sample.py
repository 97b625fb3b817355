"""Raw rows of a leak audit: whole users with all of their events, and the videos and channels of these."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft import ids
from recsys_tft.columns import UPDATED
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import FeatureTable
from recsys_tft.storage.hashing import keyed_hash
from recsys_tft.tables import raw_tables
from recsys_tft.tables.raw_tables import RawTable

# By name, typed as by `raw_tables.read`, without columns that no file has; ids are the original ones.
Tables = dict[str, pl.DataFrame]


def draw(tables: Mapping[str, Sequence[RawTable]], users: int, seed: int) -> Tables:
    """Sample users that have interactions: their rows and interactions, and the videos and channels of these.

    Users are the first by a keyed hash of their ids, so that one pass over the interactions is enough, and the order
    of the rows does not matter.

    Args:
        tables: the raw tables by name, the last day first.
        users: how many.
        seed: of the hash.

    Raises:
        InputError: if no interaction is of a user in the users table.
    """
    everyone = _latest(_rows(tables["users"]), "user_id")
    interactions = _sample_interactions(tables["interactions"], everyone["user_id"].unique(), users, seed)
    if not len(interactions):
        raise InputError("No usable interaction belongs to a user of the users table, so there is nothing to audit.")
    videos = _latest(_rows(tables["videos"], lambda rows: _is_in(rows, "video_id", interactions)), "video_id")
    channels = _latest(_rows(tables["channels"]), "channel_id")
    return {
        "users": everyone.filter(_is_in(everyone, "user_id", interactions)),
        "videos": videos,
        "channels": channels.filter(_is_in(channels, "channel_id", videos)) if "channel_id" in videos else channels,
        "interactions": interactions,
    }


def _is_in(rows: pl.DataFrame, key: str, others: pl.DataFrame) -> pl.Series:
    return rows[key].is_in(others[key].unique().implode())


def _rows(tables: Sequence[RawTable], chosen: Callable[[pl.DataFrame], pl.Series] | None = None) -> pl.DataFrame:
    """The usable rows of a table over all days, filtered by `chosen`, with the columns of the first day that exist.

    Of a table without files all columns are kept.
    """
    first = tables[-1]
    keep = [name for name in first.columns if name not in first.absent or not first.fingerprint]
    parts = [pl.DataFrame(ids.shown(raw_tables.empty(first.known, keep)).select(keep))]
    for table in tables:
        for source in table.sources:
            rows = pl.DataFrame(ids.shown(raw_tables.read(table, source, keep)[0]).select(keep))
            parts.append(rows if chosen is None else rows.filter(chosen(rows)))
    return pl.concat(parts)


def _latest(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """The first row of each key, or of each version of a key."""
    keys = [name for name in (key, UPDATED) if name in rows.columns]
    return rows.unique(keys, keep="first", maintain_order=True)


def _sample_interactions(tables: Sequence[RawTable], user_ids: pl.Series, users: int, seed: int) -> pl.DataFrame:
    """The interactions of the first `users` of these ids, by a keyed hash, that have any.

    One pass: users that are among the first in the end were so after every source.
    """
    first = user_ids.clear()

    def chosen(rows: pl.DataFrame) -> pl.Series:
        nonlocal first
        seen = pl.concat([first, rows["user_id"]]).unique()
        seen = seen.filter(seen.is_in(user_ids.implode())).sort()
        first = seen.gather(np.argsort(keyed_hash(seed, ids.codes_of(_arrow(seen)).to_numpy()), kind="stable")[:users])
        return rows["user_id"].is_in(first.implode())

    rows = _rows(tables, chosen)
    return rows.filter(rows["user_id"].is_in(first.implode()))


def _arrow(values: pl.Series) -> pa.Array:
    return values.to_arrow(compat_level=pl.CompatLevel.oldest())


def write(tables: Tables, folder: str, features: FeatureTable = DEFAULT) -> None:
    """Write the tables as a run reads them."""
    for name, rows in tables.items():
        types = {column: features.columns_of(name)[column].type for column in rows.columns}
        arrow = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        arrays = [_cast(arrow[column], kind).cast(kind) for column, kind in types.items()]
        pq.write_table(pa.table(arrays, list(types)), f"{folder}/{name}.parquet")


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Values that cast to a type: lists and strings with short offsets."""
    if not pa.types.is_list(kind):
        return values
    value = pa.binary() if pa.types.is_string(kind.value_type) else kind.value_type
    return values.cast(pa.list_(value))
