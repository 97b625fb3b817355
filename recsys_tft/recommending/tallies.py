"""What became of a user's exposures to videos of the same groups as candidates, looked up in the user's row."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.recommending.catalogue import Candidates

# Before the name of a column of videos: the values of it that the user has seen, a list; and with `/NAME` behind that
# for each of these what the raw column NAME holds.
OF_GROUP = "of_group/"


def of_candidates(known: Mapping[str, pa.Array], videos: Candidates) -> dict[str, pa.Array]:
    """[n] int64 of each raw column that tells of the user and the group of a video.

    A group that the user has not seen was shown 0 times, of which the last time is missing.

    Args:
        known: [1] columns of the user's row.
        videos: [n] of them.
    """
    found, places = {}, {}
    for name, lists in known.items():
        if not name.startswith(OF_GROUP) or "/" not in name.removeprefix(OF_GROUP):
            continue
        group, column = name.removeprefix(OF_GROUP).split("/")
        if group not in places:
            values = videos.arrow(group)
            places[group] = pc.index_in(values, known[f"{OF_GROUP}{group}"].flatten(), skip_nulls=True)
        found[column] = lists.flatten().take(places[group])
    return found
