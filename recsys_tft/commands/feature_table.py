"""The feature table as text: for a terminal, and for the docs."""

import dataclasses
from typing import Any

from recsys_tft.columns import Accuracy
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import Feature, FeatureTable
from recsys_tft.table_records import described, text_of
from recsys_tft.terminal import Listing
from recsys_tft.vocabularies import Vocabulary

HEADINGS = ("feature", "sources", "op", "missing becomes", "used by", "known as of", "option")
YOURS = "yours"
_KNOWN_AS_OF = {  # whose values are part of the format of manifests
    Accuracy.STATIC: "static",
    Accuracy.SNAPSHOT: "snapshot",
    Accuracy.COUNTED: "snapshot or point-in-time",
    Accuracy.AS_OF: "point-in-time",
    Accuracy.VERSIONED: "point-in-time, approximate",
}


def rows(table: FeatureTable) -> list[tuple[str, ...]]:
    """One row of texts per feature, under HEADINGS."""
    return [
        (
            feature.name,
            ", ".join(feature.sources),
            op_text(feature),
            feature.op.missing,
            ", ".join(use.value for use in feature.used_by),
            _KNOWN_AS_OF[feature.accuracy],
            feature.option or "",
        )
        for feature in table.features
    ]


def op_text(feature: Feature) -> str:
    """The op with its arguments, such as `Lookup(language)` or `ZScore(log1p)`."""
    arguments = []
    fields: tuple[dataclasses.Field[Any], ...] = (
        dataclasses.fields(feature.op) if dataclasses.is_dataclass(feature.op) else ()
    )
    for field in (field for field in fields if not field.metadata.get("setting")):
        value = getattr(feature.op, field.name)
        if isinstance(value, Vocabulary):
            arguments.append(value.name)
        elif value is True:
            arguments.append(field.name)
        elif value is not False and value is not None:
            arguments.append(text_of(value))
    return f"{type(feature.op).__name__}({', '.join(arguments)})"


def as_table(features: FeatureTable) -> Listing:
    """The table for a terminal; rows of a user's own table are marked."""
    own_names = _own(features, "features")
    table = _table(*HEADINGS, *([""] if features is not DEFAULT else []))
    for row in rows(features):
        is_own = row[0] in own_names
        table.add_row(*row, *([YOURS if is_own else ""] if features is not DEFAULT else []), style=_style(is_own))
    return table


def own_parts(features: FeatureTable) -> list[Listing | str]:
    """The columns and signals that a user's table adds to the default, and the default features that it leaves out."""
    columns = _table("column", "table", "type", "at least", "known as of", "")
    for column in features.columns:
        if f"{column.table}.{column.name}" in _own(features, "columns") and column.name not in features.flags:
            least = "" if column.minimum is None else f"{column.minimum:g}"
            columns.add_row(column.name, column.table, str(column.type), least, _KNOWN_AS_OF[column.accuracy], YOURS)
    signals = _table("signal", "boolean column", "says", "")
    for signal in features.signals:
        if signal.name in _own(features, "signals"):
            says = "not wanted" if signal.negative else "opened" if signal.is_viewing else "shown"
            signals.add_row(signal.name, signal.flag or "", says, YOURS)
    left = [name for name in DEFAULT.by_name if name not in features.by_name]
    tables = [table for table in (columns, signals) if table.row_count]
    return [*tables, *([f"Left out: {', '.join(left)}"] if left else [])]


def _own(features: FeatureTable, kind: str) -> set[str]:
    """The names of rows that the default table lacks or defines differently."""
    ours, theirs = described(DEFAULT)[kind], described(features)[kind]
    return {name for name, row in theirs.items() if ours.get(name) != row}


def _style(is_own: bool) -> str | None:
    return "bold" if is_own else None


def _table(*headings: str) -> Listing:
    table = Listing()
    table.add_names(headings[0])
    table.add_texts(*headings[1:])
    return table


def as_markdown(features: FeatureTable) -> str:
    """The table for the docs."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *rows(features)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
