"""Exposures: the events of one user on one video that belong together. docs/examples.md has the rules."""

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft import point_in_time

EVENT_SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "video_id": pa.int64(),
        "interaction_time": pa.int64(),
        "signals": pa.uint8(),
        "watch_time": pa.float32(),
        "device": pa.binary(),
    }
)


PIECE = 1 << 16  # events that are worked on at a time where a partition has more, as that takes several copies of them


def piece_bounds(events: pa.Table, size: int) -> list[int]:
    """The row numbers between which sorted events fall into pieces of about `size` rows.

    All events of a user on a video are in one piece. No events are one piece, too.
    """
    first = point_in_time.begins(events["user_id"].to_numpy(), events["video_id"].to_numpy())
    inner = first[np.searchsorted(first, np.arange(size, len(events), size), side="right") - 1]
    return [0, *np.unique(inner[inner > 0]).tolist(), len(events)]


def sort_events(events: pa.Table) -> pa.Table:
    """Events by user, video and time; ties are broken by their values, so that the order of input rows is nothing."""
    frame = pl.from_arrow(events.select(EVENT_SCHEMA.names))
    keys = ["user_id", "video_id", "interaction_time", "device", "watch_time", "signals"]
    return frame.sort(keys, nulls_last=True).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(EVENT_SCHEMA)


def exposure_starts(events: pa.Table, gap: int, windows: np.ndarray | None) -> np.ndarray:
    """Where exposures begin in sorted events of [n] rows, as [m] int64 row numbers.

    Args:
        events: sorted as by `sort_events`.
        gap: microseconds without an event after which a new exposure begins.
        windows: [n] int8 number of the window of each event, of which an exposure lies in one; None: without.
    """
    if not len(events):
        return np.zeros(0, np.int64)
    user, video, time = (events[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    begins = (np.diff(user) != 0) | (np.diff(video) != 0) | (np.diff(time) >= gap)
    if windows is not None:
        begins |= np.diff(windows) != 0
    return np.flatnonzero(np.concatenate([[True], begins]))


def exposures(events: pa.Table, gap: int, windows: np.ndarray) -> pa.Table:
    """One row per exposure, of EVENT_SCHEMA and `window`: first time, union of signals, watch time in all (float64).

    Args:
        events: sorted as by `sort_events`.
        gap: microseconds without an event after which a new exposure begins.
        windows: [n] int8 number of the window of each event, of which an exposure lies in one.
    """
    starts = exposure_starts(events, gap, windows)
    if not len(starts):
        return events.slice(0, 0).append_column("window", pa.array([], pa.int8()))
    time = events["interaction_time"].to_numpy()[starts]
    watch = np.nan_to_num(events["watch_time"].to_numpy().astype(np.float64))
    return pa.table(
        {
            "user_id": events["user_id"].to_numpy()[starts],
            "video_id": events["video_id"].to_numpy()[starts],
            "interaction_time": time,
            "signals": np.bitwise_or.reduceat(events["signals"].to_numpy(), starts),
            "watch_time": np.add.reduceat(watch, starts),
            "device": _first_present(events["device"], starts),
            "window": windows[starts],
        }
    )


def _first_present(values: pa.ChunkedArray, starts: np.ndarray) -> pa.ChunkedArray:
    """The first value that is not null in each run of rows from one start to the next; null where there is none."""
    rows = np.arange(len(values))
    position = np.where(values.is_valid().to_numpy(), rows, len(values))
    first = np.minimum.reduceat(position, starts)
    ends = np.append(starts[1:], len(values))
    return values.take(pa.array(first, mask=first >= ends))
