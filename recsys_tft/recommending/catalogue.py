"""Columns of videos for the four stages: computed once for all videos of an export, and looked up by row number.

A request has hundreds of candidates; copying their rows would cost more than reading these columns.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids
from recsys_tft.columns import FIRST_SEEN, IdKind
from recsys_tft.missing import nulled
from recsys_tft.serving.serving_rows import Column, InputSpec, Values
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.tables.video_groups import Groups

EVENTS = "events"  # the number of events of a video
PUBLISHED = "published_at"


class Catalogue:
    """All videos of an export.

    Args:
        rows: of the store.
        kind: of the ids.

    Attributes:
        rows: as given.
    """

    def __init__(self, rows: pa.Table, kind: IdKind = IdKind.INTEGER):
        self.rows, self._kind = rows, kind
        self._columns: dict[tuple[str, Any, int | None], Column] = {}
        self._groups: dict[str, np.ndarray] = {}
        self._grouped: dict[str, Groups] = {}
        self._masks: dict[Any, np.ndarray] = {}

    @functools.cached_property
    def ids(self) -> pa.Array:
        """[videos] ids, as rows have them."""
        return self.rows["video_id"].combine_chunks()

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """[videos] int64 codes of the ids."""
        return ids.codes_of(self.ids).to_numpy()

    @functools.cached_property
    def ranks(self) -> np.ndarray:
        """[videos] int64 ranks of the ids."""
        return ids.ranks(self.ids, self._kind)

    @functools.cached_property
    def published(self) -> np.ndarray:
        """[videos] float64 microseconds since 1970, NaN where unknown."""
        return floats(self.rows[PUBLISHED])

    def groups(self, name: str) -> np.ndarray:
        """[videos] int64: equal for equal values of a column, -1 for a missing one."""
        if name not in self._groups:
            self._groups[name] = codes(self.rows[name])
        return self._groups[name]

    def groups_of(self, name: str) -> Groups:
        """By the values of a column, or of its lists."""
        if name not in self._grouped:
            self._grouped[name] = Groups.of(self.rows[name])
        return self._grouped[name]

    def mask(self, rule: Any, find: Callable[[pa.Table], np.ndarray]) -> np.ndarray:
        """[videos] bool of a rule, computed once.

        Args:
            rule: key of the rule.
            find: from rows to a mask.
        """
        if rule not in self._masks:
            self._masks[rule] = find(self.rows)
        return self._masks[rule]

    def numbers(self, name: str) -> np.ndarray:
        """[videos] int64 values of an integer column; the least int64 if missing."""
        values = self.column(name, np.dtype(np.int64), 1).values
        assert isinstance(values, np.ndarray)
        return values

    def column(self, name: str, dtype: np.dtype, rank: int | None) -> Column:
        """A column with the dtype and rank of a signature."""
        key = name, dtype, rank
        if key not in self._columns:
            self._columns[key] = Column.of(self._as_read(name), dtype, rank)
        return self._columns[key]

    def _as_read(self, name: str) -> pa.ChunkedArray:
        """A column as models read it: without a time of publication the time of the first event."""
        if name == PUBLISHED and FIRST_SEEN in self.rows.column_names:
            return pc.coalesce(self.rows[PUBLISHED], self.rows[FIRST_SEEN])
        return self.rows[name]

    @functools.cached_property
    def has_no_publication(self) -> np.ndarray:
        """[videos] bool: whether the time of publication is missing."""
        return self.rows[PUBLISHED].is_null().to_numpy()


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Some videos.

    Attributes:
        catalogue: of all videos.
        rows: [n] int64 numbers of their rows.
        changed: [n] int64 by name: columns with newer values than the catalogue's.
    """

    catalogue: Catalogue
    rows: np.ndarray
    changed: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_rows(cls, rows: pa.Table, kind: IdKind = IdKind.INTEGER) -> "Candidates":
        """All videos of some rows."""
        return cls(Catalogue(rows, kind), np.arange(len(rows)))

    @classmethod
    def joined(cls, parts: Sequence["Candidates"]) -> "Candidates":
        """Concatenate candidates of one catalogue."""
        catalogue = parts[0].catalogue
        changed = {
            name: np.concatenate([part.changed.get(name, catalogue.numbers(name)[part.rows]) for part in parts])
            for name in dict.fromkeys(name for part in parts for name in part.changed)
        }
        return cls(catalogue, np.concatenate([part.rows for part in parts]), changed)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self.catalogue.rows.column_names

    def take(self, chosen: np.ndarray) -> "Candidates":
        """The candidates at [m] positions."""
        changed = {name: values[chosen] for name, values in self.changed.items()}
        return Candidates(self.catalogue, self.rows[chosen], changed)

    @property
    def ids(self) -> pa.Array:
        """[n] ids, as rows have them."""
        return self.catalogue.ids.take(pa.array(self.rows))

    @property
    def events(self) -> np.ndarray:
        """[n] int64: how many events each has."""
        changed = self.changed.get(EVENTS)
        return self.catalogue.numbers(EVENTS)[self.rows] if changed is None else changed

    def arrow(self, name: str) -> pa.Array:
        """[n] values of a column that does not change."""
        return self.catalogue.rows[name].combine_chunks().take(pa.array(self.rows))

    def values(self, name: str, slot: InputSpec) -> Values:
        """[n] values of a column for an input of a signature."""
        if name in self.changed:
            return self.changed[name].astype(slot.dtype, copy=False)
        values = self.catalogue.column(name, slot.dtype, slot.rank).at(self.rows)
        if name == PUBLISHED and FIRST_SEEN in self.changed:
            unknown = self.catalogue.has_no_publication[self.rows]
            values = np.where(unknown, self.changed[FIRST_SEEN], values)
        return values

    def table(self) -> pa.Table:
        """[n] rows."""
        rows = self.catalogue.rows.take(pa.array(self.rows))
        for name, values in self.changed.items():
            place = rows.column_names.index(name)
            column = pa.array(values, rows.schema.field(name).type, mask=values == EMPTY_IDS)
            rows = rows.set_column(place, name, column)
        return rows


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """[n] int64: equal for equal values, -1 for a missing one."""
    indices = nulled(column).combine_chunks().dictionary_encode().indices
    return pc.fill_null(indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def floats(column: Any) -> np.ndarray:
    """[n] numbers as float64, NaN where missing; those beyond 2^53, such as times after the year 2255, are rounded."""
    return pc.fill_null(nulled(column).cast(pa.float64(), safe=False), float("nan")).to_numpy()
