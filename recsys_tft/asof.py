"""Values as of a moment: what was last known strictly before it."""

import numpy as np

from recsys_tft.entities import find_sorted


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
    known_keys, known_times = np.unique(event_keys), np.unique(event_times)
    event_codes = np.searchsorted(known_keys, event_keys[order]) * (len(known_times) + 1)
    event_codes += np.searchsorted(known_times, event_times[order])
    rank = np.minimum(np.searchsorted(known_keys, keys), len(known_keys) - 1)
    codes = rank * (len(known_times) + 1) + np.searchsorted(known_times, times)
    position = np.searchsorted(event_codes, codes) - 1
    found = order[np.maximum(position, 0)]
    return np.where((position >= 0) & (event_keys[found] == keys), found, -1)


def count_between(
    event_keys: np.ndarray, event_times: np.ndarray, keys: np.ndarray, since: np.ndarray, until: np.ndarray
) -> np.ndarray:
    """[m] int64: how many events each key has at times from `since` on and strictly before `until`.

    Args:
        event_keys: [n] int64, whose events they are.
        event_times: [n] int64.
        keys: [m] int64.
        since: [m] int64.
        until: [m] int64.
    """
    known_keys, known_times = np.unique(event_keys), np.unique(event_times)
    width = len(known_times) + 1
    codes = np.sort(np.searchsorted(known_keys, event_keys) * width + np.searchsorted(known_times, event_times))
    first = find_sorted(known_keys, keys) * width
    begins, ends = (np.searchsorted(codes, first + np.searchsorted(known_times, times)) for times in (since, until))
    return np.where(first < 0, 0, np.maximum(ends - begins, 0))
