"""Outcomes of a user's exposures to videos of the same groups as candidates, looked up in the user's row."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import INT64, TIMESTAMP, Tally
from recsys_tft.recommending.catalogue import Candidates
from recsys_tft.statistics import EMPTY_IDS

# Prefix of a column of videos: a list of its values that the user has seen; with the suffix `/NAME` the list of values
# of the raw column NAME for these, of TYPES.
OF_GROUP = "of_group/"
TYPES = {Tally.SHOWN: INT64, Tally.POSITIVE: INT64, Tally.LAST: TIMESTAMP}


def pair_tallies(known: Mapping[str, pa.Array], videos: Candidates) -> dict[str, pa.Array]:
    """[n] int64 by raw column of user and group: counts summed over the groups of a video, or the latest time.

    Null for videos without a group that the user has seen.

    Args:
        known: [1] columns of the user's row.
        videos: [n] candidates.
    """
    columns: dict[str, pa.Array] = {}
    places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, lists in known.items():
        if not name.startswith(OF_GROUP) or "/" not in name.removeprefix(OF_GROUP):
            continue
        group, column = name.removeprefix(OF_GROUP).split("/")
        if group not in places:
            places[group] = _places(videos, group, known[f"{OF_GROUP}{group}"].flatten())
        owners, positions = places[group]
        values = lists.flatten()
        sums = np.full(len(videos), EMPTY_IDS)
        if pa.types.is_timestamp(values.type):
            np.maximum.at(sums, owners, values.cast(pa.int64()).to_numpy()[positions])
        else:
            sums[owners] = 0
            np.add.at(sums, owners, values.to_numpy()[positions])
        columns[column] = pa.array(sums, mask=sums == EMPTY_IDS)
    return columns


def _places(videos: Candidates, group: str, seen: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The videos in groups that the user has seen, and the positions of these groups, both int64."""
    groups = videos.catalogue.groups_of(group)
    owners, codes = groups.at(videos.rows)
    positions = pc.index_in(groups.values.take(pa.array(codes)), seen, skip_nulls=True)
    is_seen = positions.is_valid().to_numpy(zero_copy_only=False)
    return owners[is_seen], positions.drop_null().to_numpy()
