"""Comparing two outputs: every column that both describe, the worst first."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from recsys_tft.comparing.columns import Measured, Sample, compare
from recsys_tft.configuration.monitoring_settings import DriftSettings
from recsys_tft.errors import InputError, UsageError, did_you_mean
from recsys_tft.run_layout import run_folders

ALL, TRAIN = "all", "train"


@dataclasses.dataclass(frozen=True)
class Compared:
    """One column of both outputs.

    Attributes:
        data_set: whose column it is.
        column: its name.
        measures: all that apply to it.
    """

    data_set: str
    column: str
    measures: tuple[Measured, ...]

    @property
    def worst(self) -> Measured:
        """The measure that is largest relative to its limit."""
        return max(self.measures, key=lambda m: (m.ratio, m.value))

    @property
    def alarms(self) -> list[Measured]:
        """The measures above their limits."""
        return sorted((m for m in self.measures if m.is_alarm), key=lambda m: -m.ratio)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Changes from one output to another.

    Attributes:
        columns: the worst first.
        rows: by data set, how many there were and are.
        only_old, only_new: the columns that the other one lacks, as DATA_SET/COLUMN.
    """

    columns: tuple[Compared, ...]
    rows: Mapping[str, tuple[int, int]]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]

    @property
    def drifted(self) -> list[Compared]:
        """The columns with an alarm."""
        return [column for column in self.columns if column.alarms]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as docs/monitoring.md lays them out."""
        return {
            "drifted": bool(self.drifted),
            "rows": {name: list(both) for name, both in self.rows.items()},
            "only_old": list(self.only_old),
            "only_new": list(self.only_new),
            "columns": [
                {
                    "data_set": column.data_set,
                    "column": column.column,
                    "drifted": bool(column.alarms),
                    "measures": [{**dataclasses.asdict(m), "alarm": m.is_alarm} for m in column.measures],
                }
                for column in self.columns
            ],
        }


def limits_of(output_dir: str) -> DriftSettings:
    """The limits in the settings of a run or a refresh."""
    return DriftSettings.model_validate(run_folders.manifest(output_dir)["settings"].get("drift", {}))


def compare_figures(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    drift: DriftSettings | None = None,
    old_split: str = TRAIN,
    new_split: str = TRAIN,
) -> Comparison:
    """Compare the figures of two outputs, which may be the same one.

    Args:
        old, new: of runs or refreshes, or of logged requests.
        drift: the limits; None: the defaults.
        old_split, new_split: which splits are compared.

    Raises:
        UsageError: if there is no such split.
    """
    drift = drift or DriftSettings()
    sets = (old["data_sets"], new["data_sets"])
    only: tuple[list[str], list[str]] = ([], [])
    compared, rows = [], {}
    for data_set in dict.fromkeys([*sets[0], *sets[1]]):
        pair = [figures.get(data_set, {"columns": {}, "splits": {}}) for figures in sets]
        for number, (one, other) in enumerate((pair, pair[::-1])):
            only[number].extend(f"{data_set}/{name}" for name in one["columns"] if name not in other["columns"])
        if not all(figures["splits"] for figures in pair):
            continue
        splits = [split_of(figures, split) for figures, split in zip(pair, (old_split, new_split), strict=True)]
        rows[data_set] = tuple(figures["splits"][split]["rows"] for figures, split in zip(pair, splits, strict=True))
        for name, column in pair[1]["columns"].items():
            if name in pair[0]["columns"] and pair[0]["columns"][name]["kind"] == column["kind"]:
                before, after = (_sample(figures, name, split) for figures, split in zip(pair, splits, strict=True))
                if measures := compare(column, before, after, drift.of(name)):
                    compared.append(Compared(data_set, name, tuple(measures)))
    compared.sort(key=lambda figures: (-figures.worst.ratio, figures.data_set, figures.column))
    return Comparison(tuple(compared), rows, tuple(only[0]), tuple(only[1]))


def split_of(data_set: Mapping[str, Any], split: str) -> str:
    """The split to compare: the one that was asked for, or the only one.

    Raises:
        UsageError: if there is no such split.
    """
    if ALL in data_set["splits"]:
        return ALL
    if split not in data_set["splits"]:
        names = ", ".join(data_set["splits"])
        raise UsageError(f"there is no split {split!r}; there are {names}.{did_you_mean(split, data_set['splits'])}")
    return split


def _sample(data_set: Mapping[str, Any], name: str, split: str) -> Sample:
    column = data_set["columns"][name]
    return Sample(column["splits"][split], data_set["splits"][split]["effective"][column["of"]])


def check_outputs(*folders: str) -> None:
    """Refuse folders that are not outputs.

    Raises:
        InputError: naming the folder.
    """
    for folder in folders:
        if not pathlib.Path(folder).is_dir():
            raise InputError(f"{folder}: no such folder; name an output of recsys-tft run or refresh.")
