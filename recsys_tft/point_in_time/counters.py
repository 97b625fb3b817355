"""Point-in-time counters of videos: views, likes and comments before a moment.

Events of all users give a video *versions*: its counters from a moment on. Each version goes through the transform
graph once, and a row takes the last one strictly before its exposure. docs/examples.md has the rules, and how far a
version may lag behind.
"""

import dataclasses
import functools
import math
from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft.configuration.job_settings import CounterSettings
from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling.exposures import exposure_starts, first_that
from recsys_tft.storage.sorting import lexsort
from recsys_tft.tables.event_signals import is_viewing
from recsys_tft.tables.versions import ALWAYS, in_order
from recsys_tft.time_lookups import begins, distinct, ends

COUNTERS = ("view_count", "like_count", "comment_count")

INCREMENT_SCHEMA = pa.schema(
    {
        "video_id": pa.int64(),
        "time": pa.int64(),
        "counter": pa.int8(),  # which of COUNTERS grows by 1
        "training": pa.bool_(),  # whether by an event of the training split
    }
)
NUMBER = "number"  # how many changes a row stands for; absent: one
CARRIED_SCHEMA = INCREMENT_SCHEMA.append(pa.field(NUMBER, pa.int64()))


@dataclasses.dataclass(frozen=True)
class Values:
    """The columns of versions.

    Attributes:
        names: [k] of the columns.
        effects: [kinds, k] int64: what a change of each kind adds to each column.
    """

    names: tuple[str, ...]
    effects: np.ndarray

    @property
    def schema(self) -> pa.Schema:
        """The schema of versions."""
        return pa.schema({"video_id": pa.int64(), "since": pa.int64(), **dict.fromkeys(self.names, pa.int64())})


COUNTED = Values(COUNTERS, np.eye(len(COUNTERS), dtype=np.int64))


def are_as_of(settings: CounterSettings, absent: Collection[str]) -> bool:
    """Whether counters are counted from interactions; `absent` are the columns that the videos table lacks."""
    return settings.source == "as_of" or (settings.source == "auto" and set(COUNTERS) <= set(absent))


def computed_columns(settings: CounterSettings, absent: Collection[str]) -> tuple[str, ...]:
    """The columns of videos that are computed instead of read: COUNTERS if they are counted, and derived ones.

    `auto` reads the table's `popularity`, `as_of` does not, as its time is unknown.
    """
    if not are_as_of(settings, absent):
        return ()
    derived = () if settings.source == "auto" and "popularity" not in absent else ("popularity",)
    return (*COUNTERS, *derived)


def increments(events: pa.Table, splits: np.ndarray, settings: Settings) -> pa.Table:
    """When events add 1 to a counter of their video, as rows of INCREMENT_SCHEMA.

    An exposure, formed without cuts, adds 1 to `view_count` at its first viewing, to `like_count` at its first like and
    to `comment_count` at its first comment, so no video has more likes than views.

    Args:
        events: sorted as by `exposures.sort_events`.
        splits: [n] int8 number of the split of each event.
        settings: of the run.
    """
    firsts = first_rows(events, settings)
    rows = np.concatenate(firsts)
    columns = {
        "video_id": events["video_id"].to_numpy()[rows],
        "time": events["interaction_time"].to_numpy()[rows],
        "counter": np.repeat(np.arange(len(firsts), dtype=np.int8), list(map(len, firsts))),
        "training": splits[rows] == 0,
    }
    return pa.table(columns, INCREMENT_SCHEMA)


def first_rows(events: pa.Table, settings: Settings) -> list[np.ndarray]:
    """For each of COUNTERS the rows of events that add 1 to it, as `increments` says."""
    starts = exposure_starts(events, settings.labels.exposure_gap, None)
    if not len(starts):
        return [np.zeros(0, np.int64) for _ in COUNTERS]
    signals, bits = events["signals"].to_numpy(), settings.table.bits
    counted = (is_viewing(events, bits), *(signals & bits.mask(name) != 0 for name in ("like", "comment")))
    firsts = (first_that(holds, starts) for holds in counted)
    return [first[first < len(events)] for first in firsts]  # of the exposures that have any


