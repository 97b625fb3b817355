"""Watch history: the last videos that a user was positive on before each exposure. docs/examples.md has the rules."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import time_lookups
from recsys_tft.columns import HISTORY
from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import labels
from recsys_tft.labelling.exposures import first_that
from recsys_tft.point_in_time.recent import NEVER
from recsys_tft.storage.sorting import lexsort
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.time_lookups import begins, rows_at, take_or_null


@dataclasses.dataclass(frozen=True)
class Positives:
    """When users were positive on videos, and so when these are in histories.

    Attributes:
        user: [n] int64 ids.
        video: [n] int64 ids.
        since: [n] int64 times of the events by which their exposures became positive.
        until: [n] int64 times of later events that made them negative; NEVER without one. None: none did.
    """

    user: np.ndarray
    video: np.ndarray
    since: np.ndarray
    until: np.ndarray | None = None


def positive_since(events: pa.Table, starts: np.ndarray, duration: np.ndarray, settings: Settings) -> np.ndarray:
    """[m] int64: the time at which each exposure became positive; if it never did, of its last event.

    Args:
        events: sorted as by `exposures.sort_events`.
        starts: [m] int64 rows with which exposures begin.
        duration: [m] float32 seconds of their videos, NaN where unknown.
        settings: of the run.
    """
    if not len(starts):
        return np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(events)))
    watched = _running_sums(np.nan_to_num(events["watch_time"].to_numpy().astype(np.float64)), starts, sizes)
    rules = labels.rules_that_hold(events["signals"].to_numpy(), watched, np.repeat(duration, sizes), settings)
    first = first_that(labels.weights(rules, settings.labels.positive) > 0, starts)
    return events["interaction_time"].to_numpy()[np.minimum(first, starts + sizes - 1)]


def negative_since(events: pa.Table, starts: np.ndarray, settings: Settings) -> np.ndarray:
    """[m] int64: the time of each exposure's first event with a negative signal; NEVER without one.

    Args:
        events: sorted as by `exposures.sort_events`.
        starts: [m] int64 rows with which exposures begin.
        settings: of the run.
    """
    if not len(starts):
        return np.zeros(0, np.int64)
    first = first_that(labels.is_negative(events["signals"].to_numpy(), settings), starts)
    return np.append(events["interaction_time"].to_numpy(), NEVER)[first]


def _running_sums(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The running sum of [n] values within each run of rows."""
    sums = values.copy()
    for place in range(1, int(sizes.max(initial=0))):
        rows = starts[sizes > place] + place
        sums[rows] += sums[rows - 1]
    return sums


def histories(
    positives: Positives, users: pa.Table, videos: VideoLookup, user: np.ndarray, time: np.ndarray, length: int
) -> dict[str, pa.ChunkedArray]:
    """HISTORY of [m] exposures in any order, as `Histories` says."""
    return next(Histories(positives, users, videos, user, time, length).of_parts([np.arange(len(user))]))


class Histories:
    """HISTORY of [m] exposures: lists of the last videos, most recent first, and of their categories.

    A video is in it from the event that made it positive to the one that made it negative. Without any video, the
    history of the users table is taken.

    Args:
        positives: of the users, in any order.
        users: by increasing `user_id`, or versions of them, with HISTORY.
        videos: the lookup of all videos.
        user: [m] int64 ids.
        time: [m] int64 times of the exposures.
        length: how many videos at most.
    """

    def __init__(
        self,
        positives: Positives,
        users: pa.Table,
        videos: VideoLookup,
        user: np.ndarray,
        time: np.ndarray,
        length: int,
    ):
        self._steps = _Steps.of(positives, videos.order(positives.video))
        step_users, times = self._steps.user, self._steps.time
        self._last = time_lookups.last_before(step_users, times, user, time, tie=np.arange(len(step_users)))
        self._users, self._videos, self._user, self._time, self._length = users, videos, user, time, length

    def of_parts(self, parts: Iterable[np.ndarray]) -> Iterator[dict[str, pa.ChunkedArray]]:
        """HISTORY of the exposures of each part.

        Args:
            parts: row numbers of exposures, [k] int64 each; each user's parts are in order of time.
        """
        walk = _Walk(self._steps, self._length + self._steps.depth)
        for part in parts:
            yield self._of(part, walk)

    def _of(self, part: np.ndarray, walk: "_Walk") -> dict[str, pa.ChunkedArray]:
        user, time, last = self._user[part], self._time[part], self._last[part]
        rows = np.full((len(part), self._length + self._steps.depth), -1, np.int32)
        rows[last >= 0] = walk.after(last[last >= 0])
        used = self._used(rows)
        offsets = pa.array(np.concatenate([[0], np.cumsum(used.sum(axis=1))]), pa.int32())
        chosen = rows[used]
        categories = _categories(self._videos, self._steps.video, chosen, np.repeat(time, used.sum(axis=1)))
        user_rows = rows_at(self._users, "user_id", user, time)
        user_rows[used.any(axis=1)] = -1
        lists = {}
        for name, array in zip(HISTORY, (pa.array(self._steps.video[chosen]), categories), strict=True):
            stored = pc.list_slice(take_or_null(self._users[name], user_rows), 0, self._length).cast(
                self._users[name].type
            )
            lists[name] = pc.if_else(pa.array(user_rows >= 0), stored, pa.ListArray.from_arrays(offsets, array))
        return lists

    def _used(self, rows: np.ndarray) -> np.ndarray:
        """Which of [m, length + depth] rows are in the histories: the last `length` distinct videos of each."""
        used = rows >= 0
        if self._steps.depth:
            video = self._steps.video[rows]
            for place in range(1, rows.shape[1]):
                used[:, place] &= ~((video[:, :place] == video[:, [place]]) & used[:, :place]).any(axis=1)
            used &= np.cumsum(used, axis=1) <= self._length
        return used


