"""Checks of single rows, with reasons why they cannot be used."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import END_OF_TIME, UPDATED, Column
from recsys_tft.missing import nulled
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.tables.conversions import Faults

_SECONDS_TO_2200 = END_OF_TIME // 10**6
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def without_missing(rows: pa.Table, columns: Mapping[str, Column]) -> pa.Table:
    """The rows with null for each missing value; keys stay, so that rejected rows show theirs.

    Args:
        rows: all columns of a table.
        columns: of the table, by name.
    """
    # Durations of 0 are counted and replaced later: see entities.known_durations.
    zeros = {name: column.zero_is_missing and not column.built_in for name, column in columns.items()}
    values = {
        name: rows[name] if column.required else nulled(rows[name], zeros[name]) for name, column in columns.items()
    }
    return pa.table(values)


def check_rows(
    rows: pa.Table, columns: Mapping[str, Column], types: Sequence[str], unreadable: Mapping[str, Faults]
) -> pa.Array:
    """For each row the first reason why it cannot be used, as a string; null for a usable row.

    Args:
        rows: all columns of a table, as `without_missing` returns them.
        columns: of the table, by name.
        types: allowed values of `interaction_type`; empty without that column.
        unreadable: by column and reason a mask [n] bool of values that could not be read, and are null in `rows`.
    """
    reasons = np.full(len(rows), None, object)
    for column in reversed(list(columns.values())):
        for reason, bad in reversed(_faults(rows[column.name], column, types)):
            reasons[np.asarray(bad)] = f"{column.name} {reason}"
        for reason, bad in unreadable.get(column.name, {}).items():
            reasons[bad] = f"{column.name} {reason}"
    return pa.array(reasons, pa.string())


def _faults(values: pa.ChunkedArray, column: Column, types: Sequence[str]) -> list[tuple[str, pa.ChunkedArray]]:
    """(reason, [n] bool) for each way in which a value of the column can be unusable, the most important first."""
    faults = []
    required = column.required or column.name == UPDATED
    if required:
        faults.append(("is null", values.is_null()))
    if required and pa.types.is_string(column.type):
        faults.append(("is empty", pc.equal(pc.binary_length(values), 0)))
    if required and pa.types.is_integer(column.type):
        faults.append((f"is {EMPTY_IDS}, which is no id", pc.equal(values, EMPTY_IDS)))
    if column.minimum is not None and pa.types.is_floating(column.type):
        faults.append(("is infinite", pc.is_inf(values)))
    if column.minimum is not None:
        below = "is negative" if column.minimum == 0 else f"is below {column.minimum}"
        faults.append((below, pc.less(values, column.minimum)))
    if required and pa.types.is_timestamp(column.type):
        faults.append(("is not a time between 1970 and 2200", _outside_time(values)))
    if column.name == "interaction_type" and types:
        is_known = pc.is_in(values, pa.array(types, values.type))
        faults.append((f"is none of {', '.join(types)}", pc.invert(is_known)))
    return [(reason, pc.fill_null(bad, False)) for reason, bad in faults]


def _outside_time(times: pa.ChunkedArray) -> pa.ChunkedArray:
    numbers = times.cast(pa.int64())
    limit = _SECONDS_TO_2200 * _PER_SECOND[times.type.unit]
    return pc.or_(pc.less(numbers, 0), pc.greater_equal(numbers, limit))
