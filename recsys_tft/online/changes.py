"""Changes of video counts by events."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import examples
from recsys_tft.point_in_time import recent, video_counts
from recsys_tft.point_in_time.counters import CARRIED_SCHEMA, INCREMENT_SCHEMA, NUMBER
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.versions import ALWAYS
from recsys_tft.time_lookups import begins

_KEYS = ("video_id", "time", "counter")
_NO_CUTS = (None, None)


def between(
    earlier: pa.Table, later: pa.Table, videos: VideoLookup, settings: Settings, counted: bool, since: int = ALWAYS
) -> pa.Table:
    """The changes of counts from earlier to later events, with counters.CARRIED_SCHEMA; `number` is -1 for a decrease.

    Args:
        earlier: events of whole exposures, sorted as by `exposures.sort_events`.
        later: the same and further ones.
        videos: the lookup of all videos.
        settings: of the run.
        counted: whether COUNTERS are counted.
        since: changes before this moment are left out.
    """
    parts = [_of(events, videos, settings, counted, since) for events in (later, earlier)]
    numbers = np.repeat([1, -1], list(map(len, parts)))
    keys = [column.to_numpy() for column in pa.concat_tables(parts).select(_KEYS).columns]
    order = np.lexsort(keys[::-1])
    first = begins(*(key[order] for key in keys))
    sums = np.add.reduceat(numbers[order], first) if len(first) else numbers
    kept = first[sums != 0]
    found = dict(zip(_KEYS, (key[order][kept] for key in keys), strict=True))
    return pa.table({**found, "training": np.zeros(len(kept), bool), NUMBER: sums[sums != 0]}, CARRIED_SCHEMA)


def _of(events: pa.Table, videos: VideoLookup, settings: Settings, counted: bool, since: int) -> pa.Table:
    if not (len(events) and video_counts.are_counted(settings, counted)):
        return INCREMENT_SCHEMA.empty_table()
    became = examples.outcomes_of(events, videos, _NO_CUTS, settings)
    splits = np.zeros(len(events), np.int8)
    found = video_counts.increments(events, became, splits, None, settings, counted)
    found = found.filter(pc.greater_equal(found["time"], since))
    return recent.changes(found, settings.recent) if settings.recent.enabled else found
