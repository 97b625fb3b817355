"""Counts of videos at a moment, by all changes so far."""

import numpy as np

from recsys_tft.online.snapshot import Snapshot
from recsys_tft.point_in_time.counters import Values
from recsys_tft.tables.versions import ALWAYS, NEVER
from recsys_tft.time_lookups import SINCE, Timeline, distinct


class VideoValues:
    """A cache of the counts of videos: each is valid until a change comes, or its next version begins.

    Args:
        video_ids: [videos] int64, increasing, of all videos.
        values: what is counted.
    """

    def __init__(self, video_ids: np.ndarray, values: Values):
        self._ids, self._names = video_ids, values.names
        self._found = np.zeros((len(video_ids), len(values.names)), np.int64)
        self._after = np.full(len(video_ids), NEVER)  # values are valid after this moment
        self._until = np.full(len(video_ids), ALWAYS)  # and up to this one

    def changed(self, video_ids: np.ndarray) -> None:
        """Drops the values of some videos."""
        rows = np.searchsorted(self._ids, video_ids)
        self._after[rows], self._until[rows] = NEVER, ALWAYS

    def at(self, video_ids: np.ndarray, time: int, now: Snapshot) -> np.ndarray:
        """[n, k] int64 values of known videos, as in a row at this time.

        Args:
            video_ids: [n] int64.
            time: not before `now.since`.
            now: the current snapshot.
        """
        rows = np.searchsorted(self._ids, video_ids)
        if not self._names:
            return self._found[rows]
        stale = rows[(self._after[rows] >= time) | (time > self._until[rows])]
        if len(stale):
            self._find(distinct(stale), time, now)
        return self._found[rows]

    def _find(self, rows: np.ndarray, time: int, now: Snapshot) -> None:
        ids = self._ids[rows]
        versions = now.versions(ids)
        last = Timeline(versions, "video_id").last_before(ids, np.full(len(ids), time))
        since, owner = (np.append(versions[name].to_numpy(), NEVER) for name in (SINCE, "video_id"))
        self._found[rows] = np.stack([versions[name].to_numpy()[last] for name in self._names], axis=1)
        self._after[rows] = since[last]
        self._until[rows] = np.where(owner[last + 1] == ids, since[last + 1], NEVER)
