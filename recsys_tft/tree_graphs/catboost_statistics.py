"""Target statistics ("CTRs") of a CatBoost model: counts of each combination of categories, by its hash.

Prokhorenkova et al., CatBoost: unbiased boosting with categorical features (2018), arXiv:1706.09516.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Json = Mapping[str, Any]
CTR_TYPES = ("Borders", "Buckets", "BinarizedTargetMeanValue", "Counter")  # those that CatBoost has on a CPU
_NO_ENTRY = np.uint64(2**64 - 1)  # the hash of an empty slot


class StatisticsTables(NamedTuple):
    """The statistics of each combination of inputs: one table each, the longest combinations first.

    Attributes:
        elements: the hashed inputs of each table, in order.
        hashes: of each table [n] int64, increasing.
        values: of each table [statistics, n + 1] float32; the last column is for missing combinations.
    """

    elements: tuple[tuple[int, ...], ...]
    hashes: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]

    def select(self, numbers: Sequence[int]) -> "StatisticsTables":
        """Some of the tables."""
        return StatisticsTables(
            tuple(self.elements[number] for number in numbers),
            tuple(self.hashes[number] for number in numbers),
            tuple(self.values[number] for number in numbers),
        )

    def steps(self) -> list[np.ndarray]:
        """For each step i the i-th inputs of the combinations with more than i inputs, which come first."""
        longest = len(self.elements[0])
        inputs_by_step = [[inputs[step] for inputs in self.elements if len(inputs) > step] for step in range(longest)]
        return [np.array(inputs, np.int32) for inputs in inputs_by_step]


def statistics_tables(
    ctrs: Sequence[Json], data: Mapping[str, Json], combinations: Sequence[tuple[int, ...]]
) -> tuple[StatisticsTables, np.ndarray]:
    """The tables of a model, and the numbers of its [n] statistics in these.

    CatBoost has a table for each type of statistics; those of one combination are merged.

    Args:
        ctrs: `features_info.ctrs` of the model's JSON.
        data: `ctr_data` of it.
        combinations: for each statistic the inputs that are hashed.
    """
    members: dict[tuple[int, ...], list[int]] = {}
    for number in sorted(range(len(ctrs)), key=lambda number: (-len(combinations[number]), combinations[number])):
        members.setdefault(combinations[number], []).append(number)
    tables = [_table([ctrs[number] for number in numbers], data) for numbers in members.values()]
    order = np.array([number for numbers in members.values() for number in numbers], np.int64)
    hashes, values = zip(*tables, strict=True) if tables else ((), ())
    return StatisticsTables(tuple(members), tuple(hashes), tuple(values)), np.argsort(order)


def _table(ctrs: Sequence[Json], data: Mapping[str, Json]) -> tuple[np.ndarray, np.ndarray]:
    """[n] hashes and [statistics, n + 1] values of one combination."""
    entries = {name: _entries(data[name]) for name in dict.fromkeys(ctr["identifier"] for ctr in ctrs)}
    hashes = np.unique(np.concatenate([keys for keys, _ in entries.values()]))
    values = np.empty((len(ctrs), len(hashes) + 1), np.float32)
    for row, ctr in zip(values, ctrs, strict=True):
        keys, counts = entries[ctr["identifier"]]
        statistic = _values(ctr, counts, np.float32(data[ctr["identifier"]]["counter_denominator"]))
        row[:] = statistic[-1]
        row[np.searchsorted(hashes, keys)] = statistic[:-1]
    return hashes, values


def _entries(table: Json) -> tuple[np.ndarray, np.ndarray]:
    """[n] int64 hashes and [n, columns] float32 counts of a table."""
    flat = np.array(table["hash_map"], object).reshape(-1, table["hash_stride"])
    keys = np.array([int(key) for key in flat[:, 0]], np.uint64)
    filled = keys != _NO_ENTRY
    return keys[filled].view(np.int64), flat[filled, 1:].astype(np.float32)


def _values(ctr: Json, counts: np.ndarray, denominator: np.float32) -> np.ndarray:
    """[n + 1] float32: ((good + prior) / (total + prior's denominator) + shift) * scale; the last: no events."""
    good, total = _good_and_total(ctr, counts, denominator)
    good = np.append(good, np.float32(0))
    total = np.append(total, denominator if ctr["ctr_type"] == "Counter" else np.float32(0))
    prior, prior_denominator, shift, scale = (
        np.float32(ctr[name]) for name in ("prior_numerator", "prior_denomerator", "shift", "scale")
    )
    return ((good + prior) / (total + prior_denominator) + shift) * scale


def _good_and_total(ctr: Json, counts: np.ndarray, denominator: np.float32) -> tuple[np.ndarray, np.ndarray]:
    """The count of each combination, and its total: [n] float32 each."""
    kind, border = ctr["ctr_type"], ctr["target_border_idx"]
    if kind == "Counter":
        return counts[:, 0], np.full(len(counts), denominator)
    if kind == "BinarizedTargetMeanValue":
        return counts[:, 0], counts[:, 1]
    good = counts[:, border] if kind == "Buckets" else counts[:, border + 1 :].sum(axis=1)
    return good, counts.sum(axis=1)
