"""Records of the feature table of a run or a model as plain values, and differences from the current table.

They are in the manifest of a run and in each model trained on it, so that later commands need no option for it.
"""

import dataclasses
import enum
import re
from collections.abc import Iterator, Mapping
from typing import Any

from recsys_tft import feature_tables
from recsys_tft.errors import FindingsError, InputError, findings, redacted
from recsys_tft.features import FeatureTable
from recsys_tft.vocabularies import Vocabulary

RECORD = "feature_table"  # the key beside `settings`
_KINDS = {"columns": "column", "signals": "signal", "features": "feature"}
Record = Mapping[str, Any]


def record(name: str | None) -> dict[str, Any] | None:
    """The record of a user's table; None for the default one.

    Args:
        name: `features` of the settings.
    """
    if name is None:
        return None
    place, table = feature_tables.place_of(name), feature_tables.load(name)
    where = {"module": place.module, "file": place.relative(place.file), "root": str(place.root)}
    return where | {"code": feature_tables.code_of(name)} | described(table)


def described(table: FeatureTable) -> dict[str, dict[str, dict[str, str]]]:
    """Each column, signal and feature as texts."""
    return {
        "columns": {f"{column.table}.{column.name}": _fields(column) for column in table.columns},
        "signals": {signal.name: _fields(signal) for signal in table.signals},
        "features": {
            feature.name: {
                "op": text_of(feature.op),
                "sources": ", ".join(feature.sources),
                "used_by": ", ".join(use.value for use in feature.used_by),
                "option": str(feature.option),
            }
            for feature in table.features
        },
    }


def _fields(row: Any) -> dict[str, str]:
    names = [field.name for field in dataclasses.fields(row) if field.name not in ("name", "table", "key", "kind")]
    return {name: text_of(getattr(row, name)) for name in names}


def text_of(value: Any) -> str:
    """A value of a table as text, such as `Lookup(surface, n_oov=2)`: objects without their defaults."""
    if hasattr(value, "__qualname__"):  # a class or a function
        return value.__qualname__
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, Vocabulary) and value == Vocabulary(value.name):
        return value.name
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}({', '.join(_arguments(value))})"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(text_of, value))}]"
    plain: object = object.__repr__
    if type(value).__repr__ is plain:
        attributes = ", ".join(f"{name}={text_of(attribute)}" for name, attribute in sorted(vars(value).items()))
        return f"{type(value).__name__}({attributes})"
    return redacted(re.sub(r" at 0x[0-9a-f]+", "", str(value)))


def _arguments(value: Any) -> Iterator[str]:
    for place, field in enumerate(dataclasses.fields(value)):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        text = text_of(getattr(value, field.name))
        if default is dataclasses.MISSING or text != text_of(default):
            yield text if not place or default is dataclasses.MISSING else f"{field.name}={text}"


def check(document: Mapping[str, Any], source: str) -> None:
    """Refuse a table that is not the one that made a run or a model.

    Args:
        document: a manifest or description with `settings` and the result of `record`.
        source: its path, for errors.

    Raises:
        InputError: naming each difference, or the former path of the module if it is gone.
    """
    recorded = document.get(RECORD)
    if recorded is None:
        return
    name = document["settings"]["features"]
    try:
        now = record(name)
    except FindingsError as error:
        raise findings(source, [f"features {text.rstrip('.')}." for text in error.sentences]) from error
    assert now is not None
    if changes := list(_changes(recorded, now)):
        remedy = "undo that, or run the main job again"
        raise InputError(
            f"{source}: the feature table {recorded['module']} in {now['root']} differs from the one that made this: "
            f"{'; '.join(changes)}; {remedy}."
        )


def _changes(made: Record, now: Record) -> Iterator[str]:
    for key, kind in _KINDS.items():
        yield from _differences(kind, made[key], now[key])
    for file in sorted(made["code"].keys() | now["code"].keys()):
        if made["code"].get(file) != now["code"].get(file):
            yield f"the code of {file} has changed since the run"


def _differences(kind: str, made: Mapping[str, Record], now: Mapping[str, Record]) -> Iterator[str]:
    for name, row in made.items():
        if name not in now:
            yield f"the {kind} '{name}' is gone"
            continue
        for field, value in row.items():
            if (other := now[name].get(field)) != value:
                what = "" if field == "op" else f"{field} "
                yield f"the {kind} '{name}' was {what}{value}, is {what}{other}"
    yield from (f"the {kind} '{name}' is new" for name in now if name not in made)
