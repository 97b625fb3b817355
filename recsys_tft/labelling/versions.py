"""Versions: what was known of a key from one moment on. docs/examples.md has the rules.

A table of versions is sorted by its key and SINCE, and the first version of each key is there since ALWAYS. What was
known at a time is the last version strictly before it. Users, videos and channels have versions where their tables have
the column UPDATED; videos have some also where their counters are counted.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.columns import UPDATED

SINCE = "since"
ALWAYS, NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def begins(*keys: np.ndarray) -> np.ndarray:
    """The first row of each run of rows that agree in [m] keys."""
    changes = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.flatnonzero(np.concatenate([[True], changes])[: len(keys[0])])


def ends(*keys: np.ndarray) -> np.ndarray:
    """The last row of each run of rows that agree in [m] keys."""
    return np.append(begins(*keys), len(keys[0]))[1:] - 1 if len(keys[0]) else np.zeros(0, np.int64)


def of_rows(rows: pa.Table, key: str) -> pa.Table:
    """Rows by key and UPDATED as versions; rows of a table without UPDATED as they are."""
    if not is_versioned(rows, UPDATED):
        return rows
    since = rows[UPDATED].to_numpy().copy()
    since[begins(rows[key].to_numpy())] = ALWAYS
    return dated(rows, since)


def dated(rows: pa.Table, since: np.ndarray) -> pa.Table:
    """Rows that begin to hold at these times."""
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    return pa.table(columns | {SINCE: pa.array(since)})


def in_order(parts: Iterable[pa.Table], key: str) -> pa.Table:
    """The rows of several tables by key; those of versions by key and SINCE."""
    table = pa.concat_tables(parts)
    by = [name for name in (key, SINCE) if name in table.column_names]
    return table.sort_by([(name, "ascending") for name in by])


def is_versioned(table: pa.Table, column: str = SINCE) -> bool:
    """Whether a table may hold several rows per key."""
    return column in table.column_names


def latest(table: pa.Table, key: str) -> pa.Table:
    """The last version of each key; a table without versions as it is."""
    return table.take(pa.array(ends(table[key].to_numpy()))) if is_versioned(table) else table


def distinct(values: np.ndarray) -> np.ndarray:
    """The different ones of [n] values, increasing; np.unique, which hashes them, takes ten times as long."""
    ordered = np.sort(values)
    return ordered[begins(ordered)]


class Timeline:
    """Versions, to be looked up by key and time.

    Args:
        table: versions.
        key: the name of their key.
    """

    def __init__(self, table: pa.Table, key: str):
        owners, since = table[key].to_numpy(), table[SINCE].to_numpy()
        first = begins(owners)
        place = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(owners))))
        self._keys, self._moments = owners[first], distinct(since)
        self._codes = place * (len(self._moments) + 1) + np.searchsorted(self._moments, since)

    def last_before(self, keys: np.ndarray, times: np.ndarray, rows: Sequence[np.ndarray] = ()) -> np.ndarray:
        """[m] int64: the row of the last version of each key strictly before each time.

        Args:
            keys: [k] int64, of which there are versions before their times.
            times: [j] int64.
            rows: which of the k keys and which of the j times each of m lookups has; without, one after the other.
        """
        owner = np.searchsorted(self._keys, keys) * (len(self._moments) + 1)
        moment = np.searchsorted(self._moments, times)
        wanted = owner[rows[0]] + moment[rows[1]] if rows else owner + moment
        return np.searchsorted(self._codes, wanted) - 1

    def between(self, keys: np.ndarray, earliest: np.ndarray, latest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The versions that lookups of [k] keys, at times from `earliest` to `latest`, may find.

        Args:
            keys: [k] int64, of which there are versions.
            earliest: [k] int64.
            latest: [k] int64, not before them.

        Returns:
            [m] int64 which of the k lookups, increasing, and [m] int64 rows of versions, increasing within a lookup.
        """
        first, last = (self.last_before(keys, times) for times in (earliest, latest))
        sizes = last - first + 1
        rows = np.repeat(first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        return np.repeat(np.arange(len(keys)), sizes), rows


def together(
    table: pa.Table, key: str, other: pa.Table, other_key: str, others: np.ndarray, has_other: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Versions of two tables in one: one begins whenever a version of either does.

    Args:
        table: versions.
        key: the name of their key.
        other: other versions.
        other_key: the name of their key.
        others: [n] int64, which key of `other` goes with each version of `table`.
        has_other: [n] bool, whether there is that key.

    Returns:
        Rows of `table`, rows of `other` (-1 for none), and since when both hold, each [m] int64, by row of `table` and
        time.
    """
    since = table[SINCE].to_numpy()
    until = np.append(since[1:], NEVER)
    until[ends(table[key].to_numpy())] = NEVER
    known = np.flatnonzero(has_other)
    own, found = Timeline(other, other_key).between(others[known], since[known] + 1, until[known])
    without = np.flatnonzero(~has_other)
    rows, found = np.concatenate([without, known[own]]), np.concatenate([np.full(len(without), -1), found])
    began = np.maximum(since[rows], np.where(found >= 0, _at(other[SINCE].to_numpy(), found), ALWAYS))
    order = np.lexsort((began, rows))
    return rows[order], found[order], began[order]


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """values[rows], of which there may be none where all rows are -1."""
    return np.append(values, ALWAYS)[rows]
