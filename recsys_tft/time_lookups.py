"""Point-in-time lookups: the last known value of a key strictly before a moment."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.storage.sorting import lexsort

SINCE = "since"  # the column with the start of each version
_AT_A_TIME = 1 << 17  # lookups, each of which takes about 50 bytes
_MANY = 1 << 17  # lookups from which on compiled code pays off


def find_sorted(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[m] int64: the first position of each wanted key in the increasing [n] keys, -1 if it is not there."""
    if not len(keys):
        return np.full(len(wanted), -1)
    first, span = int(keys[0]), int(keys[-1]) - int(keys[0])
    if span < len(wanted):  # a table of all numbers in between is read several times as fast as it is searched
        places = np.full(span + 2, -1)  # at last that of all others
        places[keys[::-1] - first] = np.arange(len(keys))[::-1]  # of a key in several rows the first one stays
        return places.take(np.where((wanted >= first) & (wanted <= keys[-1]), wanted - first, span + 1))
    positions = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[positions] == wanted, positions, -1)


def begins(*keys: np.ndarray) -> np.ndarray:
    """The first row of each run of rows with equal keys, [m] each."""
    changes = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(np.concatenate([[True], changes])[: len(keys[0])])


def ends(*keys: np.ndarray) -> np.ndarray:
    """The last row of each run of rows with equal keys, [m] each."""
    return np.append(begins(*keys), len(keys[0]))[1:] - 1 if len(keys[0]) else np.zeros(0, np.int64)


def distinct(values: np.ndarray) -> np.ndarray:
    """The distinct ones of [n] values, increasing; np.unique, which hashes them, takes ten times as long."""
    ordered = np.sort(values)
    return ordered[begins(ordered)]


def is_versioned(table: pa.Table, column: str = SINCE) -> bool:
    """Whether a table may hold several rows per key."""
    return column in table.column_names


class _Moments:
    """Pairs of key and time, with a binary search for the number of a key's pairs before a moment.

    Args:
        keys: [n] int64.
        times: [n] int64.

    Attributes:
        order: [n] int64 rows of the pairs by key and time.
    """

    def __init__(self, keys: np.ndarray, times: np.ndarray):
        self.order = _order(keys, times)
        ordered = keys[self.order]
        firsts = begins(ordered)
        self._keys, self._times = ordered[firsts], times[self.order]
        self._bounds = np.append(firsts, len(keys))  # of the pairs of each key

    def before(self, keys: np.ndarray, times: np.ndarray | None, rows: Sequence[np.ndarray] = ()) -> np.ndarray:
        """[m] int64: how many pairs have a smaller key, or the same key and a time strictly before; 0 for unknown keys.

        Args:
            keys: [k] int64.
            times: [j] int64; None: before all times.
            rows: indices into keys and times, [m] each; without them lookup i has key i and time i.
        """
        places = find_sorted(self._keys, keys)
        if rows:
            places, times = places[rows[0]], None if times is None else times[rows[1]]
        first, end = (np.where(places >= 0, self._bounds[places + step], 0) for step in (0, 1))
        if times is None:
            return first
        if len(places) < _MANY:
            return _search(self._times, times, first, end)
        from recsys_tft.storage.lookup_kernel import search  # loads numba

        search(self._times, np.ascontiguousarray(times), first, end)
        return first


def _order(keys: np.ndarray, times: np.ndarray) -> np.ndarray:
    """[n] int64 rows by key and time; fast for tables that are sorted already."""
    if ((keys[1:] > keys[:-1]) | ((keys[1:] == keys[:-1]) & (times[1:] >= times[:-1]))).all():
        return np.arange(len(keys))
    return lexsort((times, keys))


