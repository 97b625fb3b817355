"""What a training led to, as tables on the terminal. All of it is read off metrics.json."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from recsys_tft.training.model_folders import ModelFolder


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a training led to.

    Attributes:
        folder: of the model.
        metrics: what `metrics.json` holds.
    """

    folder: ModelFolder
    metrics: dict[str, Any]


def by_window(
    metrics: Mapping[str, Any], names: Sequence[str], plain: Sequence[str], slices: Sequence[str], metric: str
) -> list[Table]:
    """Per window every metric over all users, and one by slice.

    Args:
        metrics: what `metrics.json` holds.
        names: of metrics with intervals.
        plain: of metrics that are shares.
        slices: of users.
        metric: the one that is shown by slice.
    """
    return [
        table
        for window in ("val", "test")
        if metrics[window]
        for table in (
            _overall(metrics[window], window, names, plain),
            _by_slice(metrics[window], window, slices, metric),
        )
    ]


def _overall(found: Mapping[str, Any], window: str, names: Sequence[str], plain: Sequence[str]) -> Table:
    users = next(iter(found.values()))["all"][names[0]]["users"]
    table = _table(f"\n{window}: {users:,} users, with 95 % confidence intervals", (*names, *plain))
    for model, values in found.items():
        shares = [f"{values[name]:.1%}" for name in plain]
        table.add_row(model, *(_shown(values["all"][name]) for name in names), *shares)
    return table


def _by_slice(found: Mapping[str, Any], window: str, slices: Sequence[str], metric: str) -> Table:
    first = next(iter(found.values()))
    headings = [f"{name} ({first[name][metric]['users']:,})" for name in slices]
    table = _table(f"\n{window}: {metric} by slice, and how many users are in it", headings)
    for model, values in found.items():
        table.add_row(model, *(_shown(values[name][metric]) for name in slices))
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _shown(estimate: Mapping[str, float | None]) -> str:
    if estimate["value"] is None:
        return "-"
    return f"{estimate['value']:.4f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
