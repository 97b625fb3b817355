"""Results of a training, as tables on the terminal, from metrics.json."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from recsys_tft.terminal import Listing
from recsys_tft.training.model_folders import ModelFolder


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """The results of a training.

    Attributes:
        folder: of the model.
        metrics: contents of `metrics.json`.
    """

    folder: ModelFolder
    metrics: dict[str, Any]


def by_split(
    metrics: Mapping[str, Any],
    names: Sequence[str],
    plain: Sequence[str],
    slices: Sequence[str],
    metric: str,
    parts: Mapping[str, str] | None = None,
) -> list[Listing]:
    """Per split every metric over all users, over each of several parts of the rows, and one metric by slice.

    Args:
        metrics: contents of `metrics.json`.
        names: of metrics with intervals.
        plain: of metrics that are shares.
        slices: of users.
        metric: the one to show by slice.
        parts: titles of slices that are parts of the rows.
    """
    return [
        table
        for split in ("val", "test")
        if metrics[split]
        for table in (
            _overall(metrics[split], split, names, plain),
            *_parts(metrics[split], split, names, metric, parts or {}),
            _by_slice(metrics[split], split, slices, metric),
        )
    ]


def refitted(metrics: Mapping[str, Any]) -> list[str]:
    """The results of a refit, if there was one."""
    if not (refit := metrics["refit"]):
        return []
    splits = " and ".join(", ".join(refit["splits"]).rsplit(", ", 1))
    return [
        f"Refitted on all {refit['rows']:,} rows of {splits}. The metrics above are those of the previous model, "
        "which had not seen val and test."
    ]


def _parts(
    models: Mapping[str, Any], split: str, names: Sequence[str], metric: str, parts: Mapping[str, str]
) -> list[Listing]:
    """A table for each part, if the metric has a value in all of them."""
    first = next(iter(models.values()))
    if any(first[part][metric]["value"] is None for part in parts):
        return []
    return [
        _metrics(
            f"\n{split}: {title}", models, part, [name for name in names if first[part][name]["value"] is not None]
        )
        for part, title in parts.items()
    ]


def _overall(models: Mapping[str, Any], split: str, names: Sequence[str], plain: Sequence[str]) -> Listing:
    users = next(iter(models.values()))["all"][names[0]]["users"]
    return _metrics(f"\n{split}: {users:,} users, with 95 % confidence intervals", models, "all", names, plain)


def _metrics(
    title: str, models: Mapping[str, Any], part: str, names: Sequence[str], plain: Sequence[str] = ()
) -> Listing:
    table = _table(title, (*names, *plain))
    for model, values in models.items():
        shares = [f"{values[name]:.1%}" for name in plain]
        table.add_row(model, *(_shown(values[part][name]) for name in names), *shares)
    return table


def _by_slice(models: Mapping[str, Any], split: str, slices: Sequence[str], metric: str) -> Listing:
    first = next(iter(models.values()))
    headings = [f"{name} ({first[name][metric]['users']:,})" for name in slices]
    table = _table(f"\n{split}: {metric} by slice (number of users)", headings)
    for model, values in models.items():
        table.add_row(model, *(_shown(values[name][metric]) for name in slices))
    return table


def _table(title: str, headings: Sequence[str]) -> Listing:
    table = Listing(title)
    table.add_names("")
    table.add_numbers(*headings)
    return table


def _shown(estimate: Mapping[str, float | None]) -> str:
    if estimate["value"] is None:
        return "-"
    low, high = (f"{estimate[side]:.3f}".removeprefix("0") for side in ("low", "high"))
    return f"{estimate['value']:.4f} [{low}, {high}]"
