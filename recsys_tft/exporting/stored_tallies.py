"""Outcomes of users' exposures by group, as lists in `serving/store/N/users.arrow`: see recommending/tallies.py."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids
from recsys_tft.columns import Tally
from recsys_tft.point_in_time import outcomes
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.recommending.tallies import OF_GROUP, TYPES


def of_users(
    rows: RawRows, steps: pa.Table, user_ids: np.ndarray, moment: int, group: str, names: Mapping[Tally, str]
) -> dict[str, pa.Array]:
    """Lists for [n] users at a moment: of the values of a group, and of each tally of these.

    Args:
        rows: the raw tables.
        steps: of outcomes.STEP_SCHEMA, of all exposures.
        user_ids: [n] int64, increasing, of all users.
        moment: microseconds since 1970.
        group: the column of videos.
        names: of the columns that hold the tallies.
    """
    owners = np.searchsorted(user_ids, steps["user_id"].to_numpy())
    found = outcomes.by_group(steps, rows.lookup, group, moment, owners)
    ends = pa.array(np.searchsorted(found["owner"].to_numpy(), np.arange(len(user_ids) + 1)), pa.int32())
    lists = {f"{OF_GROUP}{group}": _given(found["group"].combine_chunks(), rows, group)}
    lists |= {
        f"{OF_GROUP}{group}/{name}": found[tally.name].combine_chunks().cast(TYPES[tally])
        for tally, name in names.items()
    }
    return {name: pa.ListArray.from_arrays(ends, each) for name, each in lists.items()}


def _given(values: pa.Array, rows: RawRows, group: str) -> pa.Array:
    """Values of a group; ids as the tables have them."""
    given = ids.GIVEN + group
    if given not in rows.videos.column_names:
        return values
    return rows.videos[given].combine_chunks().take(pc.index_in(values, rows.videos[group].combine_chunks()))
