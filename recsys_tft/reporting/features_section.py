"""The features: each raw column and each feature with its distribution by split, to be searched and sorted."""

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
    """The section; without statistics, the command that makes them."""
    if figures is None:
        command = f"recsys-tft run --output-dir {output_dir} --overwrite"
        return section(
            "features", "Features", absent("Statistics come, with `statistics: {enabled: true}`, from", command)
        )
    told = (
        "Bars are the training split, lines the splits after it. Drift is the measure that is largest in parts of "
        "its limit, between train and the split that is furthest from it: above 1 it is more than the settings allow "
        "and than chance explains."
    )
    return section("features", "Features", listing(figures, _drift(figures), ("train", "val", "test")), told=told)


def listing(
    figures: Mapping[str, Any], drift: Mapping[tuple[str, str], Compared], splits: Sequence[str], first: str = "place"
) -> Markup:
    """Every column with its picture, to be searched and sorted.

    Args:
        figures: by data set and column.
        drift: by the same, what has changed most.
        splits: what the colours mean.
        first: by which of the orders they are sorted already.
    """
    rows = [
        _column(data_set, name, column, drift.get((data_set, name)))
        for data_set, own in figures["data_sets"].items()
        for name, column in own["columns"].items()
        if any(each["rows"] for each in column["splits"].values())
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
    """By data set and column, the later split that is furthest from train."""
    found: dict[tuple[str, str], Compared] = {}
    for split in _LATER:
        if all(split in own["splits"] or "all" in own["splits"] for own in figures["data_sets"].values()):
            for each in compare_figures(figures, figures, new_split=split).columns:
                key = (each.data_set, each.column)
                if key not in found or found[key].worst.ratio < each.worst.ratio:
                    found[key] = each
    return found


def _column(data_set: str, name: str, column: Mapping[str, Any], drift: Compared | None) -> Markup:
    splits = {split: own for split, own in column["splits"].items() if own["rows"]}
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
    picture = charts.distribution(series, marks, label) if series else element("p", _without(first), class_="told")
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


def _without(first: Mapping[str, Any]) -> str:
    """The text in place of a missing picture."""
    return f"{_distinct(first)} distinct values" if _distinct(first) else "no values"


def _badge(name: str, value: str, is_high: bool) -> Markup:
    return element("div", element("dt", name), element("dd", value), class_="high" if is_high else None)


def shape(column: Mapping[str, Any], splits: Mapping[str, Any]) -> tuple[dict[str, list[float]], list[str]]:
    """By split the shares of values in bins of equal width, or of the most frequent values; and the marks below."""
    named = {split: own["top"] for split, own in splits.items() if own.get("top")}
    if named and (column["kind"] in ("token", "text", "vector")):
        names = _frequent(splits, named)
        if column["kind"] != "text" and "vocabulary" not in column:  # places in some order, such as buckets
            names.sort(key=int)
        totals = {split: max(splits[split]["count"], 1) for split in named}
        shares = {split: [dict(top).get(name, 0) / totals[split] for name in names] for split, top in named.items()}
        return _styled(shares), [_cut(names[0]), _cut(names[-1])] if len(names) > 1 else [_cut(names[0])]
    told = {split: _told(own) for split, own in splits.items()}
    cells = {split: Distribution.of_json(own["cells"]) for split, own in told.items() if own and own.get("count")}
    if cells:
        step = next(iter(splits.values())).get("step")
        return _by_width(cells, step)
    binned = {split: own["histogram"]["counts"] for split, own in splits.items() if own.get("histogram")}
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


def _told(own: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return own if "cells" in own else own.get("norms") or own.get("lengths")


def _by_width(cells: Mapping[str, Distribution], step: str | None) -> tuple[dict[str, list[float]], list[str]]:
    """Bins of equal width between the first and the last percent of the first split, the outer ones open."""
    first = next(iter(cells.values()))
    low, *_, high = first.quantiles((0.01, 0.99))
    if step is not None or high <= low:
        low = min(each.values[0] for each in cells.values())
        high = max(each.values[-1] for each in cells.values())
    if high <= low:
        return _styled({split: [1.0] for split in cells}), [_mark(low, step)]
    whole = step is None and all((each.values == np.round(each.values)).all() for each in cells.values())
    bins = int(min(_BINS, high - low + 1)) if whole else _BINS
    edges = (
        np.linspace(low, high, bins + 1)[1:-1]
        if not (whole and high - low + 1 <= _BINS)
        else np.arange(low, high) + 0.5
    )
    shares = {split: _shares(each.binned(edges.tolist())) for split, each in cells.items()}
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
        cells = [value(own) for own in splits.values()]
        if any(cell is not None for cell in cells):
            rows.append([name, *(NONE if cell is None else cell for cell in cells)])

    add("rows", lambda own: count(own["rows"]))
    add("missing", lambda own: count(own["missing"]))
    add("share missing", lambda own: percent(own["missing"] / own["rows"]))
    add("distinct", lambda own: _distinct(own))
    add(
        "out of vocabulary",
        lambda own: percent(own["oov"] / own["count"]) if own.get("count") and "oov" in own else None,
    )
    if size := column.get("vocabulary", {}).get("size"):
        mark = {True: "", False: "at least "}
        add(
            "of the vocabulary seen",
            lambda own: (
                f"{mark[own.get('seen_is_exact', True)]}{percent(own['seen'] / size)}" if "seen" in own else None
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


def _distinct(own: Mapping[str, Any]) -> str | None:
    if "distinct" not in own:
        return None
    return f"{'' if own.get('distinct_is_exact', True) else 'about '}{count(own['distinct'])}"


def _figure(own: Mapping[str, Any], what: str, name: str) -> str | None:
    told = own.get(what) if what else own
    if not told or told.get(name) is None:
        return None
    value = told[name]
    if own.get("step") and not what:
        return None if name in ("zeros", "deviation") else _mark(value, own["step"])
    return count(value) if name == "zeros" else short(value)


def _quantile(own: Mapping[str, Any], what: str, place: int) -> str | None:
    told = own.get(what) if what else own
    if not told or not told.get("quantiles"):
        return None
    value = told["quantiles"][place]
    return _mark(value, own["step"]) if own.get("step") and not what else short(value)


def _tops(splits: Mapping[str, Any]) -> Markup | None:
    """The most frequent values, and their shares by split."""
    named = {split: own for split, own in splits.items() if own.get("top")}
    if not named:
        return None
    names = _frequent(splits, {split: own["top"] for split, own in named.items()})
    tops = {split: dict(own["top"]) for split, own in named.items()}
    rows = [
        [name, *(percent(tops[split].get(name, 0) / max(own["count"], 1)) for split, own in named.items())]
        for name in names
    ]
    return table(["value", *("all rows" if split == "all" else split for split in named)], rows)


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
