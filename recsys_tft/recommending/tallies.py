"""What became of a user's exposures to videos of the same groups as candidates, looked up in the user's row."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import INT64, TIMESTAMP, Tally
from recsys_tft.recommending.catalogue import Candidates
from recsys_tft.statistics import EMPTY_IDS

# Before the name of a column of videos: the values of it that the user has seen, a list; and with `/NAME` behind that
# for each of these what the raw column NAME holds, of TYPES.
OF_GROUP = "of_group/"
TYPES = {Tally.SHOWN: INT64, Tally.POSITIVE: INT64, Tally.LAST: TIMESTAMP}


def of_candidates(known: Mapping[str, pa.Array], videos: Candidates) -> dict[str, pa.Array]:
    """[n] int64 of each raw column that tells of the user and the groups of a video; null where the user saw none.

    Of several groups it is the sum of the counts, or the latest time.

    Args:
        known: [1] columns of the user's row.
        videos: [n] of them.
    """
    found: dict[str, pa.Array] = {}
    places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, lists in known.items():
        if not name.startswith(OF_GROUP) or "/" not in name.removeprefix(OF_GROUP):
            continue
        group, column = name.removeprefix(OF_GROUP).split("/")
        if group not in places:
            places[group] = _places(videos, group, known[f"{OF_GROUP}{group}"].flatten())
        owners, own = places[group]
        values = lists.flatten()
        of_videos = np.full(len(videos), EMPTY_IDS)
        if pa.types.is_timestamp(values.type):
            np.maximum.at(of_videos, owners, values.cast(pa.int64()).to_numpy()[own])
        else:
            of_videos[owners] = 0
            np.add.at(of_videos, owners, values.to_numpy()[own])
        found[column] = pa.array(of_videos, mask=of_videos == EMPTY_IDS)
    return found


def _places(videos: Candidates, group: str, seen: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Which videos are in groups that the user has seen, and where these are among them, int64 both."""
    groups = videos.catalogue.groups_of(group)
    owners, codes = groups.at(videos.rows)
    own = pc.index_in(groups.values.take(pa.array(codes)), seen, skip_nulls=True)
    known = own.is_valid().to_numpy(zero_copy_only=False)
    return owners[known], own.drop_null().to_numpy()
