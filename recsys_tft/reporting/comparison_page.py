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
    found: Comparison,
) -> str:
    """The page, as text.

    Args:
        folders: of both outputs.
        figures: of both.
        splits: which splits were compared; None: train.
        found: what has changed.
    """
    drifted = found.drifted
    title = f"{count(len(drifted))} of {count(len(found.columns))} columns have drifted"
    rows = [[NAMES.get(name, name), count(old), count(new)] for name, (old, new) in found.rows.items()]
    only = [("no longer described", found.only_old), ("new", found.only_new)]
    notes = [element("p", f"{words}: {', '.join(names)}", class_="note") for words, names in only if names]
    drift = {(each.data_set, each.column): each for each in found.columns}
    told = "Bars are the old distribution, lines the new one; what has drifted most comes first."
    sections = (
        element("header", element("h1", title), element("p", f"{folders[0]} → {folders[1]}", class_="lead")),
        section("drift", "What has drifted", _alarms(found)),
        section("rows", "Rows", table(["data set", "old", "new"], rows), *notes),
        section(
            "features", "Columns", listing(_both(figures, splits, found), drift, ("old", "new"), "drift"), told=told
        ),
    )
    return document(title, _SECTIONS, sections)


def _alarms(found: Comparison) -> Markup:
    if not found.drifted:
        return element("p", "No column is further from what it was than its limits.", class_="absent")
    rows = [
        [element("strong", each.column), NAMES.get(each.data_set, each.data_set), sentence(alarm)]
        for each in found.drifted
        for alarm in each.alarms
    ]
    return table(["column", "of", "why"], rows, texts=3)


def _both(
    figures: Sequence[Mapping[str, Any]], splits: tuple[str | None, str | None], found: Comparison
) -> dict[str, Any]:
    """The columns that were compared, with both outputs as their splits."""
    data_sets: dict[str, Any] = {}
    for each in found.columns:
        own = [of["data_sets"][each.data_set] for of in figures]
        names = [split_of(of, split or TRAIN) for of, split in zip(own, splits, strict=True)]
        columns = [of["columns"][each.column] for of in own]
        both = {
            word: column["splits"][split] for word, column, split in zip(("old", "new"), columns, names, strict=True)
        }
        data_sets.setdefault(each.data_set, {"columns": {}})["columns"][each.column] = {**columns[1], "splits": both}
    return {"data_sets": data_sets}
