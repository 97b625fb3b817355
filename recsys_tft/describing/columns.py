"""Describes the columns of a table by sketches, over the rows of each split."""

import dataclasses
import enum
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.describing.sketches import Numbers, Rows, Sums, Values

DAY = 86_400_000_000  # microseconds
HOUR = DAY // 24
WIDEST = 64  # most components of vectors with a count of the position of their largest value

Sketch = Sums | Numbers | Values
Key = tuple[str, str, str]  # data set, column (or ROWS), and name of a sketch
Described = dict[Key, Sketch]

ROWS = ""  # in the place of a column: sketches of the rows themselves
COUNT, CLUSTERS = "count", "clusters"  # of ROWS: their number; how unevenly they are divided among users and videos


class Kind(enum.StrEnum):
    """The kind of values in a column."""

    NUMBER = "number"
    TOKEN = "token"
    TEXT = "text"  # or booleans: each value is counted
    ID = "id"
    TIME = "time"  # microseconds since 1970, counted by days
    MOMENT = "moment"  # likewise, by hours
    VECTOR = "vector"
    LENGTH = "length"  # lists of which only the lengths are described


def describe(table: pa.Table, kinds: Mapping[str, Kind], rows: Rows, data_set: str) -> Described:
    """Describe the columns of a table, over the rows of each split.

    Args:
        table: raw or engineered rows.
        kinds: of the columns to describe; those that the table lacks are skipped.
        rows: of the table in each split.
        data_set: its name.

    Returns:
        Sketches by data set, column and name: `missing` rows, `numbers`, `tokens`, `values`, `lengths` of lists,
        `norms` of vectors and `largest`, the positions of their largest values.
    """
    found: Described = {}
    for name, kind in kinds.items():
        if name in table.column_names:
            for what, sketch in _column(_whole(table[name]), kind, rows).items():
                found[data_set, name, what] = sketch
    return found


def count_rows(rows: Rows, data_set: str, users: Rows | None = None, videos: Rows | None = None) -> Described:
    """Count the rows of each split of a data set, and their distribution over users and videos.

    The sums of squared row counts of users and videos give the effective number of independent rows; the last line
    counts the parts in which videos were counted separately.
    """
    count = rows.sums(np.ones(len(rows.places), np.int64))
    squares = [count if each is None else each.sums(_counts(each)) for each in (users, videos)]
    parts = np.zeros_like(count) if videos is None else (count > 0).astype(np.int64)
    clusters = np.stack([*squares, parts])
    return {(data_set, ROWS, COUNT): Sums(count[None]), (data_set, ROWS, CLUSTERS): Sums(clusters)}


def _counts(rows: Rows) -> np.ndarray:
    return np.ones(len(rows.places), np.int64) if rows.counts is None else rows.counts


def merge(parts: Sequence[Described]) -> Described:
    """Merge the descriptions of parts."""
    found: dict[Key, list[Any]] = {}
    for part in parts:
        for key, sketch in part.items():
            found.setdefault(key, []).append(sketch)
    return {key: same[0] if len(same) == 1 else same[0].merge(same) for key, same in sorted(found.items())}


@dataclasses.dataclass(frozen=True)
class Parcel:
    """The description of some rows as bytes: one object for a runner to send, instead of hundreds in a dictionary."""

    data: bytes

    @classmethod
    def of(cls, described: Described) -> "Parcel":
        return cls(pickle.dumps(described, pickle.HIGHEST_PROTOCOL))

    def opened(self) -> Described:
        """The description in the parcel."""
        return pickle.loads(self.data)


def merge_parcels(parts: Sequence[Parcel]) -> Parcel:
    """Merge parcels into one."""
    return Parcel.of(merge([part.opened() for part in parts]))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
    kind = array.type
    if not (_is_list(kind) and pa.types.is_dictionary(kind.value_type)):
        return array
    return array.cast(pa.list_(kind.value_type.value_type))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _column(array: pa.Array, kind: Kind, rows: Rows) -> dict[str, Sketch]:
    if kind is Kind.VECTOR:
        return _vectors(array, rows)
    if not _is_list(array.type):
        return _scalars(array, kind, rows)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    own = lengths[rows.places]
    found: dict[str, Sketch] = {"missing": Sums(rows.sums(own == 0)[None])}
    found["lengths"] = Numbers.of_tokens(own, rows)
    if kind is Kind.LENGTH:
        return found
    elements = rows.elements(np.append(0, np.cumsum(lengths)))
    told = _scalars(array.flatten(), kind, elements)
    return {**told, **found}


def _scalars(array: pa.Array, kind: Kind, rows: Rows) -> dict[str, Sketch]:
    if kind is Kind.TOKEN:
        tokens = array.to_numpy(zero_copy_only=False)[rows.places]
        return {"missing": Sums(rows.sums(tokens == 0)[None]), "tokens": Numbers.of_tokens(tokens, rows)}
    if kind is Kind.NUMBER:
        values, present = _numbers(array)
    else:
        present = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    found: dict[str, Sketch] = {}
    lacking = np.zeros(len(rows.places), bool) if present is None else ~present[rows.places]
    found["missing"] = Sums(rows.sums(lacking)[None])
    if lacking.any():
        rows = rows.chosen(~lacking)
    if kind is Kind.NUMBER:
        found["numbers"] = Numbers.of(values[rows.places], rows)
    elif kind in (Kind.TIME, Kind.MOMENT):
        times = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        step = DAY if kind is Kind.TIME else HOUR
        found["steps"] = _steps(times[rows.places] // step, rows)
    elif kind in (Kind.TEXT, Kind.ID):
        found["values"] = Values.of(array, rows, keep_values=kind is Kind.TEXT)
    return found


def _steps(times: np.ndarray, rows: Rows) -> Numbers:
    """Count whole days or hours since 1970; all before it as one."""
    return Numbers.of_steps(np.maximum(times, 0), rows)


def _numbers(array: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """[n] float32, and [n] bool whether they are finite; None if all are."""
    if array.null_count:
        array = pc.fill_null(array.cast(pa.float64(), safe=False), np.nan)
    values = array.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    present = np.isfinite(values)
    return values, None if present.all() else present


def _vectors(array: pa.Array, rows: Rows) -> dict[str, Sketch]:
    """Norms, and for narrow vectors the position of the largest value, which is the category of one-hot ones."""
    flat = array.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    vectors = flat.reshape(len(array), -1) if len(array) else np.zeros((0, 1), np.float32)
    norms = np.sqrt(np.square(vectors.astype(np.float64)).sum(1)).astype(np.float32)[rows.places]
    found: dict[str, Sketch] = {"missing": Sums(rows.sums(norms == 0)[None]), "norms": Numbers.of(norms, rows)}
    if vectors.shape[1] <= WIDEST:
        present = rows.chosen(norms > 0)
        found["largest"] = Numbers.of_tokens(vectors.argmax(1)[present.places], present)
    return found
