"""The setting `columns`: the user's names of columns, and the units of numeric times."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pyarrow as pa

from recsys_tft.columns import TABLES, Column
from recsys_tft.configuration.setting_types import Section
from recsys_tft.errors import FindingsError, did_you_mean
from recsys_tft.features import FeatureTable

UNITS = ("s", "ms", "us", "ns")


class ColumnSettings(Section):
    """A column of the user's tables.

    Attributes:
        name: our name of it; by default the same.
        unit: of numeric times, counted since 1970 UTC.
    """

    name: str | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None


def check(columns: Any, known: FeatureTable) -> Any:
    """Check the setting for errors for which pydantic's messages would be unclear, and return it.

    Raises:
        ValueError: naming table and column, as a sentence that goes on from `columns`.
    """
    if not isinstance(columns, Mapping):
        return columns
    FindingsError.check([finding for table, entries in columns.items() for finding in _wrong(table, entries, known)])
    return columns


def _wrong(table: Any, entries: Any, features: FeatureTable) -> Iterator[str]:
    """Problems with the names of one table's columns."""
    if table not in TABLES:
        yield f"has the unknown table '{table}'.{did_you_mean(str(table), TABLES)}"
        return
    if not isinstance(entries, Mapping):
        return  # pydantic's message is clear
    columns, names = features.columns_of(table), {theirs: _name(theirs, entry) for theirs, entry in entries.items()}
    for theirs, name in names.items():
        if not isinstance(theirs, str) or not isinstance(name, str):
            yield f"maps {theirs!r} of {table} to {name!r}; both are names of columns"
        elif name not in columns:
            yield f"maps '{theirs}' of {table} to the unknown column '{name}'.{did_you_mean(name, columns)}"
        else:
            yield from _wrong_entry(table, theirs, entries[theirs], columns[name])
            if theirs in columns and theirs != name and theirs not in names.values():
                yield (
                    f"maps '{theirs}' of {table} to '{name}', but '{theirs}' is our name of another column, which "
                    "would be read from it too; say what that one is called"
                )
    if len(set(map(str, names.values()))) < len(names):
        yield f"maps two columns of {table} to one name in {names}"


def _name(theirs: Any, entry: Any) -> Any:
    fields = entry.model_dump() if isinstance(entry, ColumnSettings) else entry
    return (fields.get("name") or theirs) if isinstance(fields, Mapping) else fields


def _wrong_entry(table: str, theirs: str, entry: Any, column: Column) -> Iterator[str]:
    fields = entry.model_dump() if isinstance(entry, ColumnSettings) else entry
    if not isinstance(fields, Mapping):
        return
    for key in fields:
        if key not in ("name", "unit"):
            yield f"has for '{theirs}' of {table} the unknown key '{key}'; it takes name and unit"
    unit = fields.get("unit")
    if unit is not None and unit not in UNITS:
        yield f"has for '{theirs}' of {table} the unit {unit!r}; expected one of {', '.join(UNITS)}"
    elif unit is not None and not pa.types.is_timestamp(column.type):
        yield f"has for '{theirs}' of {table} a unit, but {column.name} is no time"


def names_and_units(mapping: Mapping[str, str | ColumnSettings]) -> tuple[dict[str, str], dict[str, str]]:
    """The user's names of one table's columns, and the units of numeric ones, by our names."""
    names: dict[str, str] = {}
    units: dict[str, str] = {}
    for theirs, entry in mapping.items():
        name = entry if isinstance(entry, str) else entry.name or theirs
        names[name] = theirs
        if not isinstance(entry, str) and entry.unit is not None:
            units[name] = entry.unit
    return names, units
