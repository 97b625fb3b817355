"""Ids of users, videos and channels, and their int64 codes inside a run.

An integer is its own code. The code of a string or UUID is a hash of 64 bits; the original id is in a column
GIVEN + key: once for each user, video and channel, and with each event until it is joined. Two ids with the same code
are detected and refused.
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
GIVEN = "given/"  # prefix of the original ids of a key
Arrow: TypeAlias = pa.Array | pa.ChunkedArray


def codes_of(ids: Arrow) -> pa.Array:
    """[n] int64 codes of [n] ids as rows have them, integers, strings or binaries; null for a null."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if pa.types.is_integer(array.type):
        return array
    hashed = text_hash(array).view(np.int64)
    hashed[hashed == EMPTY_IDS] += 1  # the missing id
    return pa.array(hashed, mask=array.is_null().to_numpy(zero_copy_only=False))


def ranks(ids: Arrow, kind: IdKind) -> np.ndarray:
    """[n] int64 ranks of [n] ids as rows have them; strings are compared by their bytes."""
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if pa.types.is_integer(array.type):
        return array.to_numpy()
    order = pc.rank(array, tiebreaker="dense").to_numpy().astype(np.int64)
    if kind is IdKind.UINT64:  # of numbers in decimal, the longer one is larger
        order += pc.binary_length(array).to_numpy().astype(np.int64) << 40
    return order


def text_of(value: Any, kind: IdKind) -> str:
    """Convert an id to text as rows have it, for kinds that are text.

    UUIDs may be in any case, 16 bytes, or uuid.UUID; ids of the kind UINT64 may be integers.

    Raises:
        ValueError: if it is not an id of this kind.
    """
    if kind is IdKind.UUID and isinstance(value, bytes) and len(value) == 16:
        value = uuid.UUID(bytes=value)
    if isinstance(value, bytes):
        value = value.decode()
    is_number = kind is IdKind.UINT64 and isinstance(value, int | np.integer) and not isinstance(value, bool)
    text = str(value) if is_number or (kind is IdKind.UUID and isinstance(value, uuid.UUID)) else value
    if not isinstance(text, str) or not re.fullmatch(_PATTERNS[kind], text):
        raise ValueError(f"is {value!r}; expected {WANTED[kind]}")
    text.encode()  # fails for lone surrogates
    return text.lower() if kind is IdKind.UUID else text


def printed(value: int | str) -> str:
    """An id for a terminal, with control and other invisible characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def coded(rows: pa.Table, columns: Iterable[Column]) -> pa.Table:
    """Replace text ids by codes, with the original ids in columns beside them.

    Args:
        rows: raw rows of a table; strings are binary.
        columns: those of the table, of which `rows` may lack some.
    """
    for column in columns:
        if column.key and column.kind.is_text and column.name in rows.column_names:
            original = rows[column.name]
            codes = in_lists(original, codes_of) if column.is_list else codes_of(original)
            rows = rows.set_column(rows.column_names.index(column.name), column.name, codes)
            rows = rows.append_column(GIVEN + column.name, original)
    return rows


def in_lists(lists: Arrow, change: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Apply a function to the elements of lists, all of them at once."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.ListArray.from_arrays(offsets, change(array.flatten()), mask=array.is_null())


def beside(names: Iterable[str], rows: pa.Table) -> list[str]:
    """The named columns, each followed by the column of its original ids, if `rows` has it."""
    return [name for key in names for name in (key, GIVEN + key) if name == key or name in rows.column_names]


def shown(rows: pa.Table) -> pa.Table:
    """Replace codes by the original ids."""
    for prefixed in [name for name in rows.column_names if name.startswith(GIVEN)]:
        key = prefixed.removeprefix(GIVEN)
        if key in rows.column_names:
            rows = rows.set_column(rows.column_names.index(key), key, rows[prefixed])
        rows = rows.drop_columns([prefixed])
    return rows


def plain(rows: pa.Table) -> pa.Table:
    """Decode dictionaries of ids and of lists of ids, as made by `examples.with_given_ids`."""
    for name, kind in zip(rows.column_names, rows.schema.types, strict=True):
        value = kind.value_type if pa.types.is_list(kind) else kind
        if pa.types.is_dictionary(value):
            unpacked = pa.list_(value.value_type) if pa.types.is_list(kind) else value.value_type
            rows = rows.set_column(rows.column_names.index(name), name, rows[name].cast(unpacked))
    return rows


def check_same(key: str, ids: Arrow, others: Arrow) -> None:
    """Check that [n] ids with the same codes are equal.

    Raises:
        InputError: naming two that differ.
    """
    differ = np.flatnonzero(pc.fill_null(pc.not_equal(ids, others), False).to_numpy(zero_copy_only=False))
    if len(differ):
        one, other = (values[int(differ[0])].as_py().decode() for values in (ids, others))
        raise InputError(
            f"the {key}s {one!r} and {other!r} cannot be told apart, as they share a hash of 64 bits; "
            "give one of them another id in every table."
        )
