"""Detects the kinds of ids in the user's tables, which must agree in all tables with the key.

The type decides, except that bytes may be text or UUIDs, uint64 may exceed 2^63 - 1, and CSV text may be anything; then
some rows of each file are inspected.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import KEYS, TABLES, IdKind
from recsys_tft.configuration.column_settings import ColumnSettings, names_and_units
from recsys_tft.features import FeatureTable
from recsys_tft.tables import conversions, stored_rows
from recsys_tft.tables.arrow_kinds import is_binary, is_number, is_text, value_type
from recsys_tft.tables.conversions import mask_of
from recsys_tft.tables.sources import CSV, Described
from recsys_tft.tables.table_checks import Problem

INTEGER, UINT64, STRING, UUID = IdKind.INTEGER, IdKind.UINT64, IdKind.STRING, IdKind.UUID
_IN_WORDS = {INTEGER: "integers", UINT64: "integers", STRING: "strings", UUID: "UUIDs"}
_TOLERATED = 20  # one of this many ids in a CSV file may be no integer without all being taken for strings


@dataclasses.dataclass(frozen=True)
class _Found:
    """The possible kinds of the ids of one key in one file, the likeliest first."""

    path: str
    column: str
    type: pa.DataType
    kinds: tuple[IdKind, ...]

    def __str__(self) -> str:
        return f"{_IN_WORDS[self.kinds[0]]} in {self.path} (column '{self.column}', {self.type})"


def find(
    files: Mapping[str, Sequence[Described]],
    columns: Mapping[str, Mapping[str, str | ColumnSettings]],
    features: FeatureTable,
    problems: list[Problem],
) -> dict[str, IdKind]:
    """The kind of ids by key; kinds given by the feature table are kept. A key without ids is left out.

    Args:
        files: of each table.
        columns: the setting with the user's names of columns.
        features: the table with the columns of ids.
        problems: extended by a sentence for each key with several kinds.
    """
    kinds = {}
    for key in KEYS.values():
        kind = features.raw[key].kind
        if kind is IdKind.AUTO:
            evidence = list(_evidence(key, files, columns, features))
            common = _common(evidence)
            if common is None:
                one, other = _conflicting(evidence)
                text = f"{key}: it has {one}, but {other}; expected the same kind in every table."
                problems.append(Problem("", text))
                continue
            kind = common
        kinds[key] = kind
    return kinds


def _common(evidence: Sequence[_Found]) -> IdKind | None:
    """The kind that all files may have; integers without evidence."""
    possible = [kind for kind in (INTEGER, UINT64, STRING, UUID) if all(kind in one.kinds for one in evidence)]
    return possible[0] if possible else None


def _conflicting(evidence: Sequence[_Found]) -> tuple[_Found, _Found]:
    """Two files without a kind in common."""
    pairs = ((one, other) for place, one in enumerate(evidence) for other in evidence[place + 1 :])
    apart = [pair for pair in pairs if _common(pair) is None]
    return apart[0] if apart else (evidence[0], evidence[-1])


def _evidence(
    key: str,
    files: Mapping[str, Sequence[Described]],
    columns: Mapping[str, Mapping[str, str | ColumnSettings]],
    features: FeatureTable,
) -> Iterator[_Found]:
    for table in TABLES:
        columns_of_table = features.columns_of(table)
        names = stored_rows.stored_names(columns_of_table, names_and_units(columns.get(table, {}))[0])
        key_columns = [name for name, column in columns_of_table.items() if column.key == key and not column.is_list]
        for name in key_columns:
            for file in files[table]:
                yield from _kinds_of_file(file, names.get(name), KEYS.get(table) == key)


def _kinds_of_file(file: Described, column: str | None, is_own: bool) -> Iterator[_Found]:
    """The kinds in a column of a file, if it exists and has values; is_own: whether it is the key of the table."""
    types = [kind for name, kind in file.columns if name == column]
    if len(types) != 1 or not file.rows or column is None:
        return
    stored = value_type(types[0])
    kinds: tuple[IdKind, ...]
    if stored == pa.uint64():
        large = is_own and mask_of(pc.greater(_sample(file, column), pa.scalar(2**63 - 1, pa.uint64()))).any()
        kinds = (UINT64,) if large else (INTEGER, UINT64)
    elif is_number(stored):
        kinds = (INTEGER, UINT64)
    elif is_text(stored):
        kinds = _kinds_of_texts(_sample(file, column), is_own) if file.file.format == CSV else (STRING,)
    elif stored == pa.binary(16):
        kinds = (UUID,)
    elif is_binary(stored):
        kinds = _kinds_of_binaries(_sample(file, column))
    else:
        return
    if kinds:
        yield _Found(file.file.path, column, types[0], kinds)


def _sample(file: Described, column: str) -> pa.Array:
    """The values of the first rows."""
    values = stored_rows.read(file.sources[0], {column: column}, sample=True)[column].combine_chunks()
    return values.cast(value_type(values.type))


def _kinds_of_texts(values: pa.Array, is_own: bool) -> tuple[IdKind, ...]:
    """Possible kinds of text without a type: strings, if numbers are padded or many values are not numbers."""
    texts = values.drop_null()
    if not len(texts):
        return ()
    _, faults = conversions.whole_from_text(texts)
    large, broken = faults[conversions.TOO_LARGE], faults[conversions.NOT_WHOLE]
    padded = mask_of(pc.match_substring_regex(texts, r"^\s*-?0\d+\s*$"))
    if padded.any() or broken.sum() * _TOLERATED > len(texts):
        are_uuids = mask_of(pc.match_substring_regex(texts, conversions.UUID_TEXT)).all()
        return (STRING, UUID) if are_uuids else (STRING,)
    return (UINT64, STRING) if is_own and large.any() else (INTEGER, UINT64, STRING)


def _kinds_of_binaries(values: pa.Array) -> tuple[IdKind, ...]:
    """Possible kinds of bytes: UUIDs, if all have 16 bytes and some are not text."""
    values = values.cast(pa.binary())
    if pc.any(pc.not_equal(pc.binary_length(values), 16)).as_py():
        return (STRING,)
    _, faults = conversions.text_from_binary(values)
    return (UUID,) if faults else (STRING, UUID)
