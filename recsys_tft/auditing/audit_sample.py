"""The raw rows that a leak audit reruns the job on: whole users with all that they did, and what that needs."""

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft import ids
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import FeatureTable
from recsys_tft.storage.hashing import keyed_hash
from recsys_tft.tables import raw_tables
from recsys_tft.tables.raw_tables import RawTable

# By name, as `raw_tables.read` types them, without the columns that no file has; ids are as they were given.
Tables = dict[str, pl.DataFrame]


def draw(tables: Mapping[str, RawTable], users: int, seed: int) -> Tables:
    """The rows of a number of users that have interactions, with all of these, their videos and those' channels.

    Users are the first by a keyed hash of their ids, so that interactions are read once, and the same users are drawn
    from any order of the rows.

    Args:
        tables: the raw tables by name.
        users: how many.
        seed: of the hash.

    Raises:
        InputError: if no interaction is of a user in the users table.
    """
    everyone = _rows(tables["users"])
    interactions = _of_first_users(tables["interactions"], everyone["user_id"].unique(), users, seed)
    if not len(interactions):
        raise InputError("No usable interaction is of a user in the users table, so there is nothing to audit.")
    videos = _rows(tables["videos"], lambda rows: _is_in(rows, "video_id", interactions))
    channels = _rows(tables["channels"])
    return {
        "users": everyone.filter(_is_in(everyone, "user_id", interactions)),
        "videos": videos,
        "channels": channels.filter(_is_in(channels, "channel_id", videos)) if "channel_id" in videos else channels,
        "interactions": interactions,
    }


def _is_in(rows: pl.DataFrame, key: str, others: pl.DataFrame) -> pl.Series:
    return rows[key].is_in(others[key].unique().implode())


def _rows(table: RawTable, chosen: Callable[[pl.DataFrame], pl.Series] | None = None) -> pl.DataFrame:
    """The usable rows of a table in their order; of each source the `chosen` ones."""
    keep = [name for name in table.columns if name not in table.absent]
    parts = [pl.DataFrame(ids.shown(raw_tables.empty(table.known, keep)).select(keep))]
    for source in table.sources:
        rows = pl.DataFrame(ids.shown(raw_tables.read(table, source, keep)[0]).select(keep))
        parts.append(rows if chosen is None else rows.filter(chosen(rows)))
    return pl.concat(parts)


def _of_first_users(table: RawTable, known: pl.Series, users: int, seed: int) -> pl.DataFrame:
    """The interactions of the first `users` of the known ones that have any, by a keyed hash.

    After each source only the first so far are kept: whoever is among the first in the end always was.
    """
    first = known.clear()

    def chosen(rows: pl.DataFrame) -> pl.Series:
        nonlocal first
        seen = pl.concat([first, rows["user_id"]]).unique()
        seen = seen.filter(seen.is_in(known.implode())).sort()
        first = seen.gather(np.argsort(keyed_hash(seed, ids.codes_of(_arrow(seen)).to_numpy()), kind="stable")[:users])
        return rows["user_id"].is_in(first.implode())

    rows = _rows(table, chosen)
    return rows.filter(rows["user_id"].is_in(first.implode()))


def _arrow(values: pl.Series) -> pa.Array:
    return values.to_arrow(compat_level=pl.CompatLevel.oldest())


def write(tables: Tables, folder: str, features: FeatureTable = DEFAULT) -> None:
    """Writes the tables as a run reads them."""
    for name, rows in tables.items():
        types = {column: features.columns_of(name)[column].type for column in rows.columns}
        arrow = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        arrays = [_plain(arrow[column], kind).cast(kind) for column, kind in types.items()]
        pq.write_table(pa.table(arrays, list(types)), f"{folder}/{name}.parquet")


def _plain(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Values that cast to a type: lists and strings with short offsets."""
    if not pa.types.is_list(kind):
        return values
    value = pa.binary() if pa.types.is_string(kind.value_type) else kind.value_type
    return values.cast(pa.list_(value))