def _search(values: np.ndarray, wanted: np.ndarray, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The result of `lookup_kernel.search`, for few numbers."""
    while (is_open := first < end).any():
        middle = (first + end) // 2
        is_less = is_open & (values[np.minimum(middle, len(values) - 1)] < wanted)
        first, end = np.where(is_less, middle + 1, first), np.where(is_less, end, np.minimum(middle, end))
    return first


def last_before(
    event_keys: np.ndarray, event_times: np.ndarray, keys: np.ndarray, times: np.ndarray, tie: np.ndarray
) -> np.ndarray:
    """For each (key, time) the row number of the key's latest event strictly before the time; -1 without one.

    Args:
        event_keys: [n] int64.
        event_times: [n] int64.
        keys: [m] int64.
        times: [m] int64.
        tie: [n] int64; of a key's events at one time the one with the largest tie is taken.

    Returns:
        [m] int64.
    """
    if not len(event_keys):
        return np.full(len(keys), -1)
    order = lexsort((tie, event_times, event_keys))
    moments = _Moments(event_keys[order], event_times[order])
    latest = np.empty(len(keys), np.int64)
    for begin in range(0, len(keys), _AT_A_TIME):
        some = slice(begin, begin + _AT_A_TIME)
        position = moments.before(keys[some], times[some]) - 1
        event_rows = order[np.maximum(position, 0)]
        latest[some] = np.where((position >= 0) & (event_keys[event_rows] == keys[some]), event_rows, -1)
    return latest


class EventCounts:
    """Counts of a key's events before a moment.

    Args:
        keys: [n] int64.
        times: [n] int64.
        numbers: [n] or [n, k] integers, the weight of each event, or k weights; None: 1.
    """

    def __init__(self, keys: np.ndarray, times: np.ndarray, numbers: np.ndarray | None = None):
        self._moments = _Moments(keys, times)
        self._sums = None
        if numbers is not None:
            sums = np.cumsum(numbers[self._moments.order], axis=0, dtype=np.int64)
            self._sums = np.concatenate([np.zeros((1, *sums.shape[1:]), np.int64), sums])

    def between(self, keys: np.ndarray, since: np.ndarray | None, until: np.ndarray) -> np.ndarray:
        """[m] or [m, k] int64: the events of keys at times from `since` on and strictly before `until`.

        Args:
            keys: [m] int64.
            since: [m] int64, not after `until`; None: from the first one on.
            until: [m] int64.
        """
        last, first = (self._moments.before(keys, times) for times in (until, since))
        return last - first if self._sums is None else self._sums[last] - self._sums[first]


class Timeline:
    """Lookup of versions by key and time.

    Args:
        table: versions.
        key: the name of their key.
    """

    def __init__(self, table: pa.Table, key: str):
        self._moments = _Moments(table[key].to_numpy(), table[SINCE].to_numpy())

    def last_before(self, keys: np.ndarray, times: np.ndarray, rows: Sequence[np.ndarray] = ()) -> np.ndarray:
        """[m] int64: the row of the last version of each key strictly before each time.

        Args:
            keys: [k] int64, with versions before their times.
            times: [j] int64.
            rows: indices into keys and times, [m] each; without them lookup i has key i and time i.
        """
        return self._moments.before(keys, times, rows) - 1

    def between(self, keys: np.ndarray, earliest: np.ndarray, latest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The versions that lookups of [k] keys, at times from `earliest` to `latest`, may find.

        Args:
            keys: [k] int64, with versions.
            earliest: [k] int64.
            latest: [k] int64, not before them.

        Returns:
            [m] int64 numbers of lookups, increasing, and [m] int64 rows of versions, increasing within a lookup.
        """
        first, last = (self.last_before(keys, times) for times in (earliest, latest))
        sizes = last - first + 1
        rows = np.repeat(first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        return np.repeat(np.arange(len(keys)), sizes), rows


def are_among(pairs: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> np.ndarray:
    """[m] bool: which of the wanted pairs of keys are among [n] pairs.

    Args:
        pairs: two keys, [n] int64 each.
        wanted: two keys, [m] int64 each.
    """
    distinct_keys = [distinct(keys) for keys in pairs]
    first, second = (find_sorted(column, keys) for column, keys in zip(distinct_keys, wanted, strict=True))
    places = [np.searchsorted(column, keys) for column, keys in zip(distinct_keys, pairs, strict=True)]
    codes = distinct(places[0] * len(distinct_keys[1]) + places[1])
    positions = find_sorted(codes, first * len(distinct_keys[1]) + second)
    return (first >= 0) & (second >= 0) & (positions >= 0)


def rows_at(table: pa.Table, key: str, keys: np.ndarray, times: np.ndarray) -> np.ndarray:
    """[m] int64: the row of each key at each time, -1 for an unknown key; a row without versions is always valid."""
    rows = find_sorted(table[key].to_numpy(), keys)
    if is_versioned(table):
        present = np.flatnonzero(rows >= 0)
        rows[present] = Timeline(table, key).last_before(keys[present], times[present])
    return rows


def take_or_null(values: pa.ChunkedArray, positions: np.ndarray) -> pa.ChunkedArray:
    """values at [m] positions; null where the position is -1."""
    return values.take(pa.array(positions, mask=positions < 0))
