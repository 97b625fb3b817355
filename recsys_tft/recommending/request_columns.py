"""The columns that a request may have: written by an export, so that serving needs no feature table."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_tft.columns import KEYS, TYPES, UPDATED, Column, IdKind
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import readable
from recsys_tft.features import FeatureTable, raw_columns
from recsys_tft.serving import serving_folders

COLUMNS = "columns"  # the key in the description of an export
_TYPES = {str(kind): kind for kind in TYPES}
_OWN = ("user_id", "interaction_time")  # fields of a request
_OF_TRAINING = "counted_video_id"  # always missing in serving: point_in_time/user_context.py


def columns_of_table(table: FeatureTable) -> tuple[Column, ...]:
    """The columns of users, and those of the moment that features read."""
    users = [column for name, column in table.columns_of("users").items() if name not in (*_OWN, UPDATED)]
    read = [c for c in raw_columns(table.features) if c.table == "interactions" and not c.of_group]
    return (*users, *(column for column in read if column.name not in (*_OWN, _OF_TRAINING)))


def as_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The columns as plain values."""
    return [
        {
            "name": column.name,
            "table": column.table,
            "type": str(column.type),
            "minimum": column.minimum,
            "zero_is_missing": column.zero_is_missing,
            **({"key": column.key, "kind": str(column.kind)} if column.key and column.kind.is_text else {}),
        }
        for column in columns
    ]


def from_json(entries: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The inverse of `as_json`."""
    return tuple(
        Column(**{**column, "type": _TYPES[column["type"]], "kind": IdKind(column.get("kind", IdKind.AUTO))})
        for column in entries
        if column["name"] != _OF_TRAINING  # of an export of an earlier release
    )


def read_columns(store: pathlib.Path) -> tuple[Column, ...]:
    """The columns of an export; the default ones for exports of releases that did not write them.

    Raises:
        InputError: if its description is damaged.
    """
    description = serving_folders.description(store)
    with readable(store / serving_folders.DESCRIPTION, serving_folders.EXPORT_AGAIN):
        return from_json(description[COLUMNS]) if COLUMNS in description else columns_of_table(DEFAULT)


def read_id_kinds(store: pathlib.Path) -> dict[str, IdKind]:
    """The kinds of ids of an export, by key; integers for exports of releases that did not write them.

    Raises:
        InputError: if its description is damaged.
    """
    from recsys_tft.configuration import settings  # which only an export needs

    id_settings = settings.parse_ids(
        serving_folders.description(store)["settings"], str(store / serving_folders.DESCRIPTION)
    )
    return {key: id_settings.kinds.get(key, IdKind.INTEGER) for key in KEYS.values()}
