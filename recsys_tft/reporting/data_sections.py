"""Sections on data: rows read and rejected, labels, and times, from the manifest and the statistics."""

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys_tft.columns import TABLES
from recsys_tft.describing.distributions import Distribution
from recsys_tft.labelling.split_times import PERIODS, SPLITS
from recsys_tft.reporting import charts
from recsys_tft.reporting.elements import Markup, element
from recsys_tft.reporting.numbers import count, percent
from recsys_tft.reporting.parts import absent, block, columns, legend, section, table

_BINS = 60


def inputs(manifest: Mapping[str, Any]) -> Markup:
    """Rows read, used and rejected by table, with reasons; missing columns, and odd data."""
    counts = manifest["counts"]
    rows = []
    for name in TABLES:
        read, used = counts.get(f"rows/{name}/in", 0), counts.get(f"rows/{name}/used", 0)
        share = (read - used) / read if read else 0
        rows.append([name, count(read), count(used), count(read - used), percent(share)])
    parts = [table(["table", "rows", "used", "rejected", "share"], rows)]
    reasons = _reasons(counts)
    if reasons:
        names = [(f"{name.split('/')[1]}: {name.split('/', 2)[2]}", value) for name, value in reasons.items()]
        shown = [count(value) for value in reasons.values()]
        parts.append(block("Why rows were rejected", charts.bars(names, "Rejected rows by reason", shown)))
    absent_columns = {name: names for name, names in manifest.get("absent_columns", {}).items() if names}
    if absent_columns:
        note = "Features of these columns alone are missing in every row."
        rows = [[name, ", ".join(names)] for name, names in absent_columns.items()]
        parts.append(block("Missing columns", table(["table", "columns"], rows, texts=2), note=note))
    warnings = manifest.get("warnings", [])
    if warnings:
        parts.append(block("Warnings", element("ul", [element("li", text) for text in warnings], class_="warnings")))
    files = [
        [name, path, count(rows)]
        for name, listed_files in manifest["inputs"].items()
        for path, _, rows, *_ in (tuple(file) for file in listed_files)
    ]
    if files:
        listed = table(["table", "file", "rows"], files[:200], texts=2)
        parts.append(element("details", element("summary", f"{count(len(files))} files"), listed, class_="plain"))
    return section("input", "What was read", *parts)


def _reasons(counts: Mapping[str, int]) -> dict[str, int]:
    reasons = {name: n for name, n in counts.items() if name.startswith("rejected/") and name.count("/") >= 2 and n}
    return dict(sorted(reasons.items(), key=lambda item: -item[1]))


def rows(manifest: Mapping[str, Any], figures: Mapping[str, Any] | None) -> Markup:
    """Row counts, and the time range of their events."""
    counts = manifest["counts"]
    listed = []
    for data_set in ("two_tower", "ranker"):
        numbers = [counts.get(f"written/{data_set}/{split}", 0) for split in SPLITS]
        listed.append([data_set, *map(count, numbers), count(sum(numbers))])
    for source in sorted({name.rpartition("/")[2] for name in counts if name.startswith("sources/")}):
        numbers = [counts.get(f"sources/{split}/{source}", 0) for split in SPLITS]
        listed.append([f"    {source}", *map(count, numbers), count(sum(numbers))])
    for entity in ("users", "videos"):
        listed.append([entity, *([""] * len(SPLITS)), count(counts.get(f"written/{entity}", 0))])
    axis = _axis(manifest, figures)
    return section(
        "rows", "Rows and splits", *axis, table(["rows", *SPLITS, "all"], listed),
        note="Each split ends where the next begins; nothing is fitted on data after train.",
    )  # fmt: skip


def _axis(manifest: Mapping[str, Any], figures: Mapping[str, Any] | None) -> list[Markup]:
    if figures is None:
        return [absent("The time axis needs statistics, which come from", "recsys-tft run")]
    splits = figures["data_sets"]["raw_interactions"]["columns"]["interaction_time"]["splits"]
    cells = {
        split: Distribution.of_json(figures_of_split["cells"])
        for split, figures_of_split in splits.items()
        if figures_of_split.get("count")
    }
    if not cells:
        return []
    first, last = (min(e.values[0] for e in cells.values()), max(e.values[-1] for e in cells.values()) + 1)
    edges = np.linspace(first, last, _BINS + 1)[1:-1].tolist()
    cuts = [((_hour(text) - first) / (last - first), name) for name, text in _begins(manifest)]
    begin, end = (f"{np.datetime64(int(hour), 'h').astype('datetime64[D]')}" for hour in (first, last))
    series = {split: figures_of_split.binned(edges) for split, figures_of_split in cells.items()}
    picture = charts.timeline(
        series, [cut for cut in cuts if 0 <= cut[0] <= 1], (begin, end), "Interactions over time, by split"
    )
    return [element("h3", "Interactions over time"), legend(*cells), picture]


def _begins(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    splits = manifest["splits"]
    named = [
        (name.removesuffix("_from"), str(text)) for name, text in splits.items() if name.endswith("_from") and text
    ]
    return [*named, *(("period", str(text)) for text in splits.get(PERIODS, []))]


def _hour(text: str) -> float:
    time = datetime.datetime.fromisoformat(text.removesuffix(" UTC")).replace(tzinfo=datetime.UTC)
    return time.timestamp() / 3600


def labels(manifest: Mapping[str, Any]) -> Markup:
    """The rules that made exposures positive, and the outcomes of exposures."""
    counts = manifest["counts"]
    weights = manifest["settings"]["labels"]["positive"]
    rules = sorted({name.split("/")[1] for name in counts if name.startswith("positives/")})
    by_rule = {rule: [counts.get(f"positives/{rule}/{split}", 0) for split in SPLITS] for rule in rules}
    order = sorted(rules, key=lambda rule: -sum(by_rule[rule]))
    listed = [[rule, f"{weights[rule]:g}" if rule in weights else "off", *map(count, by_rule[rule])] for rule in order]
    picture = charts.bars(
        [(rule, sum(by_rule[rule])) for rule in order],
        "Positives by rule",
        [count(sum(by_rule[rule])) for rule in order],
    )
    kinds = sorted({name.split("/")[2] for name in counts if name.startswith("exposures/")})
    became = [[kind, *(count(counts.get(f"exposures/{split}/{kind}", 0)) for split in SPLITS)] for kind in kinds]
    return section(
        "labels", "Labels",
        columns(
            block("Positives by rule that holds", picture, table(["rule", "weight", *SPLITS], listed)),
            block("What exposures became", table(["exposures", *SPLITS], became)),
        ),
        note="An exposure is positive by any of the rules, and several may hold.",
    )  # fmt: skip
