"""Raw columns of pairs: the point-in-time inputs of ops that join a user in context with a video.

Many pairs have the same inputs, so such an op is computed once per distinct combination of values. Ops that read a
list are computed for every pair.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids
from recsys_tft.columns import FIRST_SEEN, Column, OfGroup
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Entity, Feature, entity_of, raw_columns
from recsys_tft.ops import Op
from recsys_tft.point_in_time import outcomes, recent
from recsys_tft.point_in_time.user_context import COUNTED_VIDEO

RAW = "raw/"  # prefix of raw columns beside engineered ones
KEYS = ("user_id", "video_id", "interaction_time")  # which are there without the prefix


def pair_features(settings: Settings) -> tuple[Feature, ...]:
    """The features of pairs under these settings."""
    return tuple(f for f in settings.table.select(entity=Entity.PAIR) if f.is_active(settings))


def carried(entity: Entity, settings: Settings) -> list[str]:
    """The raw columns of an entity that features of pairs read, without KEYS."""
    columns = raw_columns(pair_features(settings))
    names = [column.name for column in columns if entity_of(column) is entity and column.name not in KEYS]
    if entity is Entity.VIDEO and outcomes.reads_expected(settings):
        names = list(dict.fromkeys([*names, *outcomes.VIDEO_COLUMNS]))
    stands_in = settings.recent.enabled and recent.PUBLISHED in names
    return [*names, *([FIRST_SEEN] if stands_in else [])]


def carried_columns(rows: pa.Table, names: Iterable[str]) -> dict[str, pa.ChunkedArray]:
    """The named raw columns that exist, by their prefixed names."""
    return {f"{RAW}{name}": rows[name] for name in names if name in rows.column_names}


def raw_part(rows: pa.Table) -> pa.Table:
    """The `carried_columns` of rows, and KEYS, without the prefix."""
    rows = ids.shown(rows)
    raw = {name.removeprefix(RAW): rows[name] for name in rows.column_names if name.startswith(RAW)}
    return pa.table({**{name: rows[name] for name in KEYS if name in rows.column_names}, **raw})


@dataclasses.dataclass(frozen=True)
class Values:
    """One raw column of [n] pairs.

    Attributes:
        values: the values of a table.
        rows: [n] int64, the row of each pair; None: one row per pair.
    """

    values: pa.Array
    rows: np.ndarray | None = None

    @classmethod
    def of(cls, column: pa.ChunkedArray | pa.Array, rows: np.ndarray) -> "Values":
        """From a column of a table, and the row of each pair."""
        return cls(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column, rows)

    def __len__(self) -> int:
        return len(self.values if self.rows is None else self.rows)

    def all(self) -> pa.Array:
        """[n] values."""
        return self.values if self.rows is None else self.values.take(pa.array(self.rows))

    def at(self, pairs: np.ndarray) -> pa.Array:
        """The values of some pairs."""
        return self.values.take(pa.array(pairs if self.rows is None else self.rows[pairs]))

    def codes(self) -> tuple[np.ndarray, int]:
        """[n] int64 codes, equal for equal values, and their upper bound."""
        encoded = self.values.dictionary_encode(null_encoding="encode")
        return self._by_pair(encoded.indices.to_numpy()).astype(np.int64), len(encoded.dictionary)

    def is_missing(self) -> np.ndarray:
        """[n] bool; an empty list is missing."""
        missing = self.values.is_null()
        if pa.types.is_list(self.values.type):
            missing = pc.equal(pc.fill_null(pc.list_value_length(self.values), 0), 0)
        return self._by_pair(missing.to_numpy(zero_copy_only=False))

    def _by_pair(self, of_values: np.ndarray) -> np.ndarray:
        return of_values if self.rows is None else of_values[self.rows]


class GroupTallies(Protocol):
    """The tallies of [n] pairs by group, as in `outcomes.Tallies`."""

    def of(self, group: OfGroup) -> pa.Array:
        """[n] int64."""


class PairColumns:
    """The raw columns of [n] pairs.

    Args:
        tables: raw rows of users, exposures and videos; of several tables of an entity the first one with a column
            is read. A column that no table has is missing in all pairs.
        rows: for each of these tables [n] int64, the row of each pair.
        delay: microseconds until an event is visible.
        tallies: of the users of these pairs, and the groups of their videos; None if no column needs them.
    """

    def __init__(
        self,
        tables: Mapping[Entity, Sequence[pa.Table]],
        rows: Mapping[Entity, Sequence[np.ndarray]],
        delay: int,
        tallies: GroupTallies | None = None,
    ):
        self._tables, self._rows, self._delay, self._tallies = tables, rows, delay, tallies

    def __len__(self) -> int:
        return len(self._rows[Entity.EXPOSURE][0])

    def of(self, feature: Feature) -> list[Values]:
        """The sources of a feature."""
        return [self._of(column) for column in feature.columns]

    def _of(self, column: Column) -> Values:
        if column.of_group:
            assert self._tallies is not None
            return Values(self._tallies.of(column.of_group))
        entity = Entity.EXPOSURE if column.late else entity_of(column)
        for table, rows in zip(self._tables[entity], self._rows[entity], strict=True):
            if column.name == recent.PUBLISHED and FIRST_SEEN in table.column_names:
                return self._published(table, rows)
            if column.name in table.column_names:
                return Values.of(table[column.name], rows)
        kind = pa.list_(column.graph_type) if column.is_list else column.graph_type
        return Values(pa.nulls(1, kind), np.zeros(len(self), np.int64))

    def _published(self, videos: pa.Table, rows: np.ndarray) -> Values:
        """The times of publication of videos, as known at the exposures; see `recent.published`."""
        (exposures, *_), (places, *_) = self._tables[Entity.EXPOSURE], self._rows[Entity.EXPOSURE]
        since = recent.published(videos, rows, exposures["interaction_time"].to_numpy()[places], self._delay)
        return Values(pa.array(since, mask=since == recent.NEVER))


def missing(feature: Feature, values: Sequence[Values]) -> int:
    """The number of pairs in which no source has a value, apart from required columns and COUNTED_VIDEO."""
    flags = [
        column_values.is_missing()
        for column, column_values in zip(feature.columns, values, strict=True)
        if not column.required and column.name != COUNTED_VIDEO
    ]
    return int(np.logical_and.reduce(flags).sum()) if flags else 0


def to_compute(feature: Feature, values: Sequence[Values]) -> tuple[pa.Table, np.ndarray]:
    """The raw rows to compute a feature from, and for each of [n] pairs its row."""
    if any(column.is_list for column in feature.columns):
        return pa.table([source.all() for source in values], list(feature.sources)), np.arange(len(values[0]))
    if (rows := values[0].rows) is not None and all(source.rows is rows for source in values):  # of exposures alone
        return pa.table([source.values for source in values], list(feature.sources)), rows
    columns, rows = combinations(feature.op, values)
    return pa.table(columns, list(feature.sources)), rows


def combinations(op: Op, values: Sequence[Values]) -> tuple[list[pa.Array], np.ndarray]:
    """The distinct combinations of an op's inputs: its columns, and for each of [n] pairs the row of these."""
    if op.is_coarse:
        values = [Values(column) for column in op.coarse([source.all() for source in values])]
    codes, size = values[0].codes()
    for source in values[1:]:
        more_codes, more_size = source.codes()
        if more_size > 1:
            codes, size = _dense(codes * more_size + more_codes)
    pair = np.empty(size, np.int64)
    pair[codes] = np.arange(len(codes))
    used = np.zeros(size, bool)
    used[codes] = True
    return [source.at(pair[used]) for source in values], (np.cumsum(used) - 1)[codes]


def _dense(codes: np.ndarray) -> tuple[np.ndarray, int]:
    encoded = pa.array(codes).dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)
