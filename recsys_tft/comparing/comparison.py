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
        measures: all of it.
    """

    data_set: str
    column: str
    measures: tuple[Measured, ...]

    @property
    def worst(self) -> Measured:
        """The measure that is largest in parts of its limit."""
        return max(self.measures, key=lambda each: (each.ratio, each.value))

    @property
    def alarms(self) -> list[Measured]:
        """The measures above their limits."""
        return sorted((each for each in self.measures if each.is_alarm), key=lambda each: -each.ratio)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Changes from one output to another.

    Attributes:
        columns: the worst first.
        rows: by data set, how many there were and are.
        only_old, only_new: the columns that the other one does not describe, as DATA_SET/COLUMN.
    """

    columns: tuple[Compared, ...]
    rows: Mapping[str, tuple[int, int]]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]

    @property
    def drifted(self) -> list[Compared]:
        """The columns with an alarm."""
        return [each for each in self.columns if each.alarms]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as docs/monitoring.md lays them out."""
        return {
            "drifted": bool(self.drifted),
            "rows": {name: list(both) for name, both in self.rows.items()},
            "only_old": list(self.only_old),
            "only_new": list(self.only_new),
            "columns": [
                {
                    "data_set": each.data_set,
                    "column": each.column,
                    "drifted": bool(each.alarms),
                    "measures": [{**dataclasses.asdict(m), "alarm": m.is_alarm} for m in each.measures],
                }
                for each in self.columns
            ],
        }


def limits_of(output_dir: str) -> DriftSettings:
    """The limits that the settings of a run or a refresh say."""
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
        own = [each.get(data_set, {"columns": {}, "splits": {}}) for each in sets]
        for number, (one, other) in enumerate((own, own[::-1])):
            only[number].extend(f"{data_set}/{name}" for name in one["columns"] if name not in other["columns"])
        if not all(each["splits"] for each in own):
            continue
        splits = [split_of(each, split) for each, split in zip(own, (old_split, new_split), strict=True)]
        rows[data_set] = tuple(each["splits"][split]["rows"] for each, split in zip(own, splits, strict=True))
        for name, column in own[1]["columns"].items():
            if name in own[0]["columns"] and own[0]["columns"][name]["kind"] == column["kind"]:
                before, after = (_sample(each, name, split) for each, split in zip(own, splits, strict=True))
                if measures := compare(column, before, after, drift.of(name)):
                    compared.append(Compared(data_set, name, tuple(measures)))
    compared.sort(key=lambda each: (-each.worst.ratio, each.data_set, each.column))
    return Comparison(tuple(compared), rows, tuple(only[0]), tuple(only[1]))


def split_of(data_set: Mapping[str, Any], wanted: str) -> str:
    """The split of a data set that is compared: the wanted one, or the only one.

    Raises:
        UsageError: if there is no such split.
    """
    if ALL in data_set["splits"]:
        return ALL
    if wanted not in data_set["splits"]:
        known = ", ".join(data_set["splits"])
        raise UsageError(f"there is no split {wanted!r}; there are {known}.{did_you_mean(wanted, data_set['splits'])}")
    return wanted


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
