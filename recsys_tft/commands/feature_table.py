"""The feature table for people."""

import dataclasses

from rich.table import Table

from recsys_tft.features import Feature, FeatureTable
from recsys_tft.vocabularies import Vocabulary

HEADINGS = ("feature", "sources", "op", "missing becomes", "used by", "known as of", "option")


def rows(table: FeatureTable) -> list[tuple[str, ...]]:
    """One row of texts per feature, under HEADINGS."""
    return [
        (
            feature.name,
            ", ".join(feature.sources),
            op_text(feature),
            feature.op.missing,
            ", ".join(use.value for use in feature.used_by),
            feature.accuracy.value,
            feature.option or "",
        )
        for feature in table.features
    ]


def op_text(feature: Feature) -> str:
    """The op with its arguments, such as `Lookup(language)` or `ZScore(log1p)`."""
    arguments = []
    for field in (field for field in dataclasses.fields(feature.op) if not field.metadata.get("setting")):
        value = getattr(feature.op, field.name)
        if isinstance(value, Vocabulary):
            arguments.append(value.name)
        elif value is True:
            arguments.append(field.name)
        elif value is not False and value is not None:
            arguments.append(str(value))
    return f"{type(feature.op).__name__}({', '.join(arguments)})"


def as_table(features: FeatureTable) -> Table:
    """The table for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in HEADINGS:
        table.add_column(heading)
    for row in rows(features):
        table.add_row(*row)
    return table


def as_markdown(features: FeatureTable) -> str:
    """The table for the docs."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *rows(features)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