@dataclasses.dataclass(frozen=True)
class _Steps:
    """Changes of users' histories in order: a video enters at the front, or leaves.

    One that leaves again is an entry of its own, so that an earlier positive of the same video stays behind it.

    Attributes:
        user: [n] int64 ids.
        time: [n] int64.
        video: [n] int64 ids.
        entry: [n] int64: equal for steps of which a later one replaces an earlier one.
        goes: [n] bool: whether the entry leaves; None: none does.
        depth: the most entries of a user at a time that will leave.
    """

    user: np.ndarray
    time: np.ndarray
    video: np.ndarray
    entry: np.ndarray
    goes: np.ndarray | None
    depth: int

    @classmethod
    def of(cls, positives: Positives, rank: np.ndarray) -> "_Steps":
        """The steps of positives; `rank` orders their [n] videos."""
        user, video, time, until = positives.user, positives.video, positives.since, positives.until
        leaves = np.zeros(0, np.int64) if until is None else np.flatnonzero(until != NEVER)
        if until is None or not len(leaves):
            order = lexsort((rank, time, user))
            return cls(user[order], time[order], video[order], video[order], None, 0)
        entry = np.unique(video, return_inverse=True)[1]
        entry[leaves] = len(video) + np.arange(len(leaves))
        twice = np.append(np.arange(len(video)), leaves)
        user, video, entry, time = user[twice], video[twice], entry[twice], np.append(time, until[leaves])
        goes = np.arange(len(twice)) >= len(positives.video)
        order = lexsort((rank[twice], ~goes, time, user))
        change = np.where(goes, -1, entry >= len(positives.video))[order]
        return cls(user[order], time[order], video[order], entry[order], goes[order], int(np.cumsum(change).max()))


def _categories(videos: VideoLookup, video: np.ndarray, chosen: np.ndarray, times: np.ndarray) -> pa.Array:
    """The categories of video[chosen] at [m] times."""
    if videos.is_versioned:
        return videos.category(videos.position(video[chosen], times)).combine_chunks()
    positions = videos.position(video, video) if len(video) else video  # each once, as no time matters
    return videos.category(positions).combine_chunks().take(pa.array(chosen))


class _Walk:
    """Walks over the steps of all users, and keeps the last distinct entries of each.

    Args:
        steps: of all users.
        length: how many entries to keep; `depth` more than the history, as that many may leave.
    """

    def __init__(self, steps: _Steps, length: int):
        self._begins, self._entry, self._goes = begins(steps.user), steps.entry.astype(np.int64), steps.goes
        self._done = np.zeros(len(self._begins), np.int64)  # steps of each user that were walked
        self._recent = np.full((len(self._begins), length), -1, np.int32)  # rows of the last distinct entries

    def after(self, rows: np.ndarray) -> np.ndarray:
        """[m, length] int32: the rows of the user's last distinct entries after each of [m] steps, -1 for none.

        No step may precede one of the same user in an earlier call.
        """
        from recsys_tft.point_in_time.history_kernel import walk  # loads numba

        recent_rows = np.empty((len(rows), self._recent.shape[1]), np.int32)
        goes = np.zeros(len(self._entry), bool) if self._goes is None else self._goes
        owner = np.searchsorted(self._begins, rows, side="right") - 1
        order = lexsort([rows])
        walk(order, rows, owner, self._begins, self._entry, goes, self._done, self._recent, recent_rows)
        return recent_rows
