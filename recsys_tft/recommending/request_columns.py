"""What a request may say of the user and of the moment: an export writes it, so that serving needs no feature table."""

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
_OWN = ("user_id", "interaction_time")  # which a request has by itself
_OF_TRAINING = "counted_video_id"  # which is missing wherever something is served: point_in_time/user_context.py


def of_table(table: FeatureTable) -> tuple[Column, ...]:
    """The columns of users, and those of the moment that features read."""
    users = [column for name, column in table.columns_of("users").items() if name not in (*_OWN, UPDATED)]
    read = [c for c in raw_columns(table.features) if c.table == "interactions" and not c.of_group]
    return (*users, *(column for column in read if column.name not in (*_OWN, _OF_TRAINING)))


def as_json(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """In plain values."""
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


def from_json(found: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """What `as_json` returned."""
    return tuple(
        Column(**{**column, "type": _TYPES[column["type"]], "kind": IdKind(column.get("kind", IdKind.AUTO))})
        for column in found
        if column["name"] != _OF_TRAINING  # of an export of an earlier release
    )


def of_store(store: pathlib.Path) -> tuple[Column, ...]:
    """What the store of an export says; of a release that did not say it, our own.

    Raises:
        InputError: if its description is damaged.
    """
    found = serving_folders.description(store)
    with readable(store / serving_folders.DESCRIPTION, serving_folders.EXPORT_AGAIN):
        return from_json(found[COLUMNS]) if COLUMNS in found else of_table(DEFAULT)


def ids_of_store(store: pathlib.Path) -> dict[str, IdKind]:
    """What the ids of an export are, by key; of a release that did not say it, integers.

    Raises:
        InputError: if its description is damaged.
    """
    from recsys_tft.configuration import settings  # which only an export needs

    found = settings.parse_ids(serving_folders.description(store)["settings"], str(store / serving_folders.DESCRIPTION))
    return {key: found.kinds.get(key, IdKind.INTEGER) for key in KEYS.values()}
