"""Recent activity at an exposure: views and likes of a video, its age, and events of the user.

Turned on by the setting `recent`. docs/examples.md has the rules, and how far the counts of videos may be off.
"""

import dataclasses

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import time_lookups
from recsys_tft.columns import FIRST_SEEN, Accuracy
from recsys_tft.configuration.job_settings import RecentSettings
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import COMPUTED
from recsys_tft.number_ops import HOUR
from recsys_tft.point_in_time.counters import COUNTERS, INCREMENT_SCHEMA, first_rows
from recsys_tft.storage.sorting import lexsort

_DAY = 24 * HOUR
_COUNTERS = {"views": COUNTERS.index("view_count"), "likes": COUNTERS.index("like_count")}
PUBLISHED = "published_at"
FIRST_SEEN_SCHEMA = pa.schema({"video_id": pa.int64(), FIRST_SEEN: pa.int64()})
NEVER = np.iinfo(np.int64).max  # a moment
EVENT = len(COUNTERS)  # in `kind`: an event of any kind
COUNT_SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "time": pa.int64(),
        "kind": pa.int8(),  # which of COUNTERS grows, or EVENT
        "number": pa.int32(),
    }
)
_USERS_REACH = 30 * _DAY  # of the longest of USER_COLUMNS that is recent


