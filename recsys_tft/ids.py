"""Ids: the user's ids of users, videos and channels, and the int64 codes that stand for them inside a run.

An integer stands for itself. The code of a string or UUID is a hash of 64 bits, and what it was given as stands beside
it, in a column GIVEN + key: once for each user, video and channel, and with an event until it is known whose it is.
Two ids of one code are found where one could be taken for the other, and refused.
"""

import re
import uuid
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import Column, IdKind
from recsys_tft.errors import InputError
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.storage.hashing import text_hash

WANTED = {
    IdKind.AUTO: "an integer",
    IdKind.INTEGER: "an integer",
    IdKind.UINT64: "an integer of 64 bits",
    IdKind.STRING: "a string",
    IdKind.UUID: "a UUID such as 123e4567-e89b-12d3-a456-426614174000",
}
UUID_PATTERN = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_PATTERNS = {
    IdKind.UINT64: r"-?(0|[1-9][0-9]{0,19})",
    IdKind.STRING: r"(?s).+",
    IdKind.UUID: UUID_PATTERN,
}
GIVEN = "given/"  # before the name of a key: what its codes stand for
Arrow: TypeAlias = pa.Array | pa.ChunkedArray


def codes_of(ids: Arrow) -> pa.Array:
    """[n] int64 codes of [n] ids as rows have them, integers, strings or binaries; null for a null."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if pa.types.is_integer(array.type):
        return array
    hashed = text_hash(array).view(np.int64)
    hashed[hashed == EMPTY_IDS] += 1  # which is no id
    return pa.array(hashed, mask=array.is_null().to_numpy(zero_copy_only=False))


def ranks(ids: Arrow, kind: IdKind) -> np.ndarray:
    """[n] int64 numbers that are in the order of [n] ids as rows have them; strings are compared by their bytes."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if pa.types.is_integer(array.type):
        return array.to_numpy()
    found = pc.rank(array, tiebreaker="dense").to_numpy().astype(np.int64)
    if kind is IdKind.UINT64:  # of numbers in decimal, the longer one is larger
        found += pc.binary_length(array).to_numpy().astype(np.int64) << 40
    return found


def text_of(value: Any, kind: IdKind) -> str:
    """An id that a person or a program gives, as rows have it; of kinds that are text.

    UUIDs may be in any case, of 16 bytes, or uuid.UUID; numbers of the kind UINT64 may be integers.

    Raises:
        ValueError: if it is none.
    """
    if kind is IdKind.UUID and isinstance(value, bytes) and len(value) == 16:
        value = uuid.UUID(bytes=value)
    if isinstance(value, bytes):
        value = value.decode()
    is_number = kind is IdKind.UINT64 and isinstance(value, int | np.integer) and not isinstance(value, bool)
    text = str(value) if is_number or (kind is IdKind.UUID and isinstance(value, uuid.UUID)) else value
    if not isinstance(text, str) or not re.fullmatch(_PATTERNS[kind], text):
        raise ValueError(f"is {value!r}; expected {WANTED[kind]}")
    text.encode()  # not so a part of a surrogate pair
    return text.lower() if kind is IdKind.UUID else text


def printed(value: int | str) -> str:
    """An id for a terminal, with control and other invisible characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def coded(rows: pa.Table, columns: Iterable[Column]) -> pa.Table:
    """Rows with codes in the place of ids that are text, and the ids beside them.

    Args:
        rows: raw rows of a table; strings are binary.
        columns: those of the table, of which `rows` may lack some.
    """
    for column in columns:
        if column.key and column.kind.is_text and column.name in rows.column_names:
            given = rows[column.name]
            codes = in_lists(given, codes_of) if column.is_list else codes_of(given)
            rows = rows.set_column(rows.column_names.index(column.name), column.name, codes)
            rows = rows.append_column(GIVEN + column.name, given)
    return rows


def in_lists(lists: Arrow, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Lists whose elements are changed, all of them at once."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.ListArray.from_arrays(offsets, change(array.flatten()), mask=array.is_null())


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
    """Check that [n] ids of the same codes are the same.

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
