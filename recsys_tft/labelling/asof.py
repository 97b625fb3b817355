"""Values as of a moment: what was last known strictly before it."""

import numpy as np

from recsys_tft.labelling.versions import distinct
from recsys_tft.tables.entities import find_sorted

_AT_A_TIME = 1 << 17  # lookups, each of which takes some 50 bytes on the way


def last_before(
    event_keys: np.ndarray, event_times: np.ndarray, keys: np.ndarray, times: np.ndarray, tie: np.ndarray
) -> np.ndarray:
    """For each (key, time) the row number of the key's latest event strictly before the time; -1 without one.

    Args:
        event_keys: [n] int64, whose events they are.
        event_times: [n] int64.
        keys: [m] int64.
        times: [m] int64.
        tie: [n] int64; of a key's events at one time the one with the largest counts.

    Returns:
        [m] int64.
    """
    if not len(event_keys):
        return np.full(len(keys), -1)
    order = np.lexsort((tie, event_times, event_keys))
    # (key, time) as one number: ranks among all keys, and among all times, that occur.
    known_keys, known_times = distinct(event_keys), distinct(event_times)
    event_codes = np.searchsorted(known_keys, event_keys[order]) * (len(known_times) + 1)
    event_codes += np.searchsorted(known_times, event_times[order])
    latest = np.empty(len(keys), np.int64)
    for begin in range(0, len(keys), _AT_A_TIME):
        some = slice(begin, begin + _AT_A_TIME)
        rank = np.minimum(np.searchsorted(known_keys, keys[some]), len(known_keys) - 1)
        codes = rank * (len(known_times) + 1) + np.searchsorted(known_times, times[some])
        position = np.searchsorted(event_codes, codes) - 1
        found = order[np.maximum(position, 0)]
        latest[some] = np.where((position >= 0) & (event_keys[found] == keys[some]), found, -1)
    return latest


class EventCounts:
    """How many events a key has before a moment.

    Args:
        keys: [n] int64, whose events they are.
        times: [n] int64.
    """

    def __init__(self, keys: np.ndarray, times: np.ndarray):
        self._keys, self._times = distinct(keys), distinct(times)
        codes = np.searchsorted(self._keys, keys) * (len(self._times) + 1) + np.searchsorted(self._times, times)
        self._codes = np.sort(codes)

    def between(self, keys: np.ndarray, since: np.ndarray | None, until: np.ndarray) -> np.ndarray:
        """[m] int64: the events of keys at times from `since` on and strictly before `until`.

        Args:
            keys: [m] int64.
            since: [m] int64, not after `until`; None: from the first one on.
            until: [m] int64.
        """
        place = find_sorted(self._keys, keys)
        first = place * (len(self._times) + 1)
        ends, begins = (
            np.searchsorted(self._codes, first + (0 if times is None else np.searchsorted(self._times, times)))
            for times in (until, since)
        )
        return np.where(place < 0, 0, ends - begins)
