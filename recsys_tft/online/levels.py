"""Rows that are looked up by a key while rows are added: a few sorted tables, each larger than all that come after."""

import dataclasses
import functools

import numpy as np
import pyarrow as pa

from recsys_tft.time_lookups import distinct, find_sorted


@dataclasses.dataclass(frozen=True)
class Levels:
    """Rows by key; what is added goes into a new value, so that who reads an older one is not disturbed.

    Attributes:
        key: the name of an int64 column.
        tables: rows by increasing key, of one schema; at least one table.
    """

    key: str
    tables: tuple[pa.Table, ...]

    @classmethod
    def of_rows(cls, key: str, rows: pa.Table) -> "Levels":
        """Of rows in any order; those of a key stay in theirs."""
        return cls(key, (_by(key, rows),))

    def __len__(self) -> int:
        return sum(map(len, self.tables))

    def of(self, keys: np.ndarray) -> pa.Table:
        """The rows of [n] increasing keys; those of a key are together only if it is one."""
        rows = [self._rows(place, keys) for place in range(len(self.tables))]
        found = [table.take(pa.array(own)) for table, own in zip(self.tables, rows, strict=True) if len(own)]
        return pa.concat_tables(found).combine_chunks() if found else self.tables[0].slice(0, 0)

    def with_rows(self, rows: pa.Table) -> "Levels":
        """The same and these rows; each row is sorted again as often as the rows double."""
        if not len(rows):
            return self
        tables = [*self.tables, rows]
        while len(tables) > 1 and len(tables[-2]) <= 2 * len(tables[-1]):
            rows = pa.concat_tables(tables[-2:])
            tables[-2:] = [rows]
        return Levels(self.key, (*tables[:-1], _by(self.key, tables[-1])))

    def without(self, keys: np.ndarray) -> "Levels":
        """The same without the rows of [n] increasing keys."""
        kept = (t.filter(pa.array(find_sorted(keys, t[self.key].to_numpy()) < 0)) for t in self.tables)
        return Levels(self.key, tuple(table.combine_chunks() for table in kept))

    @property
    def all(self) -> pa.Table:
        """All rows."""
        return pa.concat_tables(self.tables)

    @functools.cached_property
    def _keys(self) -> tuple[np.ndarray, ...]:
        return tuple(table[self.key].to_numpy() for table in self.tables)

    def _rows(self, place: int, keys: np.ndarray) -> np.ndarray:
        own = self._keys[place]
        first, end = np.searchsorted(own, keys, side="left"), np.searchsorted(own, keys, side="right")
        sizes = end - first
        return np.repeat(first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())


def _by(key: str, rows: pa.Table) -> pa.Table:
    keys = rows[key].to_numpy()
    if (keys[1:] >= keys[:-1]).all():
        return rows.combine_chunks()
    return rows.take(pa.array(np.argsort(keys, kind="stable"))).combine_chunks()


def keys_of(rows: pa.Table, key: str) -> np.ndarray:
    """The different keys of rows, increasing."""
    return distinct(rows[key].to_numpy())
