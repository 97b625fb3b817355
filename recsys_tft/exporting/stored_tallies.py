"""Outcomes of users' exposures by group, as lists in `serving/store/N/users.arrow`: see recommending/tallies.py."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids
from recsys_tft.columns import Tally
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.recommending.tallies import OF_GROUP, TYPES

_LIST = {Tally.SHOWN: "shown", Tally.POSITIVE: "positive", Tally.LAST: "last"}


def group_tallies(
    rows: RawRows, became: pa.Table, user_ids: np.ndarray, moment: int, group: str, names: Mapping[Tally, str]
) -> dict[str, pa.Array]:
    """Lists for [n] users at a moment: the values of a group, and each tally of these.

    Args:
        rows: the raw tables.
        became: the outcomes of all exposures.
        user_ids: [n] int64, increasing.
        moment: microseconds since 1970.
        group: the column of videos.
        names: of the columns that hold the tallies.
    """
    user, video, time, since, until = (column.to_numpy() for column in became.columns[:5])
    rows_in_groups, codes = rows.lookup.groups(group).at(rows.lookup.position(video, time))
    exposures = pl.DataFrame(
        {
            "user": user[rows_in_groups],
            "group": codes,
            "positive": ((since < moment) & (moment <= until)).astype(np.int64)[rows_in_groups],
            "last": time[rows_in_groups],
            "shown": np.ones(len(rows_in_groups), np.int64),
        }
    ).filter(pl.col("last") < moment)
    tallied = exposures.group_by("user", "group").agg(pl.sum("shown", "positive"), pl.max("last")).sort("user", "group")
    owners = tallied["user"].to_numpy()
    ends = pa.array(np.append(np.searchsorted(owners, user_ids), len(owners)), pa.int32())
    values = _values(rows, group).take(tallied["group"].to_arrow())
    lists = {f"{OF_GROUP}{group}": values}
    lists |= {
        f"{OF_GROUP}{group}/{name}": tallied[_LIST[tally]].to_arrow().cast(TYPES[tally])
        for tally, name in names.items()
    }
    return {name: pa.ListArray.from_arrays(ends, column_values) for name, column_values in lists.items()}


def _values(rows: RawRows, group: str) -> pa.Array:
    """The values of a group by their codes in the lookup; ids are the original ones."""
    values = rows.lookup.groups(group).values
    given_name = ids.GIVEN + group
    if given_name not in rows.videos.column_names:
        return values
    return rows.videos[given_name].combine_chunks().take(pc.index_in(values, rows.videos[group].combine_chunks()))
