"""The events of a partition of users, gathered a chunk at a time.

Sorting takes several times the memory of what is sorted. So a partition in which a user did very much is sorted chunk
by chunk: the chunks follow one another in the order of the whole, and what is in memory is one of them, and two
numbers for each event.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples.examples import check_told, first_rows_of, unknown_events
from recsys_tft.labelling.exposures import CHUNK, event_columns, sort_events
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.time_lookups import begins

_UNKNOWN = np.iinfo(np.int64).max  # the place of what is in no chunk
_SMALL = 1 << 14  # events of a table that is not worth to be worked on by itself


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
        self._tables, self._settings = _together(tables), settings
        check_told(users, videos)
        unknown, places = [], []  # a place is a number for each pair of a user and a video, in their order
        for events in map(_loaded, self._tables):
            user, video = first_rows_of(events, users, videos)
            unknown.append(unknown_events(events, user, video))
            places.append(np.where((user >= 0) & (video >= 0), user << 32 | video, _UNKNOWN))
        self.unknown = pa.concat_tables(unknown)
        starts = _starts(np.concatenate(places), size)
        self._chunk = [np.searchsorted(starts, own, side="right").astype(np.int32) for own in places]
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


def _together(tables: Sequence[Packed]) -> list[Packed | pa.Table]:
    """The tables, of which small ones that follow one another are one, as each table has its price."""
    found: list[Packed | pa.Table] = []
    small: list[pa.Table] = []
    for table in tables:
        events = arrow_ipc.loads(table)
        small.append(events)
        if len(events) >= _SMALL:
            found.extend([pa.concat_tables(small[:-1]).combine_chunks()] if len(small) > 1 else [])
            found.append(table)
            small = []
        elif sum(map(len, small)) >= _SMALL:
            found.append(pa.concat_tables(small).combine_chunks())
            small = []
    return found + ([pa.concat_tables(small).combine_chunks()] if small else [])


def _loaded(table: Packed | pa.Table) -> pa.Table:
    return table if isinstance(table, pa.Table) else arrow_ipc.loads(table)


def _starts(places: np.ndarray, size: int) -> np.ndarray:
    """The places at which the next chunk of about `size` begins, and at last what is in none; sorts [n] places."""
    places.sort()
    known = places[: np.searchsorted(places, _UNKNOWN)]
    first = begins(known)
    return np.append(known[first[np.flatnonzero(np.diff(first // size)) + 1]], _UNKNOWN)