@dataclasses.dataclass(frozen=True)
class RecentCount:
    """A part of a counter.

    Attributes:
        name: of the column.
        counter: index of its counter in COUNTERS.
        days: length of the window.
    """

    name: str
    counter: int
    days: int

    @classmethod
    def named(cls, name: str) -> "RecentCount":
        """From a name such as `views_7d`."""
        what, days = name.split("_")
        return cls(name, _COUNTERS[what], int(days.removesuffix("d")))

    def leaving(self, times: np.ndarray, steps: int) -> np.ndarray:
        """[n] int64: the moments after which events of [n] times are no longer counted.

        Windows start at whole multiples, since 1970, of the `steps`-th part of the days.
        """
        reach = self.days * _DAY
        step = reach // steps
        return (times // step + 1) * step + reach - 1


_COLUMNS = [column for column in COMPUTED if column.option == "recent"]
_VIDEO_COUNTS = tuple(RecentCount.named(c.name) for c in _COLUMNS if c.accuracy is Accuracy.VERSIONED)
VIDEO_COLUMNS = tuple(count.name for count in _VIDEO_COUNTS)
USER_COLUMNS = tuple(column.name for column in _COLUMNS if column.accuracy is Accuracy.AS_OF)


def _effects() -> np.ndarray:
    effects = np.zeros((len(COUNTERS) + len(_VIDEO_COUNTS), len(COUNTERS) + len(_VIDEO_COUNTS)), np.int64)
    effects[: len(COUNTERS), : len(COUNTERS)] = np.eye(len(COUNTERS))
    for place, count in enumerate(_VIDEO_COUNTS, len(COUNTERS)):
        effects[count.counter, place] = 1
        effects[place, place] = -1
    return effects


# [kinds, columns] int64: what each of the increments, and then what ceases to be recent of each of VIDEO_COLUMNS, adds
# to each of COUNTERS and VIDEO_COLUMNS.
EFFECTS = _effects()


def changes(increments: pa.Table, settings: RecentSettings, latest: int | None = None) -> pa.Table:
    """The increments, and their expirations, of the kinds of EFFECTS.

    Args:
        increments: of INCREMENT_SCHEMA.
        settings: of windows.
        latest: a moment after which nothing is looked up; None: keep all expirations.
    """
    left = expirations(increments, settings)
    return pa.concat_tables([increments, left if latest is None else left.filter(pc.less(left["time"], latest))])


def expirations(increments: pa.Table, settings: RecentSettings) -> pa.Table:
    """When each increment leaves a window, of the kinds of EFFECTS."""
    kinds = increments["counter"].to_numpy()
    parts = [INCREMENT_SCHEMA.empty_table()]
    for kind, count in enumerate(_VIDEO_COUNTS, len(COUNTERS)):
        grown = increments.filter(pa.array(kinds == count.counter))
        time = count.leaving(grown["time"].to_numpy(), settings.steps)
        kept = np.full(len(grown), kind, np.int8), np.zeros(len(grown), bool)
        parts.append(pa.table([grown["video_id"], time, *kept], INCREMENT_SCHEMA))
    return pa.concat_tables(parts)


def first_seen(events: pa.Table) -> pa.Table:
    """The time of each video's first event, by increasing id."""
    video, time = (events[name].to_numpy() for name in ("video_id", "interaction_time"))
    order = lexsort((time, video))
    videos, first = np.unique(video[order], return_index=True)
    return pa.table([videos, time[order][first]], FIRST_SEEN_SCHEMA)


def with_first_seen(videos: pa.Table, seen: pa.Table) -> pa.Table:
    """The videos with FIRST_SEEN, null for videos without events.

    Args:
        videos: by increasing `video_id`, or versions of them.
        seen: of `first_seen`, concatenated over any parts of the events.
    """
    ids, place = np.unique(videos["video_id"].to_numpy(), return_inverse=True)
    earliest = np.full(len(ids), NEVER)
    np.minimum.at(earliest, np.searchsorted(ids, seen["video_id"].to_numpy()), seen[FIRST_SEEN].to_numpy())
    return videos.append_column(FIRST_SEEN, pa.array(earliest[place], mask=earliest[place] == NEVER))


def published(videos: pa.Table, rows: np.ndarray, times: np.ndarray, delay: int) -> np.ndarray:
    """[n] int64: the times of publication of videos, as known at [n] times; NEVER if unknown.

    That is `published_at`, or without it the time of the first event, once that is visible.

    Args:
        videos: with `published_at` and FIRST_SEEN.
        rows: [n] int64 rows of videos.
        times: [n] int64.
        delay: microseconds until an event is visible.
    """
    stated, seen = (pc.fill_null(videos[name], NEVER).to_numpy() for name in (PUBLISHED, FIRST_SEEN))
    since = np.where(stated != NEVER, stated, seen)[rows]
    unknown = (stated == NEVER)[rows] & (since >= times - delay)
    return np.where(unknown, NEVER, since)


def counts_of(events: pa.Table, settings: Settings, since: int | None = None) -> pa.Table:
    """Counts of users' events, as rows of COUNT_SCHEMA; optionally only those `since` a moment.

    Args:
        events: of whole exposures, sorted as by `exposures.sort_events`.
        settings: of the run.
        since: the moment.
    """
    users, time = events["user_id"].to_numpy(), events["interaction_time"].to_numpy()
    tables = []
    for kind, rows in enumerate([*first_rows(events, settings), np.arange(len(users))]):
        rows = rows if since is None else rows[time[rows] >= since]
        size = len(rows)
        tables.append([users[rows], time[rows], np.full(size, kind, np.int8), np.ones(size, np.int32)])
    return pa.concat_tables(pa.table(columns, COUNT_SCHEMA) for columns in tables)


def fold(counts: pa.Table, visible_until: int) -> pa.Table:
    """Compact counts into fewer rows, for moments from `visible_until` on."""
    earliest = visible_until - _USERS_REACH
    frame = pl.DataFrame(counts).filter((pl.col("kind") != EVENT) | (pl.col("time") >= earliest))
    is_over = (pl.col("kind") != EVENT) & (pl.col("time") < visible_until)
    frame = frame.with_columns(time=pl.when(is_over).then(visible_until - 1).otherwise(pl.col("time")))
    sums = frame.group_by("user_id", "time", "kind").agg(pl.sum("number")).sort("user_id", "kind", "time")
    return sums.select(COUNT_SCHEMA.names).to_arrow().cast(COUNT_SCHEMA)


def user_counts(counts: pa.Table, users: np.ndarray, moments: np.ndarray) -> dict[str, np.ndarray]:
    """USER_COLUMNS, [n] int64 each: counts of users' events strictly before moments.

    Args:
        counts: of COUNT_SCHEMA, of these users.
        users: [n] int64 ids.
        moments: [n] int64.
    """
    owner, time, kinds, numbers = (column.to_numpy() for column in counts.columns)

    def of_kind(kind: int) -> time_lookups.EventCounts:
        rows = np.flatnonzero(kinds == kind)
        return time_lookups.EventCounts(owner[rows], time[rows], numbers[rows])

    ever = of_kind(EVENT)
    columns = {f"user_events_{days}d": ever.between(users, moments - days * _DAY, moments) for days in (1, 30)}
    for kind, counter in enumerate(COUNTERS):
        name = f"user_{counter}"
        if name in USER_COLUMNS:
            columns[name] = of_kind(kind).between(users, None, moments)
    return columns
