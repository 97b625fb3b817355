"""Compares the rows of two reruns bit by bit: with two futures of one past, no row of the past may differ."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
import pyarrow as pa

KEY = ("user_id", "video_id", "interaction_time")
_THERE = ("there", "not there")
ROW = "row"  # in the place of a column, if only one of two reruns has the row


@dataclasses.dataclass(frozen=True)
class Difference:
    """One value that depends on later events.

    Attributes:
        feature: the column; ROW if only one rerun has the row.
        folder: where the rows are, below `processed_data/`.
        key: of the row.
        values: with one future, and with the other.
    """

    feature: str
    folder: str
    key: Mapping[str, Any]
    values: tuple[Any, Any]


@dataclasses.dataclass(frozen=True)
class Compared:
    """The comparison of some rows.

    Attributes:
        keys: of the rows that both reruns have, with `row` numbers of the first and `other` of the second.
        features: the columns that were compared.
        differences: the first ones of each column.
        unequal: how many values of each column differ.
    """

    keys: pl.DataFrame
    features: tuple[str, ...]
    differences: list[Difference]
    unequal: dict[str, int]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def latest(self) -> int:
        """The time of the latest compared row; 0 without rows or times."""
        times = (
            self.keys["interaction_time"].to_numpy() if "interaction_time" in self.keys.columns else np.zeros(0, int)
        )
        return int(times.max()) if len(times) else 0


def compare(
    folder: str,
    rows: pa.Table,
    others: pa.Table,
    key: Sequence[str],
    features: Sequence[str],
    all_there: bool,
    shown: int = 3,
) -> Compared:
    """Compare columns of the rows that two tables have in common.

    Args:
        folder: for people.
        rows: with one future.
        others: with another.
        key: columns that identify a row; rows with the same key are matched in their order.
        features: columns to compare.
        all_there: whether a row that only one of the tables has is a difference too.
        shown: how many differences of a column are reported.
    """
    one, other = _numbered(rows, key, "row"), _numbered(others, key, "other")
    both = one.join(other, [*key, "_nth"], nulls_equal=True, maintain_order="left")
    unequal: dict[str, int] = {}
    differences: list[Difference] = []
    for name in features:
        values, compared = (t[name].take(both[n].to_arrow()) for t, n in ((rows, "row"), (others, "other")))
        where = np.flatnonzero(differ(values, compared))
        if len(where):
            unequal[name] = len(where)
        for place in where[:shown].tolist():
            pair = (values[place].as_py(), compared[place].as_py())
            differences.append(Difference(name, folder, _key(rows, key, both["row"][place]), pair))
    if all_there:
        sides = ((rows, _lonely(one, other, key), 0), (others, _lonely(other, one, key), 1))
        for table, places, side in sides:
            pair = (_THERE[side], _THERE[1 - side])
            differences += [Difference(ROW, folder, _key(table, key, place), pair) for place in places[:shown].tolist()]
            unequal |= {ROW: unequal.get(ROW, 0) + len(places)} if len(places) else {}

    return Compared(both, tuple(features), differences, unequal)


def _numbered(rows: pa.Table, key: Sequence[str], name: str) -> pl.DataFrame:
    lists = cs.list().cast(pl.List(pl.String)).list.join("\0")
    keys = pl.DataFrame(rows.select(list(key))).with_columns(lists)
    return keys.with_columns(pl.int_range(pl.len()).over(key).alias("_nth")).with_row_index(name)


def _lonely(have: pl.DataFrame, lack: pl.DataFrame, key: Sequence[str]) -> np.ndarray:
    """[m] numbers of the rows that the other table lacks."""
    alone = have.join(lack, on=[*key, "_nth"], how="anti", nulls_equal=True, maintain_order="left")
    return alone[alone.columns[0]].to_numpy()


def _key(rows: pa.Table, key: Sequence[str], place: int) -> dict[str, Any]:
    return {name: rows[name][place].as_py() for name in dict.fromkeys((*KEY, *key)) if name in rows.column_names}


def differ(one: pa.ChunkedArray, other: pa.ChunkedArray) -> np.ndarray:
    """[n] bool: whether two columns differ in a bit of a value; null equals null, and nothing else."""
    one, other = (values.combine_chunks() for values in (one, other))
    if not (pa.types.is_list(one.type) or pa.types.is_fixed_size_list(one.type)):
        return _values_differ(one, other)
    unequal = _values_differ(_lengths(one), _lengths(other))
    same = np.flatnonzero(~unequal)
    flat = [values.take(pa.array(same)) for values in (one, other)]
    owners = np.repeat(same, _lengths(flat[0]).fill_null(0).to_numpy(zero_copy_only=False))
    unequal[owners[_values_differ(*(values.flatten() for values in flat))]] = True
    return unequal


def _lengths(lists: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_list(lists.type):
        return pa.array(np.full(len(lists), lists.type.list_size))
    return lists.value_lengths()


def _values_differ(one: pa.Array, other: pa.Array) -> np.ndarray:
    if pa.types.is_floating(one.type):  # as bits, so that NaN equals itself and -0 is not 0
        one, other = (values.view(pa.int64() if values.type == pa.float64() else pa.int32()) for values in (one, other))
    return pl.Series(one).ne_missing(pl.Series(other)).to_numpy()
