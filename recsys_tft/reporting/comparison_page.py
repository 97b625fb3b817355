"""The page about two outputs: drifted columns, and every column of both side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys_tft.comparing.anomalies import sentence
from recsys_tft.comparing.comparison import TRAIN, Comparison, split_of
from recsys_tft.reporting.elements import Markup, element
from recsys_tft.reporting.features_section import NAMES, listing
from recsys_tft.reporting.numbers import count
from recsys_tft.reporting.page import document
from recsys_tft.reporting.parts import section, table

_SECTIONS = {"drift": "Drift", "rows": "Rows", "features": "Columns"}


def build(
    folders: tuple[str, str],
    figures: Sequence[Mapping[str, Any]],
    splits: tuple[str | None, str | None],
    comparison: Comparison,
) -> str:
    """The page, as text.

    Args:
        folders: of both outputs.
        figures: of both.
        splits: which splits were compared; None: train.
        comparison: of the figures.
    """
    drifted = comparison.drifted
    title = f"{count(len(drifted))} of {count(len(comparison.columns))} columns have drifted"
    rows = [[NAMES.get(name, name), count(old), count(new)] for name, (old, new) in comparison.rows.items()]
    only = [("no longer described", comparison.only_old), ("new", comparison.only_new)]
    notes = [element("p", f"{words}: {', '.join(names)}", class_="note") for words, names in only if names]
    drift = {(column.data_set, column.column): column for column in comparison.columns}
    note = "Bars are the old distribution, lines the new one; columns with the most drift come first."
    sections = (
        element("header", element("h1", title), element("p", f"{folders[0]} → {folders[1]}", class_="lead")),
        section("drift", "What has drifted", _alarms(comparison)),
        section("rows", "Rows", table(["data set", "old", "new"], rows), *notes),
        section(
            "features",
            "Columns",
            listing(_side_by_side(figures, splits, comparison), drift, ("old", "new"), "drift"),
            note=note,
        ),
    )
    return document(title, _SECTIONS, sections)


def _alarms(comparison: Comparison) -> Markup:
    if not comparison.drifted:
        return element("p", "No column has drifted above its limits.", class_="absent")
    rows = [
        [element("strong", column.column), NAMES.get(column.data_set, column.data_set), sentence(alarm)]
        for column in comparison.drifted
        for alarm in column.alarms
    ]
    return table(["column", "of", "why"], rows, texts=3)


def _side_by_side(
    figures: Sequence[Mapping[str, Any]], splits: tuple[str | None, str | None], comparison: Comparison
) -> dict[str, Any]:
    """The columns that were compared, with both outputs as their splits."""
    data_sets: dict[str, Any] = {}
    for compared in comparison.columns:
        pair = [figure["data_sets"][compared.data_set] for figure in figures]
        names = [split_of(figure, split or TRAIN) for figure, split in zip(pair, splits, strict=True)]
        columns = [figure["columns"][compared.column] for figure in pair]
        splits_of_both = {
            word: column["splits"][split] for word, column, split in zip(("old", "new"), columns, names, strict=True)
        }
        data_sets.setdefault(compared.data_set, {"columns": {}})["columns"][compared.column] = {
            **columns[1],
            "splits": splits_of_both,
        }
    return {"data_sets": data_sets}
