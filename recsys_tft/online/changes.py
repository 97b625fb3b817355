"""What events change in the counts of videos."""

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import examples, recent, video_counts
from recsys_tft.labelling.counters import CARRIED_SCHEMA, INCREMENT_SCHEMA, NUMBER
from recsys_tft.tables.entities import VideoLookup

_NO_CUTS = (None, None)


def between(earlier: pa.Table, later: pa.Table, videos: VideoLookup, settings: Settings, counted: bool) -> pa.Table:
    """The changes by which events differ from earlier ones, of counters.CARRIED_SCHEMA; `number` is -1 of one less.

    Args:
        earlier: whole exposures, sorted as by `exposures.sort_events`.
        later: the same and more of them.
        videos: the lookup of all videos.
        settings: of the run.
        counted: whether COUNTERS are counted.
    """
    parts = [_of(events, videos, settings, counted) for events in (later, earlier)]
    numbers = np.repeat([1, -1], list(map(len, parts)))
    found = pl.from_arrow(pa.concat_tables(parts)).with_columns(pl.Series(NUMBER, numbers), training=False)
    sums = found.group_by(INCREMENT_SCHEMA.names).agg(pl.sum(NUMBER)).filter(pl.col(NUMBER) != 0)
    return sums.sort(INCREMENT_SCHEMA.names).select(CARRIED_SCHEMA.names).to_arrow().cast(CARRIED_SCHEMA)


def _of(events: pa.Table, videos: VideoLookup, settings: Settings, counted: bool) -> pa.Table:
    if not (len(events) and video_counts.are_counted(settings, counted)):
        return INCREMENT_SCHEMA.empty_table()
    became = examples.outcomes_of(events, videos, _NO_CUTS, settings)
    windows = np.zeros(len(events), np.int8)
    found = video_counts.increments(events, became, windows, None, settings, counted)
    return recent.changes(found, settings.recent) if settings.recent.enabled else found
