"""Exposures: the events of one user on one video that belong together. docs/examples.md has the rules."""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import time_lookups
from recsys_tft.columns import Column
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import context_columns

KEY = ("user_id", "video_id", "interaction_time")
CHUNK = 1 << 16  # events at a time in a larger partition, as processing takes several copies of them


def chunk_bounds(events: pa.Table, size: int) -> list[int]:
    """The row numbers that divide sorted events into chunks of about `size` rows.

    All events of a user on a video are in one chunk. Zero events are one chunk.
    """
    first = time_lookups.begins(events["user_id"].to_numpy(), events["video_id"].to_numpy())
    inner = first[np.searchsorted(first, np.arange(size, len(events), size), side="right") - 1]
    return [0, *np.unique(inner[inner > 0]).tolist(), len(events)]


def event_columns(settings: Settings) -> list[str]:
    """The columns of events: KEY, `signals`, `watch_time`, and the columns of the context that features read."""
    return [*KEY, "signals", "watch_time", *(column.name for column in context_columns(settings))]


def sort_events(events: pa.Table, settings: Settings) -> pa.Table:
    """The `event_columns` of events by user, video and time.

    Ties are broken by values, of the context first, so that the order of the input does not matter.
    """
    rows = events.select(event_columns(settings))
    if len(rows) < 2:
        return rows
    context = (column.name for column in context_columns(settings))
    ordered = pl.DataFrame(rows).sort([*KEY, *context, "watch_time", "signals"], nulls_last=True)
    return ordered.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(rows.schema)


def exposure_starts(events: pa.Table, gap: int, splits: np.ndarray | None) -> np.ndarray:
    """The first rows of exposures in sorted events of [n] rows, as [m] int64 row numbers.

    Args:
        events: sorted as by `sort_events`.
        gap: microseconds without an event after which a new exposure begins.
        splits: [n] int8 split of each event, where a new exposure begins; None: exposures may span splits.
    """
    if not len(events):
        return np.zeros(0, np.int64)
    user, video, time = (events[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    begins = (np.diff(user) != 0) | (np.diff(video) != 0) | (np.diff(time) >= gap)
    if splits is not None:
        begins |= np.diff(splits) != 0
    return np.flatnonzero(np.concatenate([[True], begins]))


def exposures(events: pa.Table, splits: np.ndarray, settings: Settings) -> pa.Table:
    """One row per exposure: the columns of its events, and `split`.

    Time is the first one, signals are the union, watch time is the sum (float64); context by the rules of its columns.

    Args:
        events: sorted as by `sort_events`.
        splits: [n] int8 split of each event, where a new exposure begins.
        settings: of the run.
    """
    starts = exposure_starts(events, settings.labels.exposure_gap, splits)
    if not len(starts):
        return events.slice(0, 0).append_column("split", pa.array([], pa.int8()))
    time = events["interaction_time"].to_numpy()[starts]
    watch = np.nan_to_num(events["watch_time"].to_numpy().astype(np.float64))
    return pa.table(
        {
            "user_id": events["user_id"].to_numpy()[starts],
            "video_id": events["video_id"].to_numpy()[starts],
            "interaction_time": time,
            "signals": np.bitwise_or.reduceat(events["signals"].to_numpy(), starts),
            "watch_time": np.add.reduceat(watch, starts),
            **{column.name: _at_exposure(events, column, starts) for column in context_columns(settings)},
            "split": splits[starts],
        }
    )


def _at_exposure(events: pa.Table, column: Column, starts: np.ndarray) -> pa.ChunkedArray:
    """The value of each run of rows from one start to the next, by the column's rule; null without a value."""
    values = events[column.name]
    if column.at_exposure == "first_event":
        return values.take(pa.array(starts))
    return _first_present(values, starts)


def _first_present(values: pa.ChunkedArray, starts: np.ndarray) -> pa.ChunkedArray:
    """The first value in each run of rows that is neither null nor an empty list."""
    present = pc.greater(pc.list_value_length(values), 0) if pa.types.is_list(values.type) else values.is_valid()
    first = first_that(pc.fill_null(present, False).to_numpy(), starts)
    return values.take(pa.array(first, mask=first == len(values)))


def first_that(holds: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """[m] int64: in each run of rows from one start to the next the first in which [n] bool holds; n without one."""
    return np.minimum.reduceat(np.where(holds, np.arange(len(holds)), len(holds)), starts)
