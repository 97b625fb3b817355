"""The events of a partition of users, gathered a chunk at a time.

Sorting takes several times the memory of its input. So a partition with a very active user is sorted chunk by chunk,
in the order of the whole; only one chunk, and two numbers per event, are in memory.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples.examples import check_histories, first_rows_of, unknown_events
from recsys_tft.labelling.exposures import CHUNK, event_columns, sort_events
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.time_lookups import begins

_UNKNOWN = np.iinfo(np.int64).max  # the place of events that are in no chunk
_SMALL = 1 << 14  # events below which tables are merged


class Gathered:
    """The usable events of a partition.

    Args:
        tables: events, with `exposures.event_columns`; at least one table.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        settings: of the run.
        size: about how many events make a chunk.

    Attributes:
        unknown: the events that cannot be used, with the `reason` why.
    """

    def __init__(
        self, tables: Sequence[Packed], users: pa.Table, videos: VideoLookup, settings: Settings, size: int = CHUNK
    ):
        self._tables, self._settings = _merge_small(tables), settings
        check_histories(users, videos)
        unknown, places = [], []  # a place is a number for each pair of a user and a video, in their order
        for events in map(_loaded, self._tables):
            user, video = first_rows_of(events, users, videos)
            unknown.append(unknown_events(events, user, video))
            places.append(np.where((user >= 0) & (video >= 0), user << 32 | video, _UNKNOWN))
        self.unknown = pa.concat_tables(unknown)
        starts = _starts(np.concatenate(places), size)
        self._chunk = [np.searchsorted(starts, numbers, side="right").astype(np.int32) for numbers in places]
        self._count = len(starts)

    def chunks(self) -> Iterator[pa.Table]:
        """Sorted as by `exposures.sort_events`, one after the other; all events of a user on a video are in one."""
        for number in range(self._count):
            yield sort_events(pa.concat_tables(self._rows_of(number)), self._settings)

    def _rows_of(self, number: int) -> Iterator[pa.Table]:
        names = event_columns(self._settings)
        for table, chunk in zip(self._tables, self._chunk, strict=True):
            rows = np.flatnonzero(chunk == number)
            events = _loaded(table).select(names)
            yield events.take(pa.array(rows)) if len(rows) < len(events) else events


def _merge_small(tables: Sequence[Packed]) -> list[Packed | pa.Table]:
    """The tables, with small neighbours merged, as each table has overhead."""
    merged: list[Packed | pa.Table] = []
    small: list[pa.Table] = []
    for table in tables:
        events = arrow_ipc.loads(table)
        small.append(events)
        if len(events) >= _SMALL:
            merged.extend([pa.concat_tables(small[:-1]).combine_chunks()] if len(small) > 1 else [])
            merged.append(table)
            small = []
        elif sum(map(len, small)) >= _SMALL:
            merged.append(pa.concat_tables(small).combine_chunks())
            small = []
    return merged + ([pa.concat_tables(small).combine_chunks()] if small else [])


def _loaded(table: Packed | pa.Table) -> pa.Table:
    return table if isinstance(table, pa.Table) else arrow_ipc.loads(table)


def _starts(places: np.ndarray, size: int) -> np.ndarray:
    """The places at which chunks of about `size` begin, then _UNKNOWN; sorts [n] places in place."""
    places.sort()
    used = places[: np.searchsorted(places, _UNKNOWN)]
    first = begins(used)
    return np.append(used[first[np.flatnonzero(np.diff(first // size)) + 1]], _UNKNOWN)
