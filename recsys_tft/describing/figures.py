"""The figures of a run as plain values, as docs/monitoring.md lays them out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys_tft.describing import cells
from recsys_tft.describing.columns import CLUSTERS, COUNT, ROWS, Described, Kind
from recsys_tft.describing.distributions import Distribution
from recsys_tft.describing.sketches import Numbers, Values

_NAMED = 100  # listed values of a column
_STEP = {Kind.TIME: "day", Kind.MOMENT: "hour"}


@dataclasses.dataclass(frozen=True)
class Column:
    """Properties of a column besides its values.

    Attributes:
        kind: of its values.
        is_list: whether a row has any number of them.
        words: the texts of the vocabulary, in order; None if tokens are ids or have no vocabulary.
        size: of the vocabulary; None without one.
        n_oov: number of out-of-vocabulary tokens.
        of: which rows are dependent: those of a `user`, or also of a `video`.
        sources: its raw columns.
    """

    kind: Kind
    is_list: bool = False
    words: Sequence[str] | None = None
    size: int | None = None
    n_oov: int = 0
    of: str = "user"
    sources: tuple[str, ...] = ()


def figures(
    described: Described, splits: Mapping[str, Sequence[str]], columns: Mapping[str, Mapping[str, Column]]
) -> dict[str, Any]:
    """The figures by data set, column and split, and the splits of each data set.

    Args:
        described: of all rows.
        splits: the names of the splits by data set, in order.
        columns: of each data set, in order.
    """
    of_columns: dict[tuple[str, str], dict[str, Any]] = {}
    for (data_set, name, what), sketch in described.items():
        of_columns.setdefault((data_set, name), {})[what] = sketch
    found = {}
    for data_set, names in splits.items():
        rows = of_columns.get((data_set, ROWS))
        if rows is None:
            continue
        count, clusters = rows[COUNT].values[0], rows[CLUSTERS].values
        own = {name: each for name, each in columns[data_set].items() if (data_set, name) in of_columns}
        found[data_set] = {
            "splits": {
                split: {"rows": int(count[number]), "effective": _effective(int(count[number]), clusters[:, number])}
                for number, split in enumerate(names)
            },
            "columns": {
                name: _column(column, of_columns[data_set, name], names, count) for name, column in own.items()
            },
        }
    return found


def _effective(rows: int, clusters: np.ndarray) -> dict[str, int]:
    """The effective number of independent rows, over users and over videos: Kish's effective sample size.

    For videos, which several parts share, it is a lower bound.
    """
    of_users, of_videos, parts = (int(each) for each in clusters)
    if not rows:
        return {"user": 0, "video": 0}
    user, video = max(rows * rows // max(of_users, 1), 1), max(rows * rows // max(of_videos * max(parts, 1), 1), 1)
    return {"user": user, "video": min(user, video)}


def _column(column: Column, sketches: dict[str, Any], names: Sequence[str], count: np.ndarray) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": str(column.kind), "of": column.of}
    if column.is_list:
        found["list"] = True
    if column.sources:
        found["sources"] = list(column.sources)
    if column.size is not None:
        found["vocabulary"] = {"size": column.size, "oov_tokens": column.n_oov}
    edges: dict[str, list[float]] = {}
    found["splits"] = {}
    for number, split in enumerate(names):
        rows = int(count[number])
        own: dict[str, Any] = {"rows": rows, "missing": int(sketches["missing"].values[0, number])}
        for what, sketch in sketches.items():
            if what == "missing":
                continue
            if isinstance(sketch, Values):
                own |= _values(sketch, number)
            elif what == "tokens" or what == "largest":
                own |= _tokens(sketch, number, column, edges)
            elif what == "steps":
                own |= {"step": _STEP[column.kind], **_numeric(sketch, number, Distribution.of_steps, what, edges)}
            elif what == "numbers":
                own |= _numeric(sketch, number, Distribution.of_numbers, what, edges)
            else:
                make = Distribution.of_whole if what == "lengths" else Distribution.of_numbers
                own[what] = _numeric(sketch, number, make, what, edges)
        found["splits"][split] = own
    return found


def _numeric(sketch: Numbers, split: int, make: Any, what: str, edges: dict[str, list[float]]) -> dict[str, Any]:
    """Count, zeros, moments, extremes, quantiles, histogram and cells; the first split with values sets the bins."""
    found, sums = sketch.of_split(split)
    distribution = make(sketch, split)
    total = distribution.total
    if not total:
        return {"count": 0}
    low, high = sketch.extremes[:, split].tolist()
    if len(sums) == 3:
        mean, deviation = cells.moments(found, sums)
    else:
        mean = float(distribution.counts @ distribution.values / total)
        deviation = float(np.sqrt(distribution.counts @ (distribution.values - mean) ** 2 / total))
    bins = edges.setdefault(what, distribution.edges())
    zeros = distribution.counts[distribution.values == 0].sum()
    return {
        "count": total,
        "zeros": int(zeros),
        "mean": _digits(mean),
        "deviation": _digits(0.0 if low == high else deviation),
        "min": low,
        "max": high,
        "quantiles": distribution.quantiles(),
        "histogram": {"edges": bins, "counts": distribution.binned(bins)},
        "cells": distribution.to_json(),
    }


def _tokens(sketch: Numbers, split: int, column: Column, edges: dict[str, list[float]]) -> dict[str, Any]:
    distribution = Distribution.of_whole(sketch, split)
    first = 1 + column.n_oov
    known = distribution.values >= first
    assert distribution.is_single is not None
    found: dict[str, Any] = {"count": distribution.total}
    if column.size is not None:
        found["oov"] = int(distribution.counts[(distribution.values >= 1) & ~known].sum())
        # Of tokens that share a cell at least one occurs.
        found["seen"] = int(known.sum())
        found["seen_is_exact"] = bool(distribution.is_single.all())
    if column.words is not None or column.size is None:
        head = np.flatnonzero(distribution.is_single)
        order = head[np.lexsort((distribution.values[head], -distribution.counts[head]))][:_NAMED]
        found["top"] = [[_name(int(distribution.values[i]), column), int(distribution.counts[i])] for i in order]
        found["top_is_whole"] = len(order) == len(distribution.counts)
        found["distinct"] = len(distribution.counts)
    bins = edges.setdefault("tokens", distribution.edges())
    found["histogram"] = {"edges": bins, "counts": distribution.binned(bins)}
    return found


def _name(token: int, column: Column) -> str:
    if column.size is None or column.words is None:
        return str(token)
    if token == 0:
        return "[MISSING]"
    place = token - 1 - column.n_oov
    if place < 0:
        return f"[OOV {token - 1}]"
    return column.words[place] if place < len(column.words) else str(token)


def _values(sketch: Values, split: int) -> dict[str, Any]:
    counts = sketch.counts[:, split]
    found: dict[str, Any] = {"count": int(counts.sum()), "distinct": sketch.distinct(split)}
    found["distinct_is_exact"] = sketch.is_whole
    if (values := sketch.values) is None:
        return found
    if sketch.is_whole:
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda i: (-counts[i], values[i]))
        found["top"] = [[values[i], int(counts[i])] for i in order[:_NAMED]]
        found["top_is_whole"] = len(order) <= _NAMED
    return found


def _digits(value: float) -> float:
    return float(f"{value:.9g}")
