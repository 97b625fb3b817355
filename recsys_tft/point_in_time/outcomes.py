"""Outcomes of earlier exposures at a moment: how many there were, and how many of them were positive.

They are counted by user, by user and group of videos (such as a category), and by video over all users. Turned on by
the setting `positive_rates`; docs/examples.md has the rules.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.columns import Column, OfGroup, Tally
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import raw_columns
from recsys_tft.labelling.exposures import exposure_starts
from recsys_tft.point_in_time.recent import NEVER
from recsys_tft.storage.sorting import lexsort
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.time_lookups import EventCounts, Timeline, distinct, find_sorted

USER_COLUMNS = ("user_shown_count", "user_positive_count")
VIDEO_COLUMNS = ("shown_count", "positive_count")
EXPECTED = "user_expected_count"
_WEIGHT = 10  # prior exposures at the usual rate, added to those of a video
_BEFORE_ALL = np.iinfo(np.int64).min  # the time of no exposure
_UNIT = 2**20  # units of an exposure; sums of integers do not depend on their order
SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "video_id": pa.int64(),
        "time": pa.int64(),  # of the first event
        "since": pa.int64(),  # when it became positive; NEVER if it did not
        "until": pa.int64(),  # when a negative signal ended that; NEVER if none did
        "split": pa.int8(),  # of the first event
    }
)
STEP_SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "video_id": pa.int64(),
        "shown": pa.int64(),  # time of the exposure; of several, the last one
        "time": pa.int64(),
        "exposures": pa.int32(),  # how many are shown then
        "positives": pa.int32(),  # how many become positive then, minus those that cease to be
    }
)

WORTH_SCHEMA = pa.schema(
    {
        "user_id": pa.int64(),
        "time": pa.int64(),  # of the exposure; of several, the last one
        "own": pa.int64(),  # positives expected from their videos' own rates, in units of 1 / _UNIT
        "prior": pa.int64(),  # weight of the usual rate, in the same units
        "positive_count": pa.int64(),  # summed over their videos at that time
        "shown_count": pa.int64(),
    }
)


def group_columns(settings: Settings) -> tuple[Column, ...]:
    """The columns about a user and the videos of a group that any feature reads."""
    read = raw_columns(settings.table.active(settings))
    return tuple(column for column in read if column.of_group)


def groups(settings: Settings) -> tuple[str, ...]:
    """The columns of videos by which exposures are grouped."""
    return tuple(dict.fromkeys(c.of_group.column for c in group_columns(settings) if c.of_group))


def empty_outcomes() -> pa.Table:
    """Outcomes of no exposures."""
    return SCHEMA.empty_table()


def find_outcomes(
    events: pa.Table, splits: np.ndarray, labelled: pa.Table, label: Callable[[pa.Table], pa.Table], gap: int
) -> pa.Table:
    """The outcomes of exposures formed without cuts, so that they depend on no split.

    Args:
        events: of whole pairs of user and video, sorted as by `exposures.sort_events`.
        splits: [n] int8 split of each event.
        labelled: the exposures of one split each, as `examples` labels them.
        label: labels the exposures of some events, formed without cuts, in the same way.
        gap: microseconds without an event after which a new exposure begins.
    """
    starts, cut = (exposure_starts(events, gap, split) for split in (None, splits))
    whole = np.searchsorted(starts, cut, side="right") - 1  # the uncut exposure that each is a part of
    alone = np.bincount(whole, minlength=len(starts)) <= 1
    first = np.searchsorted(cut, starts[alone])
    outcomes_of_whole = _outcomes(labelled.take(pa.array(first)), splits[starts[alone]])
    if alone.all():
        return outcomes_of_whole
    divided = events.filter(pa.array(np.repeat(~alone, np.diff(np.append(starts, len(events))))))
    return pa.concat_tables([outcomes_of_whole, _outcomes(label(divided), splits[starts[~alone]])]).combine_chunks()


def _outcomes(labelled: pa.Table, splits: np.ndarray) -> pa.Table:
    """The outcomes of labelled exposures, whose first events are in [n] int8 splits."""
    user, video, time, since = (
        labelled[name].to_numpy() for name in ("user_id", "video_id", "interaction_time", "since")
    )
    if "until" in labelled.column_names:
        until = labelled["until"].to_numpy()
    else:
        since, until = np.where(labelled["label"].to_numpy(), since, NEVER), np.full(len(since), NEVER)
    return pa.table([user, video, time, since, until, splits], SCHEMA)


def steps(outcomes: pa.Table) -> list[tuple[np.ndarray, np.ndarray]]:
    """The steps of exposures: shown, became positive, became negative after that.

    Returns:
        For each of the three the [k] int64 rows of exposures, and [k] int64 times.
    """
    shown, since, until = (outcomes[name].to_numpy() for name in ("time", "since", "until"))
    positive = np.flatnonzero(since < until)
    turned = positive[until[positive] != NEVER]
    return [(np.arange(len(shown)), shown), (positive, since[positive]), (turned, until[turned])]


def step_table(outcomes: pa.Table, since: int | None = None) -> pa.Table:
    """The steps of exposures as rows of STEP_SCHEMA, optionally only those `since` a moment.

    An exposure that is positive from the beginning has one row for both steps.
    """
    user, video, shown = (outcomes[name].to_numpy() for name in ("user_id", "video_id", "time"))
    (every, _), (positive, became), (turned, until) = steps(outcomes)
    at_once = np.zeros(len(shown), np.int32)
    at_once[positive[became == shown[positive]]] = 1
    later = became > shown[positive]
    parts = [(every, shown, 1, at_once), (positive[later], became[later], 0, 1), (turned, until, 0, -1)]
    tables: list[pa.Table] = []
    for rows, time, exposures, positives in parts:
        numbers = (np.broadcast_to(np.asarray(number, np.int32), len(rows)) for number in (exposures, positives))
        table = pa.table([user[rows], video[rows], shown[rows], time, *numbers], STEP_SCHEMA)
        tables.append(table if since is None else table.filter(pa.array(time >= since)))
    return pa.concat_tables(tables).combine_chunks()


def user_counts(steps: pa.Table, users: np.ndarray, moments: np.ndarray) -> dict[str, np.ndarray]:
    """USER_COLUMNS, [n] int64 each: outcomes of users' exposures strictly before moments.

    Args:
        steps: of STEP_SCHEMA, of these users.
        users: [n] int64 ids.
        moments: [n] int64.
    """
    owner, time, *numbers = (steps[name].to_numpy() for name in ("user_id", "time", "exposures", "positives"))
    columns = {}
    for name, increments in zip(USER_COLUMNS, numbers, strict=True):
        counts = np.flatnonzero(increments)
        columns[name] = EventCounts(owner[counts], time[counts], increments[counts]).between(users, None, moments)
    return columns


def reads_expected(settings: Settings) -> bool:
    """Whether any feature reads EXPECTED."""
    return any(column.name == EXPECTED for column in raw_columns(settings.table.active(settings)))


def started_exposures(steps: pa.Table, since: int | None = None) -> pa.Table:
    """user_id, video_id and `shown` of all exposures in STEP_SCHEMA, optionally only those `since` a moment."""
    is_shown = steps["exposures"].to_numpy() > 0
    chosen = is_shown if since is None else is_shown & (steps["shown"].to_numpy() >= since)
    return steps.select(["user_id", "video_id", "shown"]).filter(pa.array(chosen))


def worth(
    exposures: pa.Table,
    versions: pa.Table,
    names: Sequence[str] = VIDEO_COLUMNS,
    timeline: Timeline | None = None,
) -> pa.Table:
    """The expected positives of exposures, by the counters of their videos at that time, as rows of WORTH_SCHEMA.

    Args:
        exposures: as `started_exposures` returns them.
        versions: of the counters of these videos, as `counters.versions`.
        names: of VIDEO_COLUMNS in the versions.
        timeline: of the versions, if there is one already.
    """
    user, video, time = (column.to_numpy() for column in exposures.columns)
    rows = (timeline or Timeline(versions, "video_id")).last_before(video, time)
    shown, positive = (versions[name].to_numpy()[rows] for name in names)
    parts = (np.rint(_UNIT * numerator / (shown + _WEIGHT)).astype(np.int64) for numerator in (positive, _WEIGHT))
    return pa.table([user, time, *parts, positive, shown], WORTH_SCHEMA)


def fold(worth: pa.Table, visible_until: int) -> pa.Table:
    """Sum the rows before a moment, which all later lookups include, into one row per user."""
    is_over = pa.array(worth["time"].to_numpy() < visible_until)
    sums = pl.DataFrame(worth.filter(is_over)).group_by("user_id").agg(pl.max("time"), pl.exclude("time").sum())
    rows = pa.concat_tables([sums.select(WORTH_SCHEMA.names).to_arrow(), worth.filter(pc.invert(is_over))])
    return rows.sort_by([(name, "ascending") for name in WORTH_SCHEMA.names])


def expected(worth: pa.Table, users: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """EXPECTED, [n] float64: how many of users' exposures before moments would be positive if all users were alike.

    An exposure counts as the share of its video's earlier exposures that were positive, shrunk by _WEIGHT exposures
    towards the share over all videos that the user was shown.

    Args:
        worth: of WORTH_SCHEMA, of these users.
        users: [n] int64 ids.
        moments: [n] int64.
    """
    owners, times, *values = (column.to_numpy() for column in worth.columns)
    sums = EventCounts(owners, times, np.stack(values, axis=1)).between(users, None, moments)
    rates, prior, positive, shown = sums.T
    return (rates + prior * ((positive + 1) / (shown + 2))) / _UNIT


def with_expected(exposures: pa.Table, worth: pa.Table, delay: int, name: str = EXPECTED) -> pa.Table:
    """Exposures with EXPECTED of their users as a column, from events that are visible after a delay."""
    users, times = (exposures[key].to_numpy() for key in ("user_id", "interaction_time"))
    return exposures.append_column(name, pa.array(expected(worth, users, times - delay), pa.float32()))


def by_group(
    steps: pa.Table, videos: VideoLookup, column: str, moment: int, owners: np.ndarray | None = None
) -> pa.Table:
    """The outcomes of exposures before a moment, by group of their videos.

    Args:
        steps: of STEP_SCHEMA, of one user.
        videos: the lookup of all videos, with the column.
        column: by which they are grouped.
        moment: microseconds.
        owners: for steps of several users, [n] int64 numbers of the users from 0.

    Returns:
        By increasing owner and group: `owner`, if given; `group`, the value of the column; and by the names of Tally
        how many were shown, how many of these are positive, and the time of the last one, all int64.
    """
    before = steps["time"].to_numpy() < moment
    _, video, shown, time, *numbers = (counts_of_step.to_numpy()[before] for counts_of_step in steps.columns)
    lookup = videos.groups(column)
    chosen, group = lookup.at(videos.position(video, shown))
    size = max(len(lookup.values), 1)
    keys = group if owners is None else owners[before][chosen] * size + group
    keys, place = np.unique(keys, return_inverse=True)
    counts = np.zeros((2, len(keys)), np.int64)
    for count, counts_of_step in zip(counts, numbers, strict=True):
        np.add.at(count, place, counts_of_step[chosen])
    last = np.full(len(keys), _BEFORE_ALL)
    shows = numbers[0][chosen] > 0
    np.maximum.at(last, place[shows], time[chosen][shows])
    there = counts[0] > 0
    owner, group = np.divmod(keys[there], size)
    owner_column = {} if owners is None else {"owner": owner}
    totals = {Tally.SHOWN: counts[0], Tally.POSITIVE: counts[1], Tally.LAST: last}
    tallies = {tally.name: counts_of_step[there] for tally, counts_of_step in totals.items()}
    return pa.table({**owner_column, "group": lookup.values.take(pa.array(group)), **tallies})


class Tallies:
    """Outcomes of users' exposures to videos of the same groups, at [n] moments.

    Args:
        steps: of STEP_SCHEMA, of all these users.
        videos: the lookup of all videos, with the columns by which they are grouped.
        users: [n] int64 ids.
        video_ids: [n] int64 ids of known videos, which give the groups.
        times: [n] int64, when they are shown.
        delay: microseconds until an event is visible.
    """

    def __init__(
        self,
        steps: pa.Table,
        videos: VideoLookup,
        users: np.ndarray,
        video_ids: np.ndarray,
        times: np.ndarray,
        delay: int,
    ):
        self._videos, self._steps = videos, _Steps.of(steps, videos)
        self._position = videos.position(video_ids, times)
        place = find_sorted(self._steps.users, users)
        self._users, self._times = np.where(place >= 0, place, len(self._steps.users)), times - delay
        self._order = lexsort((times, self._users))
        self._found: dict[str, Mapping[Tally, pa.Array]] = {}

    def of(self, group: OfGroup) -> pa.Array:
        """[n] int64: the sum over the groups of a video, or the latest time.

        Null for a video without a group, and for the time if there was no exposure.
        """
        if group.column not in self._found:
            self._found[group.column] = self._tallied(group.column)
        return self._found[group.column][group.tally]

    def _tallied(self, column: str) -> Mapping[Tally, pa.Array]:
        from recsys_tft.point_in_time.tally_kernel import tally  # loads numba

        groups, steps, rows = self._videos.groups(column), self._steps, len(self._times)
        step_arrays = (steps.user, steps.time, steps.position, steps.exposures, steps.positives)
        group_arrays = (groups.bounds, groups.codes, np.full(len(groups.values), -1))
        shown, positive, last = np.empty(rows, np.int64), np.empty(rows, np.int64), np.full(rows, _BEFORE_ALL)
        counts = np.zeros((len(groups.values), 3), np.int64)
        tally(
            self._users,
            self._times,
            self._position,
            *step_arrays,
            self._order,
            *group_arrays,
            counts,
            shown,
            positive,
            last,
        )
        tallies = {
            Tally.SHOWN: (shown, shown < 0),
            Tally.POSITIVE: (positive, shown < 0),
            Tally.LAST: (last, last == _BEFORE_ALL),
        }
        return {name: pa.array(values, mask=mask if mask.any() else None) for name, (values, mask) in tallies.items()}


@dataclasses.dataclass(frozen=True)
class _Steps:
    """Steps of exposures by user and time.

    Attributes:
        users: [k] int64 increasing ids.
        user: [m] int64 numbers of users.
        time: [m] int64.
        position: [m] int64 rows of the lookup: the video at its exposure.
        exposures: [m] int32, how many are shown.
        positives: [m] int32, how many become positive, minus those that cease to be.
    """

    users: np.ndarray
    user: np.ndarray
    time: np.ndarray
    position: np.ndarray
    exposures: np.ndarray
    positives: np.ndarray

    @classmethod
    def of(cls, steps: pa.Table, videos: VideoLookup) -> "_Steps":
        """From rows of STEP_SCHEMA."""
        user, video, shown, time, exposures, positives = (column.to_numpy() for column in steps.columns)
        order = lexsort((time, user))
        users, position = distinct(user), videos.position(video, shown)
        numbers = np.searchsorted(users, user)
        return cls(users, *(values[order] for values in (numbers, time, position, exposures, positives)))
