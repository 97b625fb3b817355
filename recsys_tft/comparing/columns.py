"""Comparing one column of two outputs, by its figures."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys_tft.comparing import distances
from recsys_tft.configuration.monitoring_settings import DriftLimits
from recsys_tft.describing.distributions import Distribution

MEASURES = ("jensen_shannon", "psi", "infinity_norm", "missing_change", "oov_change", "new_values")
_BELOW = {"lengths": "length", "norms": "norm"}
_REST = "(others)"
_ROUNDED = 2.0**-22  # two units in the last place of a float32, by which graphs may differ
_FEWEST = 10  # independent rows of a bin, on both sides together


@dataclasses.dataclass(frozen=True)
class Measured:
    """One measure of a column.

    Attributes:
        measure: one of MEASURES.
        value: its value.
        limit: it is an alarm above this: that of the settings, or the noise of so few rows; None: never.
        told: the change in words.
        of: what it measures: the values of the column, or their `length` or `norm`.
    """

    measure: str
    value: float
    limit: float | None
    told: str
    of: str = "values"

    @property
    def ratio(self) -> float:
        """The value divided by the limit."""
        return self.value / self.limit if self.limit else 0.0

    @property
    def is_alarm(self) -> bool:
        """Whether it is above the limit."""
        return self.ratio > 1


@dataclasses.dataclass(frozen=True)
class Sample:
    """A column of one output: its figures in a split, and its effective number of independent rows."""

    figures: Mapping[str, Any]
    effective: int


def compare(column: Mapping[str, Any], old: Sample, new: Sample, limits: DriftLimits) -> list[Measured]:
    """All measures of a column that both outputs have.

    Args:
        column: its description in NEW.
        old, new: its figures.
        limits: of this column.
    """
    if not (old.figures["rows"] and new.figures["rows"]):
        return []
    measures = [_share("missing_change", "missing", "rows", "without a value", old, new, limits.missing_change)]
    if "oov" in new.figures and "oov" in old.figures and old.figures["count"] and new.figures["count"]:
        measures.append(_share("oov_change", "oov", "count", "out of vocabulary", old, new, limits.oov_change))
    for what, of in _BELOW.items():
        measures += _numbers(old.figures.get(what), new.figures.get(what), of, old, new, limits)
    if column["kind"] == "number":
        measures += _numbers(old.figures, new.figures, "values", old, new, limits)
    if "top" in old.figures and "top" in new.figures:
        measures += _categories(column, old, new, limits)
    return measures


def _share(measure: str, part: str, whole: str, words: str, old: Sample, new: Sample, limit: float | None) -> Measured:
    p, q = (each.figures[part] / max(each.figures[whole], 1) for each in (old, new))
    noise = float(distances.share_noise(p, q, old.effective, new.effective))
    told = f"{_percent(p)} → {_percent(q)} {words}"
    return Measured(measure, abs(p - q), limit and max(limit, noise), told)


def _numbers(
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    of: str,
    old: Sample,
    new: Sample,
    limits: DriftLimits,
) -> list[Measured]:
    """The distances over bins that hold about equal parts of OLD."""
    if not (before and after and before.get("count") and after.get("count")):
        return []
    cells = [Distribution.of_json(figures["cells"]) for figures in (before, after)]
    edges = cells[0].edges()
    if not edges:  # one value alone: is it still?
        single = float(cells[0].values[0])
        margin = abs(single) * _ROUNDED
        edges = [np.nextafter(single - margin, -np.inf), np.nextafter(single + margin, np.inf)]
    counts = [figures.binned(edges) for figures in cells]
    middles, means = (
        [_number(value) for value in both]
        for both in ((before["quantiles"][3], after["quantiles"][3]), (before["mean"], after["mean"]))
    )
    told = f"median {' → '.join(middles)}, mean {' → '.join(means)}"
    return _distances(counts, told, of, old, new, limits)


def _distances(
    counts_of_both: Sequence[Sequence[float]], told: str, of: str, old: Sample, new: Sample, limits: DriftLimits
) -> list[Measured]:
    counts = _dense(counts_of_both, old, new)
    sizes = (len(counts[0]), old.effective, new.effective)
    independent = [distances.shares(bins) * size for bins, size in zip(counts, sizes[1:], strict=True)]
    divergence, index = distances.jensen_shannon(counts[0], counts[1]), distances.psi(independent[0], independent[1])
    at = limits.jensen_shannon and max(limits.jensen_shannon, distances.jensen_shannon_noise(*sizes))
    above = limits.psi and max(limits.psi, distances.psi_noise(*sizes))
    return [Measured("jensen_shannon", divergence, at, told, of), Measured("psi", index, above, told, of)]


def _dense(counts: Sequence[Sequence[float]], old: Sample, new: Sample) -> list[np.ndarray]:
    """The counts, with all bins merged that have too few independent rows."""
    arrays = [np.asarray(bins, np.float64) for bins in counts]
    rows = distances.shares(arrays[0]) * old.effective + distances.shares(arrays[1]) * new.effective
    rare = rows < _FEWEST
    if rare.sum() < 2:
        return arrays
    return [np.append(bins[~rare], bins[rare].sum()) for bins in arrays]


def _categories(column: Mapping[str, Any], old: Sample, new: Sample, limits: DriftLimits) -> list[Measured]:
    """The distances over the values named on both sides, all others as one; and values that came or left."""
    names, counts = _shared(old.figures, new.figures)
    if not names:
        return []
    p, q = (distances.shares(bins) for bins in counts)
    change = np.abs(p - q)
    noise = distances.share_noise(p, q, old.effective, new.effective)
    limit = None if limits.infinity_norm is None else np.maximum(limits.infinity_norm, noise)
    worst = int(np.argmax(change / limit if limit is not None else change))
    told = f"{names[worst]}: {_percent(p[worst])} → {_percent(q[worst])}"
    measures = _distances([bins.tolist() for bins in counts], told, "values", old, new, limits)
    measures.append(
        Measured("infinity_norm", float(change[worst]), None if limit is None else float(limit[worst]), told)
    )
    if column["kind"] == "text":
        measures += _new_values(names, p, q, old, new, limits)
    return measures


def _shared(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], tuple[np.ndarray, np.ndarray]]:
    """Names, and how often each occurs before and after; names that one side may have cut off count as others."""
    tops = [dict(figures["top"]) for figures in (old, new)]
    names = [
        name
        for name in dict.fromkeys([*tops[0], *tops[1]])
        if all(name in top or figures["top_is_whole"] for top, figures in zip(tops, (old, new), strict=True))
    ]
    counts = [[top.get(name, 0) for name in names] for top in tops]
    rest = [figures["count"] - sum(frequencies) for figures, frequencies in zip((old, new), counts, strict=True)]
    if any(rest):
        names.append(_REST)
        counts = [[*frequencies, left] for frequencies, left in zip(counts, rest, strict=True)]
    return names, (np.array(counts[0]), np.array(counts[1]))


def _new_values(
    names: list[str], p: np.ndarray, q: np.ndarray, old: Sample, new: Sample, limits: DriftLimits
) -> list[Measured]:
    """The share of values that came or left, whichever is larger relative to its limit."""
    measures = []
    for here, there, size, word in ((p, q, old.effective, "new"), (q, p, new.effective, "lost")):
        gone = (here == 0) & (there > 0)
        share = float(there[gone].sum())
        order = np.argsort(-there[gone], kind="stable")
        named = [f"{np.array(names, object)[gone][i]} ({_percent(float(there[gone][i]))})" for i in order[:3]]
        more = f" and {int(gone.sum()) - 3} more" if gone.sum() > 3 else ""
        # A value of this share escapes so many rows but once in a million.
        limit = limits.new_values and max(limits.new_values, 14 / max(size, 1))
        measures.append(Measured("new_values", share, limit, f"{word}: {', '.join(named)}{more}" if named else ""))
    return [max(measures, key=lambda measured: (measured.ratio, measured.value))]


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
