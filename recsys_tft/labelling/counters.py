"""Counters of videos as of a moment: how often each was viewed, liked and commented on before it.

The events of all users make a video into *versions*: what its counters were from one moment on. Each version goes
through the transform graph once, and a row takes the last one strictly before its exposure. docs/examples.md has the
rules, and how far a version may lag behind.
"""

import dataclasses
import math
from collections.abc import Collection
from fractions import Fraction

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.job_settings import CounterSettings
from recsys_tft.labelling.exposures import SIGNAL, exposure_starts, is_viewing
from recsys_tft.labelling.versions import ALWAYS, begins, ends

COUNTERS = ("view_count", "like_count", "comment_count")

INCREMENT_SCHEMA = pa.schema(
    {
        "video_id": pa.int64(),
        "time": pa.int64(),
        "counter": pa.int8(),  # which of COUNTERS grows by 1
        "training": pa.bool_(),  # whether by an event of the training window
    }
)


@dataclasses.dataclass(frozen=True)
class Values:
    """What versions hold.

    Attributes:
        names: [k] of the columns.
        effects: [kinds, k] int64: what a change of each kind adds to each of them.
    """

    names: tuple[str, ...]
    effects: np.ndarray

    @property
    def schema(self) -> pa.Schema:
        """Of the versions."""
        return pa.schema({"video_id": pa.int64(), "since": pa.int64(), **dict.fromkeys(self.names, pa.int64())})


COUNTED = Values(COUNTERS, np.eye(len(COUNTERS), dtype=np.int64))


def are_as_of(settings: CounterSettings, absent: Collection[str]) -> bool:
    """Whether counters are counted from interactions; `absent` are the columns that the videos table lacks."""
    return settings.source == "as_of" or (settings.source == "auto" and set(COUNTERS) <= set(absent))


def computed_columns(settings: CounterSettings, absent: Collection[str]) -> tuple[str, ...]:
    """The columns of videos that are not read: COUNTERS where they are counted, and what is derived from them.

    A `popularity` that the table has is read by `auto`, but not by `as_of`, as nobody knows of when it is.
    """
    if not are_as_of(settings, absent):
        return ()
    derived = () if settings.source == "auto" and "popularity" not in absent else ("popularity",)
    return (*COUNTERS, *derived)


def increments(events: pa.Table, gap: int, windows: np.ndarray) -> pa.Table:
    """When events add 1 to a counter of their video, as rows of INCREMENT_SCHEMA.

    An exposure, formed without cuts, adds 1 to `view_count` at its first viewing, to `like_count` at its first like and
    to `comment_count` at its first comment: later events change nothing about it, and no video has more likes than
    views.

    Args:
        events: sorted as by `exposures.sort_events`.
        gap: microseconds without an event after which a new exposure begins.
        windows: [n] int8 number of the window of each event.
    """
    firsts = first_rows(events, gap)
    rows = np.concatenate(firsts)
    columns = {
        "video_id": events["video_id"].to_numpy()[rows],
        "time": events["interaction_time"].to_numpy()[rows],
        "counter": np.repeat(np.arange(len(firsts), dtype=np.int8), list(map(len, firsts))),
        "training": windows[rows] == 0,
    }
    return pa.table(columns, INCREMENT_SCHEMA)


def first_rows(events: pa.Table, gap: int) -> list[np.ndarray]:
    """For each of COUNTERS the rows of events that add 1 to it, as `increments` says."""
    starts = exposure_starts(events, gap, None)
    if not len(starts):
        return [np.zeros(0, np.int64) for _ in COUNTERS]
    signals = events["signals"].to_numpy()
    counted = (is_viewing(events), signals & SIGNAL["like"] != 0, signals & SIGNAL["comment"] != 0)
    return [_first_of_each(holds, starts) for holds in counted]


