"""The section on features: the distribution of each raw column and feature by split, searchable and sortable."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recsys_tft.comparing.comparison import Compared, compare_figures
from recsys_tft.describing.distributions import SHARES, Distribution
from recsys_tft.reporting import charts
from recsys_tft.reporting.elements import Markup, element, joined
from recsys_tft.reporting.numbers import NONE, count, percent, short
from recsys_tft.reporting.parts import absent, legend, section, table

NAMES = {
    "two_tower": "two tower rows",
    "ranker": "ranker rows",
    "users": "users",
    "videos": "videos",
    "raw_interactions": "raw interactions",
    "raw_exposures": "raw exposures",
    "raw_users": "raw users",
    "raw_videos": "raw videos",
    "shown_users": "raw users, by exposures",
    "shown_videos": "raw videos, by exposures",
}
_BINS, _VALUES = 28, 10  # of a picture
_LATER = ("val", "test")


def build(figures: Mapping[str, Any] | None, output_dir: str) -> Markup:
    """The section, or without statistics the command that makes them."""
    if figures is None:
        command = f"recsys-tft run --output-dir {output_dir} --overwrite"
        return section(
            "features", "Features", absent("Statistics come, with `statistics: {enabled: true}`, from", command)
        )
    note = (
        "Bars are the training split, lines the later splits. Drift is the largest measure divided by its limit, "
        "between train and the split that differs most from it: above 1 it is more than the settings allow and than "
        "chance explains."
    )
    return section("features", "Features", listing(figures, _drift(figures), ("train", "val", "test")), note=note)


def listing(
    figures: Mapping[str, Any], drift: Mapping[tuple[str, str], Compared], splits: Sequence[str], first: str = "place"
) -> Markup:
    """A searchable and sortable list of all columns with their pictures.

    Args:
        figures: by data set and column.
        drift: the largest change, by data set and column.
        splits: names of the colours.
        first: the initial order.
    """
    rows = [
        _column(data_set, name, column, drift.get((data_set, name)))
        for data_set, described in figures["data_sets"].items()
        for name, column in described["columns"].items()
        if any(split["rows"] for split in column["splits"].values())
    ]
    sets = [element("option", NAMES.get(name, name), value=name) for name in figures["data_sets"]]
    orders = [element("option", text, value=name, selected=name == first) for name, text in _ORDERS.items()]
    search = element("input", id="search", type="search", placeholder="name of a column", autocomplete="off")
    controls = element(
        "div",
        element("label", "Search", search),
        element("label", "Of", element("select", element("option", "everything", value=""), sets, id="data-set")),
        element("label", "Sort by", element("select", orders, id="order")),
        element("output", f"{len(rows)} columns", id="found", aria_live="polite"),
        class_="controls",
    )
    listed = element("div", rows, id="columns", class_="features")
    none = element("p", "No column has such a name.", id="none", hidden=True, class_="absent")
    return joined(controls, legend(*splits), listed, none)


_ORDERS = {
    "place": "place in the table",
    "drift": "drift",
    "missing": "missing",
    "oov": "out of vocabulary",
    "name": "name",
}


def _drift(figures: Mapping[str, Any]) -> dict[tuple[str, str], Compared]:
    """The comparison with the later split that differs most from train, by data set and column."""
    worst: dict[tuple[str, str], Compared] = {}
    for split in _LATER:
        if all(
            split in described["splits"] or "all" in described["splits"] for described in figures["data_sets"].values()
        ):
            for compared in compare_figures(figures, figures, new_split=split).columns:
                key = (compared.data_set, compared.column)
                if key not in worst or worst[key].worst.ratio < compared.worst.ratio:
                    worst[key] = compared
    return worst


def _column(data_set: str, name: str, column: Mapping[str, Any], drift: Compared | None) -> Markup:
    splits = {split: figures for split, figures in column["splits"].items() if figures["rows"]}
    first = next(iter(splits.values()))
    missing = first["missing"] / first["rows"]
    oov = first["oov"] / first["count"] if first.get("count") and "oov" in first else None
    ratio = drift.worst.ratio if drift and len(column["splits"]) > 1 else None
    title = element(
        "div",
        element("strong", name),
        element("span", f"{NAMES.get(data_set, data_set)} · {column['kind']}{' list' if column.get('list') else ''}"),
        class_="heading",
    )
    badges = element(
        "dl",
        _badge("missing", percent(missing), missing > 0.2),
        _badge("OOV", NONE if oov is None else percent(oov), bool(oov and oov > 0.2)),
        _badge("drift", NONE if ratio is None else f"{ratio:.2f}", bool(ratio and ratio > 1)),
        class_="badges",
    )
    series, marks = shape(column, splits)
    label = f"Distribution of {name} by split"
    picture = charts.distribution(series, marks, label) if series else element("p", _no_picture(first), class_="told")
    inside = element("summary", title, badges, element("div", picture, class_="picture"))
    return element(
        "details",
        inside,
        element("div", _figures(column, splits), _tops(splits), _drifted(drift, ratio), class_="more"),
        class_="feature",
        data_name=name.lower(),
        data_set=data_set,
        data_missing=round(missing, 6),
        data_oov=round(oov or 0, 6),
        data_drift=round(ratio or 0, 6),
    )


def _no_picture(first: Mapping[str, Any]) -> str:
    """The text in place of a missing picture."""
    return f"{_distinct(first)} distinct values" if _distinct(first) else "no values"


def _badge(name: str, value: str, is_high: bool) -> Markup:
    return element("div", element("dt", name), element("dd", value), class_="high" if is_high else None)


def shape(column: Mapping[str, Any], splits: Mapping[str, Any]) -> tuple[dict[str, list[float]], list[str]]:
    """Shares of values by split, in bins of equal width or of the most frequent values; and the marks below."""
    tops = {split: figures["top"] for split, figures in splits.items() if figures.get("top")}
    if tops and (column["kind"] in ("token", "text", "vector")):
        names = _frequent(splits, tops)
        if column["kind"] != "text" and "vocabulary" not in column:  # ordered values such as buckets
            names.sort(key=int)
        totals = {split: max(splits[split]["count"], 1) for split in tops}
        shares = {split: [dict(top).get(name, 0) / totals[split] for name in names] for split, top in tops.items()}
        return _styled(shares), [_cut(names[0]), _cut(names[-1])] if len(names) > 1 else [_cut(names[0])]
    parts = {split: _numeric_part(figures) for split, figures in splits.items()}
    cells = {
        split: Distribution.of_json(figures["cells"])
        for split, figures in parts.items()
        if figures and figures.get("count")
    }
    if cells:
        step = next(iter(splits.values())).get("step")
        return _by_width(cells, step)
    binned = {split: figures["histogram"]["counts"] for split, figures in splits.items() if figures.get("histogram")}
    if binned:  # of tokens that are ids
        return _styled({split: _shares(values) for split, values in binned.items()}), ["frequent ids", "rare ids"]
    return {}, []


def _frequent(splits: Mapping[str, Any], named: Mapping[str, Any]) -> list[str]:
    """The values that are most frequent in any split."""
    most: dict[str, float] = {}
    for split, top in named.items():
        for name, number in top:
            most[name] = max(most.get(name, 0), number / max(splits[split]["count"], 1))
    return sorted(most, key=lambda name: -most[name])[:_VALUES]


def _numeric_part(figures: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return figures if "cells" in figures else figures.get("norms") or figures.get("lengths")


def _by_width(cells: Mapping[str, Distribution], step: str | None) -> tuple[dict[str, list[float]], list[str]]:
    """Bins of equal width between the first and the last percent of the first split, the outer ones open."""
    first = next(iter(cells.values()))
    low, *_, high = first.quantiles((0.01, 0.99))
    if step is not None or high <= low:
        low = min(distribution.values[0] for distribution in cells.values())
        high = max(distribution.values[-1] for distribution in cells.values())
    if high <= low:
        return _styled({split: [1.0] for split in cells}), [_mark(low, step)]
    integers = step is None and all(
        (distribution.values == np.round(distribution.values)).all() for distribution in cells.values()
    )
    bins = int(min(_BINS, high - low + 1)) if integers else _BINS
    edges = (
        np.linspace(low, high, bins + 1)[1:-1]
        if not (integers and high - low + 1 <= _BINS)
        else np.arange(low, high) + 0.5
    )
    shares = {split: _shares(distribution.binned(edges.tolist())) for split, distribution in cells.items()}
    return _styled(shares), [_mark(low, step), _mark(high, step)]


def _mark(value: float, step: str | None) -> str:
    if step is None:
        return short(value)
    return str(np.datetime64(int(value), "D" if step == "day" else "h").astype("datetime64[D]"))


def _shares(counts: Sequence[float]) -> list[float]:
    total = sum(counts) or 1
    return [value / total for value in counts]


def _styled(shares: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {"train" if split == "all" else split: values for split, values in shares.items()}


def _cut(text: str) -> str:
    return text if len(text) <= 18 else f"{text[:17]}…"


def _figures(column: Mapping[str, Any], splits: Mapping[str, Any]) -> Markup:
    """Counts and figures by split."""
    rows: list[list[object]] = []

    def add(name: str, value: Callable[[Any], object]) -> None:
        cells = [value(figures) for figures in splits.values()]
        if any(cell is not None for cell in cells):
            rows.append([name, *(NONE if cell is None else cell for cell in cells)])

    add("rows", lambda figures: count(figures["rows"]))
    add("missing", lambda figures: count(figures["missing"]))
    add("share missing", lambda figures: percent(figures["missing"] / figures["rows"]))
    add("distinct", lambda figures: _distinct(figures))
    add(
        "out of vocabulary",
        lambda figures: (
            percent(figures["oov"] / figures["count"]) if figures.get("count") and "oov" in figures else None
        ),
    )
    if size := column.get("vocabulary", {}).get("size"):
        mark = {True: "", False: "at least "}
        add(
            "of the vocabulary seen",
            lambda figures: (
                f"{mark[figures.get('seen_is_exact', True)]}{percent(figures['seen'] / size)}"
                if "seen" in figures
                else None
            ),
        )
    for what, words in (("", ""), ("lengths", "length, "), ("norms", "norm, ")):
        for name in ("mean", "deviation", "zeros", "min", "max"):
            add(f"{words}{name}", functools.partial(_figure, what=what, name=name))
        for place, share in enumerate(SHARES):
            add(
                f"{words}{share * 100:g}\N{NO-BREAK SPACE}% quantile",
                functools.partial(_quantile, what=what, place=place),
            )
    return table(["", *("all rows" if split == "all" else split for split in splits)], rows)


def _distinct(figures: Mapping[str, Any]) -> str | None:
    if "distinct" not in figures:
        return None
    return f"{'' if figures.get('distinct_is_exact', True) else 'about '}{count(figures['distinct'])}"


def _figure(figures: Mapping[str, Any], what: str, name: str) -> str | None:
    part = figures.get(what) if what else figures
    if not part or part.get(name) is None:
        return None
    value = part[name]
    if figures.get("step") and not what:
        return None if name in ("zeros", "deviation") else _mark(value, figures["step"])
    return count(value) if name == "zeros" else short(value)


def _quantile(figures: Mapping[str, Any], what: str, place: int) -> str | None:
    part = figures.get(what) if what else figures
    if not part or not part.get("quantiles"):
        return None
    value = part["quantiles"][place]
    return _mark(value, figures["step"]) if figures.get("step") and not what else short(value)


def _tops(splits: Mapping[str, Any]) -> Markup | None:
    """The most frequent values, and their shares by split."""
    with_tops = {split: figures for split, figures in splits.items() if figures.get("top")}
    if not with_tops:
        return None
    names = _frequent(splits, {split: figures["top"] for split, figures in with_tops.items()})
    tops = {split: dict(figures["top"]) for split, figures in with_tops.items()}
    rows = [
        [name, *(percent(tops[split].get(name, 0) / max(figures["count"], 1)) for split, figures in with_tops.items())]
        for name in names
    ]
    return table(["value", *("all rows" if split == "all" else split for split in with_tops)], rows)


def _drifted(drift: Compared | None, ratio: float | None) -> Markup | None:
    if not drift or ratio is None:
        return None
    rows = [
        [
            measured.measure.replace("_", " "),
            measured.of,
            f"{measured.value:.4f}",
            NONE if measured.limit is None else f"{measured.limit:.4f}",
            measured.told,
        ]
        for measured in drift.measures
    ]
    return table(["measure", "of", "value", "limit", "what has changed"], rows, texts=2, last=True)
