"""Versions: what was known of a key from one moment on. docs/examples.md has the rules.

A table of versions is sorted by its key and SINCE, and the first version of each key is there since ALWAYS. What was
known at a time is the last version strictly before it. Users, videos and channels have versions where their tables have
the column UPDATED; videos have some also where their counters are counted.
"""

from collections.abc import Sequence

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


def is_versioned(table: pa.Table, column: str = SINCE) -> bool:
    """Whether a table may hold several rows per key."""
    return column in table.column_names


def latest(table: pa.Table, key: str) -> pa.Table:
    """The last version of each key; a table without versions as it is."""
    return table.take(pa.array(ends(table[key].to_numpy()))) if is_versioned(table) else table


def last_before(
    table: pa.Table, key: str, keys: np.ndarray, times: np.ndarray, rows: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """[m] int64: the row of the last version of each key strictly before each time.

    Args:
        table: versions, in which each of the keys has one before its times.
        key: the name of their key.
        keys: [k] int64.
        times: [j] int64.
        rows: which of the k keys and which of the j times each of m lookups has; without, one after the other.
    """
    owners, since = table[key].to_numpy(), table[SINCE].to_numpy()
    first = begins(owners)
    moments = np.unique(since)
    place = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(owners))))
    codes = place * (len(moments) + 1) + np.searchsorted(moments, since)
    owner = np.searchsorted(owners[first], keys) * (len(moments) + 1)
    moment = np.searchsorted(moments, times)
    wanted = owner[rows[0]] + moment[rows[1]] if rows else owner + moment
    return np.searchsorted(codes, wanted) - 1


def between(
    table: pa.Table, key: str, keys: np.ndarray, earliest: np.ndarray, latest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The versions that lookups of [k] keys, at times from `earliest` to `latest`, may find.

    Args:
        table: versions.
        key: the name of their key.
        keys: [k] int64, all in the table.
        earliest: [k] int64.
        latest: [k] int64, not before them.

    Returns:
        [m] int64 which of the k lookups, increasing, and [m] int64 rows of the table, increasing within a lookup.
    """
    first, last = (last_before(table, key, keys, times) for times in (earliest, latest))
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
    own, found = between(other, other_key, others[known], since[known] + 1, until[known])
    without = np.flatnonzero(~has_other)
    rows, found = np.concatenate([without, known[own]]), np.concatenate([np.full(len(without), -1), found])
    began = np.maximum(since[rows], np.where(found >= 0, _at(other[SINCE].to_numpy(), found), ALWAYS))
    order = np.lexsort((began, rows))
    return rows[order], found[order], began[order]


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """values[rows], of which there may be none where all rows are -1."""
    return np.append(values, ALWAYS)[rows]