def _first_of_each(holds: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The first row in which [n] bool holds, of each run of rows from one start to the next that has any."""
    first = np.minimum.reduceat(np.where(holds, np.arange(len(holds)), len(holds)), starts)
    return first[first < len(holds)]


def with_totals(videos: pa.Table, increments: pa.Table, computed: Collection[str]) -> pa.Table:
    """The videos with COUNTERS that the increments add up to.

    Args:
        videos: by `video_id`, or versions of them.
        increments: of these videos.
        computed: COUNTERS, and other columns that are not read, which become null.
    """
    ids, place = np.unique(videos["video_id"].to_numpy(), return_inverse=True)
    owner = np.searchsorted(ids, increments["video_id"].to_numpy())
    counter = increments["counter"].to_numpy()
    columns = dict(zip(videos.column_names, videos.columns, strict=True))
    columns |= {name: pa.nulls(len(videos), columns[name].type) for name in computed}
    return pa.table(
        columns | {name: np.bincount(owner[counter == k], minlength=len(ids))[place] for k, name in enumerate(COUNTERS)}
    )


def of_training(increments: pa.Table) -> pa.Table:
    """Those by events of the training window."""
    return increments.filter(increments["training"])


def versions(
    video_ids: np.ndarray, increments: pa.Table, settings: CounterSettings, values: Values = COUNTED
) -> pa.Table:
    """The versions of videos, rows of `values.schema` by video and time: the values after all that was until `since`.

    The first version of a video has values of 0 and is there since ALWAYS. Another one begins whenever a value passes
    one of `thresholds`, and at the end of each interval of `settings.every` since 1970 in which a value changed: of
    what happens in between a row sees nothing. Rows see either later by `settings.delay`. Which versions there are
    until a moment depends on nothing after it.

    Args:
        video_ids: [n] int64, increasing.
        increments: of these videos, in any order; `counter` is the kind of the change.
        settings: how far versions may lie apart.
        values: what changes.
    """
    increments = increments.filter(pa.array(values.effects.any(axis=1)[increments["counter"].to_numpy()]))
    owner = np.searchsorted(video_ids, increments["video_id"].to_numpy())
    time, kind = increments["time"].to_numpy(), increments["counter"].to_numpy()
    order = np.lexsort((time, owner))
    owner, time, kind = owner[order], time[order], kind[order]
    totals = _running_totals(owner, values.effects[kind])
    last = ends(owner, time)  # what happens at one instant is seen at once
    owner, time, totals = owner[last], time[last], totals[last]
    levels = np.stack([_levels(column, settings.growth) for column in totals.T], axis=1)
    before = np.concatenate([np.zeros((1, len(values.names)), np.int64), levels[:-1]])[: len(levels)]
    before[begins(owner)] = 0
    passed = (levels != before).any(axis=1)
    end = (time // settings.every_microseconds + 1) * settings.every_microseconds - 1  # of the interval
    closing = ends(owner, end)
    closing = closing[~passed[closing]]
    zeros = np.zeros((len(video_ids), len(values.names)), np.int64)
    parts = (
        (np.arange(len(video_ids)), np.full(len(video_ids), ALWAYS), zeros),
        (owner[passed], time[passed] + settings.delay_microseconds, totals[passed]),
        (owner[closing], end[closing] + settings.delay_microseconds, totals[closing]),
    )
    owner, since, totals = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.lexsort((since, owner))
    columns = [video_ids[owner[order]], since[order], *totals[order].T]
    return pa.table([pa.array(column, pa.int64()) for column in columns], values.schema)


def _running_totals(owner: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """[m, k] int64: the sums of [m, k] changes of the owner of each row, up to this row."""
    totals = np.cumsum(changes, axis=0)
    first = begins(owner)
    base = np.concatenate([np.zeros((1, changes.shape[1]), np.int64), totals])[first]
    return totals - np.repeat(base, np.diff(np.append(first, len(owner))), axis=0)


def _levels(totals: np.ndarray, growth: float) -> np.ndarray:
    """[m] int64: how many thresholds each total has reached."""
    if growth == 0:
        return totals
    return np.searchsorted(thresholds(int(totals.max(initial=0)), growth), totals, side="right")


def thresholds(largest: int, growth: float) -> np.ndarray:
    """Increasing [k] int64 up to `largest`, from 1: each is the first number at least 1 + growth times the one before.

    So a total is less than 1 + growth times the last threshold that it has reached; up to 1 / growth it is equal.
    """
    factor = 1 + Fraction(str(growth))
    found = [1]
    while found[-1] < largest:
        found.append(max(found[-1] + 1, math.ceil(found[-1] * factor)))
    return np.array(found, np.int64)
