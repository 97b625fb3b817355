"""Cuts of a leak audit, and the rows that were complete before a cut."""

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.auditing.futures import Cut
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.labelling import labels, split_times
from recsys_tft.labelling.exposures import exposure_starts, sort_events
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.tables.event_signals import events_of
from recsys_tft.tables.raw_tables import RawTable, empty


def sorted_events(interactions: pl.DataFrame, table: RawTable, settings: Settings) -> pa.Table:
    """Raw interactions as events, sorted.

    Args:
        interactions: of a sample.
        table: where they are from.
        settings: of the run.
    """
    rows = interactions.to_arrow(compat_level=pl.CompatLevel.oldest())
    rows = ids.coded(rows, table.known.values())
    missing = empty(table.known, table.absent)
    for name in table.absent:
        rows = rows.append_column(name, pa.nulls(len(rows), missing.schema.field(name).type))
    return sort_events(events_of(rows, table.is_long, settings.table.bits), settings)


def choose(events: pa.Table, splits: Cuts | None, settings: Settings) -> list[tuple[int, bool]]:
    """Times to cut at, each with whether the training split ends there: its end, and one before and one after it.

    Cuts are moved to the nearest event that decides a label together with earlier ones, if there is any.

    Args:
        events: of the sample, sorted.
        splits: of the run; None where each user has splits of their own.
        settings: of the run.

    Raises:
        InputError: if all events are at one instant.
    """
    times = np.sort(events["interaction_time"].to_numpy())
    possible = np.unique(times)[1:]
    if not len(possible):
        raise InputError("All interactions of the sample are at the same instant, so none of them is later.")
    end = splits[0] if splits else int(np.quantile(times, float(settings.split.train_share), method="nearest"))
    wanted = [(end, True)]
    wanted += [(part[len(part) // 2], False) for part in (times[times < end], times[times >= end]) if len(part)]
    decisive = np.intersect1d(_decisive_times(events, settings), possible)
    places = decisive if len(decisive) else possible
    return sorted({(int(places[np.abs(places - time).argmin()]), ends) for time, ends in wanted})


def _decisive_times(events: pa.Table, settings: Settings) -> np.ndarray:
    """Times of later events that make exposures positive or negative; if there are none, that raise their weight."""
    starts = exposure_starts(events, settings.labels.exposure_gap, None)
    signals = events["signals"].to_numpy()
    nothing = np.zeros(len(events))
    rules = labels.rules_that_hold(signals, nothing, np.full(len(events), np.nan, np.float32), settings)
    weight = labels.weights(rules, settings.labels.positive)
    if labels.negatives_win(settings):
        weight = np.where(labels.is_negative(signals, settings), np.float32(np.inf), weight)
    frame = pl.DataFrame(
        {
            "exposure": np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(events)))),
            "time": events["interaction_time"].to_numpy(),
            "weight": weight,
        }
    )
    frame = frame.with_columns(earlier=pl.col("weight").cum_max().shift(1).over("exposure"))
    grows = frame.filter(pl.col("weight") > pl.col("earlier"))
    turns = grows.filter((pl.col("earlier") == 0) | pl.col("weight").is_infinite())
    return (turns if len(turns) else grows)["time"].to_numpy()


def settled_exposures(events: pa.Table, cut: Cut, splits: Cuts) -> pl.DataFrame:
    """The exposures that no event from the cut on can continue, as user_id, video_id and interaction_time.

    They end in an earlier split than the cut's, or at least a gap before it.

    Args:
        events: of the sample, sorted.
        cut: where the future begins.
        splits: of the rerun.
    """
    past = events.filter(pa.array(events["interaction_time"].to_numpy() < cut.time))
    time = past["interaction_time"].to_numpy()
    number = split_times.split_of(time, splits)
    starts = exposure_starts(past, cut.gap, number)
    last = np.append(starts[1:], len(past))[: len(starts)] - 1
    now = split_times.split_of(np.array([cut.time]), splits)[0]
    settled = (number[last] < now) | (cut.time - time[last] >= cut.gap)
    rows = past.take(pa.array(starts[settled])).select(["user_id", "video_id", "interaction_time"])
    return pl.DataFrame(rows)


def unsettled(events: pa.Table, cut: Cut) -> int:
    """The number of exposures that an event before the cut and one from it on could share, apart from splits."""
    starts = exposure_starts(events, cut.gap, None)
    if not len(starts):
        return 0
    time = events["interaction_time"].to_numpy()
    ends = np.append(starts[1:], len(events)) - 1
    return int(((time[starts] < cut.time) & (time[ends] >= cut.time)).sum())