def with_totals(
    videos: pa.Table, totals: Iterable[pa.Table], computed: Collection[str], values: Values = COUNTED
) -> pa.Table:
    """The videos with the sums of totals.

    Args:
        videos: by `video_id`, or versions of them.
        totals: `sums` of parts of the increments, of these videos.
        computed: columns that are not read: null unless they are among the values.
        values: the columns of the totals.
    """
    ids, place = np.unique(videos["video_id"].to_numpy(), return_inverse=True)
    counts = np.zeros((len(values.names), len(ids)), np.int64)
    for table in totals:
        rows = np.searchsorted(ids, table["video_id"].to_numpy())
        counts[:, rows] += np.stack([table[name].to_numpy() for name in values.names])
    columns = dict(zip(videos.column_names, videos.columns, strict=True))
    columns |= {name: pa.nulls(len(videos), columns[name].type) for name in computed}
    return pa.table(columns | dict(zip(values.names, counts[:, place], strict=True)))


def in_training(increments: pa.Table) -> pa.Table:
    """The increments by events of the training split."""
    return increments.filter(increments["training"])


def sums(changes: pa.Table, values: Values = COUNTED) -> pa.Table:
    """Sum the changes of each video that has any: by increasing id, in columns of int32."""
    video, kind = changes["video_id"].to_numpy(), changes["counter"].to_numpy()
    ids, kinds = distinct(video), len(values.effects)
    codes = np.searchsorted(ids, video) * kinds + kind
    counts = np.bincount(codes, _numbers(changes), minlength=len(ids) * kinds).astype(np.int64)
    return _valued(ids, (counts.reshape(-1, kinds) @ values.effects).astype(np.int32), values)


def _numbers(changes: pa.Table) -> np.ndarray | None:
    """[n] int64: how many changes each row stands for; None: one."""
    return changes[NUMBER].to_numpy() if NUMBER in changes.column_names else None


def together(changes: pa.Table, carried: pa.Table) -> pa.Table:
    """Changes, and rows of CARRIED_SCHEMA."""
    if not len(carried):
        return changes
    return pa.concat_tables([changes.append_column(NUMBER, pa.array(np.ones(len(changes), np.int64))), carried])


def fold(changes: pa.Table, until: int, settings: CounterSettings) -> pa.Table:
    """Compact changes into fewer rows of CARRIED_SCHEMA; versions at times from `until` on stay the same.

    Changes before the last interval whose inside a row may still see move to its start.
    """
    every = settings.every_microseconds
    begin = (until - settings.delay_microseconds) // every * every
    frame = pl.DataFrame(changes).with_columns(time=pl.max_horizontal("time", pl.lit(begin - 1)))
    number = pl.sum(NUMBER) if NUMBER in changes.column_names else pl.len().cast(pl.Int64).alias(NUMBER)
    keys = INCREMENT_SCHEMA.names
    return frame.group_by(keys).agg(number).sort(keys).to_arrow().cast(CARRIED_SCHEMA)


def bases(
    video_ids: np.ndarray, slices: Iterable[tuple[int, pa.Table]], values: Values = COUNTED
) -> Iterator[tuple[int, pa.Table]]:
    """For each time slice the values of its videos before it, as `later_versions` takes them.

    Args:
        video_ids: [n] int64, increasing.
        slices: in order of time, a key and the `sums` of all changes of these videos.
        values: the columns.
    """
    totals = np.zeros((len(video_ids), len(values.names)), np.int64)
    for key, changed in slices:
        ids = changed["video_id"].to_numpy()
        rows = np.searchsorted(video_ids, ids)
        yield key, _valued(ids, totals[rows], values)
        totals[rows] += np.stack([changed[name].to_numpy() for name in values.names], axis=1)


def _valued(video_ids: np.ndarray, matrix: np.ndarray, values: Values) -> pa.Table:
    """[n] videos with [n, k] values."""
    return pa.table({"video_id": video_ids, **dict(zip(values.names, matrix.T, strict=True))})


def versions(video_ids: np.ndarray, changes: pa.Table, settings: CounterSettings, values: Values = COUNTED) -> pa.Table:
    """The versions of videos, rows of `values.schema` by video and time: the values after all changes until `since`.

    The first version of a video has values of 0 since ALWAYS. Another one begins when a value passes one of
    `thresholds`, and at the end of each interval of `settings.every` since 1970 in which a value changed; rows see no
    change in between, and each version later by `settings.delay`. Versions until a moment depend on nothing after it.

    Args:
        video_ids: [n] int64, increasing.
        changes: of these videos, in any order; rows of INCREMENT_SCHEMA, of which `counter` is the kind.
        settings: how far versions may lie apart.
        values: the columns.
    """
    first = first_versions(video_ids, values)
    return in_order([first, later_versions(first, changes, settings, values)], "video_id")


