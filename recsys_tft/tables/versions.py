"""Versions: the values of a key from one moment on. docs/examples.md has the rules.

A table of versions is sorted by its key and SINCE, and the first version of each key starts at ALWAYS. The version at a
time is the last one that starts strictly before. Users, videos and channels have versions if their tables have the
column UPDATED; videos also if their counters are counted.
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
    """Rows as versions that start at these times."""
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    return pa.table(columns | {SINCE: pa.array(since)})


def in_order(parts: Iterable[pa.Table], key: str) -> pa.Table:
    """The rows of several tables by key; versions by key and SINCE."""
    table = pa.concat_tables(parts)
    by = [name for name in (key, SINCE) if name in table.column_names]
    return table.sort_by([(name, "ascending") for name in by])


def latest(table: pa.Table, key: str) -> pa.Table:
    """The last version of each key; a table without versions unchanged."""
    return table.take(pa.array(ends(table[key].to_numpy()))) if is_versioned(table) else table


def together(
    table: pa.Table, key: str, other: pa.Table, other_key: str, others: np.ndarray, has_other: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merge the versions of two tables: one starts whenever a version of either does.

    Args:
        table: versions.
        key: the name of their key.
        other: other versions.
        other_key: the name of their key.
        others: [n] int64, the key of `other` for each version of `table`.
        has_other: [n] bool, whether that key exists.

    Returns:
        Rows of `table`, rows of `other` (-1 for none), and the start of each pair, each [m] int64, by row of `table`
        and time.
    """
    since = table[SINCE].to_numpy()
    until = np.append(since[1:], NEVER)
    until[ends(table[key].to_numpy())] = NEVER
    with_other = np.flatnonzero(has_other)
    lookups, other_rows = Timeline(other, other_key).between(
        others[with_other], since[with_other] + 1, until[with_other]
    )
    without = np.flatnonzero(~has_other)
    rows, other_rows = (
        np.concatenate([without, with_other[lookups]]),
        np.concatenate([np.full(len(without), -1), other_rows]),
    )
    began = np.maximum(since[rows], np.where(other_rows >= 0, _at(other[SINCE].to_numpy(), other_rows), ALWAYS))
    order = np.lexsort((began, rows))
    return rows[order], other_rows[order], began[order]


def _at(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """values[rows]; values may be empty if all rows are -1."""
    return np.append(values, ALWAYS)[rows]
