"""Versions: the values of a key from one moment on. docs/examples.md has the rules.

A table of versions is sorted by its key and SINCE, and the first version of each key is there since ALWAYS. What was
known at a time is the last version strictly before it. Users, videos and channels have versions where their tables have
the column UPDATED; videos have some also where their counters are counted.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from recsys_tft.columns import UPDATED
from recsys_tft.time_lookups import SINCE, Timeline, begins, ends, is_versioned

ALWAYS, NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def of_rows(rows: pa.Table, key: str) -> pa.Table:
    """Rows by key and UPDATED as versions; rows of a table without UPDATED unchanged."""
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


def latest(table: pa.Table, key: str) -> pa.Table:
    """The last version of each key; a table without versions unchanged."""
    return table.take(pa.array(ends(table[key].to_numpy()))) if is_versioned(table) else table


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
