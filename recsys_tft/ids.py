"""Ids: what users call their users, videos and channels, and the int64 codes that stand for them inside a run.

An integer stands for itself. The code of a string or UUID is a hash of 64 bits, and what it was given as stands beside
it, in a column GIVEN + key: once for each user, video and channel, and with an event until it is known whose it is.
Two ids of one code are found where one could be taken for the other, and refused.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import Column
from recsys_tft.errors import InputError
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.storage.hashing import text_hash

GIVEN = "given/"  # before the name of a key: what its codes stand for
Arrow = pa.Array | pa.ChunkedArray


def codes_of(ids: Arrow) -> pa.Array:
    """[n] int64 codes of [n] ids as rows have them, integers, strings or binaries; null for a null."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if pa.types.is_integer(array.type):
        return array
    hashed = text_hash(array).view(np.int64)
    hashed[hashed == EMPTY_IDS] += 1  # which is no id
    return pa.array(hashed, mask=array.is_null().to_numpy(zero_copy_only=False))


def coded(rows: pa.Table, columns: Iterable[Column]) -> pa.Table:
    """Rows with codes in the place of ids that are text, and the ids beside them.

    Args:
        rows: raw rows of a table; strings are binary.
        columns: those of the table, of which `rows` may lack some.
    """
    for column in columns:
        if column.key and column.kind.is_text and column.name in rows.column_names:
            given = rows[column.name]
            codes = _codes_in_lists(given) if column.is_list else codes_of(given)
            rows = rows.set_column(rows.column_names.index(column.name), column.name, codes)
            rows = rows.append_column(GIVEN + column.name, given)
    return rows


def _codes_in_lists(values: Arrow) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.ListArray.from_arrays(offsets, codes_of(array.flatten()), mask=array.is_null())


def beside(names: Iterable[str], rows: pa.Table) -> list[str]:
    """The named columns, each followed by what its codes stand for, where `rows` holds that."""
    return [name for own in names for name in (own, GIVEN + own) if name == own or name in rows.column_names]


def shown(rows: pa.Table) -> pa.Table:
    """Rows with ids as they were given, in the place of their codes."""
    for given in [name for name in rows.column_names if name.startswith(GIVEN)]:
        own = given.removeprefix(GIVEN)
        if own in rows.column_names:
            rows = rows.set_column(rows.column_names.index(own), own, rows[given])
        rows = rows.drop_columns([given])
    return rows


def plain(rows: pa.Table) -> pa.Table:
    """Rows whose lists of ids, and ids, are no dictionaries, as `examples.with_given_ids` makes them."""
    for name, kind in zip(rows.column_names, rows.schema.types, strict=True):
        value = kind.value_type if pa.types.is_list(kind) else kind
        if pa.types.is_dictionary(value):
            wanted = pa.list_(value.value_type) if pa.types.is_list(kind) else value.value_type
            rows = rows.set_column(rows.column_names.index(name), name, rows[name].cast(wanted))
    return rows


def check_same(key: str, ids: Arrow, others: Arrow) -> None:
    """Checks that [n] ids of the same codes are the same.

    Raises:
        InputError: naming two that are not.
    """
    differ = np.flatnonzero(pc.fill_null(pc.not_equal(ids, others), False).to_numpy(zero_copy_only=False))
    if len(differ):
        one, other = (given[int(differ[0])].as_py().decode() for given in (ids, others))
        raise InputError(
            f"the {key}s {one!r} and {other!r} cannot be told apart, as they share a hash of 64 bits; "
            "give one of them another id in every table."
        )