def first_versions(video_ids: np.ndarray, values: Values = COUNTED) -> pa.Table:
    """The versions of [n] videos before anything changes."""
    zeros = np.zeros(len(video_ids), np.int64)
    return pa.table([video_ids, np.full(len(video_ids), ALWAYS), *[zeros] * len(values.names)], values.schema)


def later_versions(base: pa.Table, changes: pa.Table, settings: CounterSettings, values: Values = COUNTED) -> pa.Table:
    """The versions that begin in a time slice, which cuts no interval of `settings.every`.

    Args:
        base: the values before the slice, of all videos that change in it and any others, by increasing `video_id`.
        changes: all of the slice, in any order.
        settings: how far versions may lie apart.
        values: the columns.
    """
    has_effect = np.asarray(values.effects.any(axis=1))
    changes = changes.filter(pa.array(has_effect[changes["counter"].to_numpy()]))
    video_ids, time, kind = base["video_id"].to_numpy(), changes["time"].to_numpy(), changes["counter"].to_numpy()
    owner = np.searchsorted(video_ids, changes["video_id"].to_numpy())
    order = lexsort((time, owner))
    owner, time, kind = owner[order], time[order], kind[order]
    numbers = 1 if (numbers := _numbers(changes)) is None else numbers[order]
    last = ends(owner, time)  # changes at one instant become visible together
    owner, time = owner[last], time[last]
    first = begins(owner)
    totals, begins_version = [], np.zeros(len(owner), bool)
    for name, effects in zip(values.names, values.effects.T, strict=True):
        before = base[name].to_numpy()[owner[first]]
        totals.append(_running_totals(np.cumsum(effects[kind] * numbers)[last], first, before))
        begins_version |= _passes_threshold(totals[-1], first, before, settings.growth)
    end = (time // settings.every_microseconds + 1) * settings.every_microseconds - 1  # of the interval
    since = np.where(begins_version, time, end) + settings.delay_microseconds
    begins_version[ends(owner, end)] = True
    columns = [video_ids[owner[begins_version]], since[begins_version], *(total[begins_version] for total in totals)]
    return pa.table([pa.array(column, pa.int64()) for column in columns], values.schema)


def _running_totals(sums: np.ndarray, first: np.ndarray, before: np.ndarray) -> np.ndarray:
    """[m] int64: the total of the owner of each row.

    Args:
        sums: [m] int64, of all changes up to this row, including those of earlier owners.
        first: [o] the first row of each owner.
        before: [o] int64, the total of each owner before its first row.
    """
    others = np.concatenate([[0], sums])[first]
    return sums + np.repeat(before - others, np.diff(np.append(first, len(sums))))


def _passes_threshold(totals: np.ndarray, first: np.ndarray, before: np.ndarray, growth: float) -> np.ndarray:
    """[m] bool: whether a threshold lies between each total and the previous one, by the rows of `_running_totals`."""
    levels, earlier = totals, before
    if growth:
        largest = int(max(totals.max(initial=0), before.max(initial=0)))
        levels_of_counters = thresholds(1 << largest.bit_length(), growth)  # few different ones, as each is kept
        levels, earlier = (np.searchsorted(levels_of_counters, t, side="right") for t in (totals, before))
    passed = np.append(True, levels[1:] != levels[:-1])[: len(levels)]
    passed[first] = levels[first] != earlier
    return passed


@functools.lru_cache
def thresholds(largest: int, growth: float) -> np.ndarray:
    """Increasing [k] int64 up to `largest`, from 1: each is the first number at least 1 + growth times the one before.

    So a total is below 1 + growth times the last threshold that it reached; up to 1 / growth it is equal.
    """
    factor = 1 + Fraction(str(growth))
    levels = [1]
    while levels[-1] < largest:
        levels.append(max(levels[-1] + 1, math.ceil(levels[-1] * factor)))
    array = np.array(levels, np.int64)
    array.flags.writeable = False  # as all callers have the same one
    return array
