"""The setting `columns`: what a user's tables call the columns, and what times that are numbers count."""

from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa

from recsys_tft.columns import TABLES, columns_of
from recsys_tft.configuration.setting_types import Section
from recsys_tft.errors import did_you_mean

UNITS = ("s", "ms", "us", "ns")


class ColumnSettings(Section):
    """One column of a user's.

    Attributes:
        name: what we call it; as the user does by default.
        unit: of a time that is a number, what it counts since 1970 UTC.
    """

    name: str | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None


def check(columns: Any) -> Any:
    """The setting as it is given, if it says what pydantic's own messages would not say well.

    Raises:
        ValueError: naming table and column, as a sentence that goes on from `columns`.
    """
    if not isinstance(columns, Mapping):
        return columns
    for table, entries in columns.items():
        if table not in TABLES:
            raise ValueError(f"has the unknown table '{table}'.{did_you_mean(str(table), TABLES)}")
        if isinstance(entries, Mapping):
            _check_table(table, entries)
    return columns


def _check_table(table: str, entries: Mapping[Any, Any]) -> None:
    names = []
    for own, entry in entries.items():
        given = entry.model_dump() if isinstance(entry, ColumnSettings) else entry
        if isinstance(given, Mapping):
            name, unit = given.get("name") or own, given.get("unit")
            for key in given:
                if key not in ("name", "unit"):
                    raise ValueError(f"has for '{own}' of {table} the unknown key '{key}'; it takes name and unit")
        else:
            name, unit = given, None
        if not isinstance(own, str) or not isinstance(name, str):
            raise ValueError(f"maps {own!r} of {table} to {name!r}; both are names of columns")
        if name not in columns_of(table):
            raise ValueError(
                f"maps '{own}' of {table} to the unknown column '{name}'.{did_you_mean(name, columns_of(table))}"
            )
        _check_unit(table, own, name, unit)
        names.append(name)
    if len(set(names)) < len(names):
        raise ValueError(f"maps two columns of {table} to one name in {dict(zip(entries, names, strict=True))}")


def _check_unit(table: str, own: str, name: str, unit: Any) -> None:
    if unit is None:
        return
    if unit not in UNITS:
        raise ValueError(f"has for '{own}' of {table} the unit {unit!r}; expected one of {', '.join(UNITS)}")
    if not pa.types.is_timestamp(columns_of(table)[name].type):
        raise ValueError(f"has for '{own}' of {table} a unit, but {name} is no time")


def names_and_units(mapping: Mapping[str, str | ColumnSettings]) -> tuple[dict[str, str], dict[str, str]]:
    """Of one table, by our names: what the user calls a column, and what one that is a number counts."""
    names, units = {}, {}
    for own, entry in mapping.items():
        name = entry if isinstance(entry, str) else entry.name or own
        names[name] = own
        if not isinstance(entry, str) and entry.unit is not None:
            units[name] = entry.unit
    return names, units
