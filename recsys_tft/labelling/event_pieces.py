"""The events of a partition of users, gathered a piece at a time.

Sorting takes several times the memory of what is sorted. So a partition in which a user did very much is sorted piece
by piece: the pieces follow one another in the order of the whole, and what is in memory is one of them, two columns
of ids and a number for each event.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.labelling.examples import unknown_reasons
from recsys_tft.labelling.exposures import EVENT_SCHEMA, PIECE, sort_events
from recsys_tft.labelling.versions import begins
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.tables.entities import VideoLookup

_SMALL = 1 << 14  # events of a table that is not worth to be worked on by itself


class Gathered:
    """The usable events of a partition.

    Args:
        tables: events, of EVENT_SCHEMA and more; at least one table.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        size: about how many events make a piece.

    Attributes:
        unknown: the events that cannot be used, with the `reason` why.
    """

    def __init__(self, tables: Sequence[Packed], users: pa.Table, videos: VideoLookup, size: int = PIECE):
        self._tables = _together(tables)
        reasons, unknown, keys = [], [], []
        for events in map(_loaded, self._tables):
            reason = unknown_reasons(events, users, videos)
            unknown.append(events.append_column("reason", reason).filter(reason.is_valid()))
            reasons.append(reason.is_null().to_numpy(zero_copy_only=False))
            keys.append([events[name].to_numpy() for name in ("user_id", "video_id")])
        self.unknown = pa.concat_tables(unknown)
        known = np.concatenate(reasons)
        piece = np.full(len(known), -1, np.int32)
        piece[known] = _pieces(*(np.concatenate(values)[known] for values in zip(*keys, strict=True)), size)
        self._piece = np.split(piece, np.cumsum([len(own) for own in reasons])[:-1])
        self._count = int(piece.max(initial=0)) + 1

    def pieces(self) -> Iterator[pa.Table]:
        """Sorted as by `exposures.sort_events`, one after the other; all events of a user on a video are in one."""
        for number in range(self._count):
            yield sort_events(pa.concat_tables(self._rows_of(number)))

    def _rows_of(self, number: int) -> Iterator[pa.Table]:
        for table, piece in zip(self._tables, self._piece, strict=True):
            rows = np.flatnonzero(piece == number)
            events = _loaded(table).select(EVENT_SCHEMA.names)
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


def _pieces(user: np.ndarray, video: np.ndarray, size: int) -> np.ndarray:
    """[n] int32: the number of the piece that each event belongs to, in order of user and video."""
    found = np.zeros(len(user), np.int32)
    if len(user) <= size:
        return found
    order = np.lexsort((video, user))
    first = begins(user[order], video[order])
    number = np.repeat(first // size, np.diff(np.append(first, len(user))))  # of the piece in which the pair begins
    found[order] = np.cumsum(np.append(0, np.diff(number) > 0))
    return found
