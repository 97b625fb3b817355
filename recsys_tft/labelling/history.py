"""Watch history: the videos that a user was positive on last, as of each exposure. docs/examples.md has the rules."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import point_in_time
from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import labels
from recsys_tft.point_in_time import begins, rows_at, take_or_null
from recsys_tft.tables.entities import VideoLookup

COLUMNS = ("history_video_ids", "history_categories")


@dataclasses.dataclass(frozen=True)
class Positives:
    """When users became positive on videos.

    Attributes:
        user: [n] int64 ids.
        video: [n] int64 ids.
        since: [n] int64 times.
    """

    user: np.ndarray
    video: np.ndarray
    since: np.ndarray


def positive_since(events: pa.Table, starts: np.ndarray, duration: np.ndarray, settings: Settings) -> np.ndarray:
    """The time of the event by which each exposure became positive, [m] int64; of one that never did, of its last.

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
    rules = labels.rules_that_hold(
        events["signals"].to_numpy(), watched, np.repeat(duration, sizes), settings.ranker.min_watch_ratio
    )
    holds = labels.weights(rules, settings.labels.positive) > 0
    first = np.minimum.reduceat(np.where(holds, np.arange(len(holds)), len(holds)), starts)
    return events["interaction_time"].to_numpy()[np.minimum(first, starts + sizes - 1)]


def _running_sums(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The sum of [n] values from the beginning of each run up to every row; a run knows nothing of the others."""
    sums = values.copy()
    for place in range(1, int(sizes.max(initial=0))):
        rows = starts[sizes > place] + place
        sums[rows] += sums[rows - 1]
    return sums


def histories(
    positives: Positives, users: pa.Table, videos: VideoLookup, user: np.ndarray, time: np.ndarray, length: int
) -> dict[str, pa.ChunkedArray]:
    """COLUMNS of [m] exposures in any order, as `Histories` says."""
    return next(Histories(positives, users, videos, user, time, length).of_parts([np.arange(len(user))]))


class Histories:
    """COLUMNS of [m] exposures: lists of the last videos, most recent first, and of their categories.

    Where a user has no earlier positive, what the users table says stands in.

    Args:
        positives: of the users, in any order.
        users: by increasing `user_id`, or versions of them, with COLUMNS.
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
        order = np.lexsort((positives.video, positives.since, positives.user))
        own, self._video = positives.user[order], positives.video[order]
        self._begins = begins(own)
        self._last = point_in_time.last_before(own, positives.since[order], user, time, tie=self._video)
        self._users, self._videos, self._user, self._time, self._length = users, videos, user, time, length

    def of_parts(self, parts: Iterable[np.ndarray]) -> Iterator[dict[str, pa.ChunkedArray]]:
        """COLUMNS of the exposures of each part.

        Args:
            parts: row numbers of exposures, [k] int64 each; of a user, none before those of an earlier part in time.
        """
        walk = _Walk(self._begins, self._video, self._length)
        for part in parts:
            yield self._of(part, walk)

    def _of(self, part: np.ndarray, walk: "_Walk") -> dict[str, pa.ChunkedArray]:
        user, time, last = self._user[part], self._time[part], self._last[part]
        rows = np.full((len(part), self._length), -1, np.int32)
        rows[last >= 0] = walk.after(last[last >= 0])
        used = rows >= 0
        offsets = pa.array(np.concatenate([[0], np.cumsum(used.sum(axis=1))]), pa.int32())
        chosen = rows[used]
        categories = _categories(self._videos, self._video, chosen, np.repeat(time, used.sum(axis=1)))
        given = rows_at(self._users, "user_id", user, time)
        given[last >= 0] = -1
        found = {}
        for name, array in zip(COLUMNS, (pa.array(self._video[chosen]), categories), strict=True):
            told = pc.list_slice(take_or_null(self._users[name], given), 0, self._length).cast(self._users[name].type)
            found[name] = pc.if_else(pa.array(given >= 0), told, pa.ListArray.from_arrays(offsets, array))
        return found


def _categories(videos: VideoLookup, video: np.ndarray, chosen: np.ndarray, times: np.ndarray) -> pa.Array:
    """The categories of video[chosen] as of [m] times."""
    if videos.is_versioned:
        return videos.category(videos.position(video[chosen], times)).combine_chunks()
    positions = videos.position(video, video) if len(video) else video  # each once, as no time matters
    return videos.category(positions).combine_chunks().take(pa.array(chosen))


class _Walk:
    """Walks over the positives of all users, and knows the last different videos of each where it stands.

    Each step takes the next positive of every user, so that there are as many as the most active user has positives.

    Args:
        begins: [k] int64, where the rows of each user begin.
        video: [n] int64, each user's in order of time.
        length: how many videos.
    """

    def __init__(self, begins: np.ndarray, video: np.ndarray, length: int):
        self._begins, self._video, self._length = begins, video, length
        self._done = np.zeros(len(self._begins), np.int64)  # positives of each user that lie behind
        self._recent = np.full((len(self._begins), length), -1, np.int32)  # rows of the last different videos there

    def after(self, rows: np.ndarray) -> np.ndarray:
        """Which rows hold the user's last different videos after each of [m] positives: [m, length] int32, -1 for none.

        A positive before the last one of its user of an earlier call is behind.
        """
        owner = np.searchsorted(self._begins, rows, side="right") - 1
        place = rows - self._begins[owner] + 1
        until = self._done.copy()
        np.maximum.at(until, owner, place)
        steps = until - self._done
        first = np.cumsum(steps + 1) - (steps + 1)  # where each user's places in `found` begin
        wanted = first[owner] + place - self._done[owner]
        return self._walk(steps, first)[wanted]

    def _walk(self, steps: np.ndarray, first: np.ndarray) -> np.ndarray:
        """What is known before each step, and after the last, of each user: [sum(steps + 1), length] int32."""
        order = np.argsort(-steps, kind="stable")
        ordered, begins, first = steps[order], (self._begins + self._done)[order], first[order]
        recent, places = self._recent[order], np.arange(self._length)
        found = np.empty((int((steps + 1).sum()), self._length), np.int32)
        found[first] = recent
        for step in range(int(ordered.max(initial=0))):
            active = np.searchsorted(-ordered, -step, side="left")
            rows, before = begins[:active] + step, recent[:active]
            same = (before >= 0) & (self._video[before] == self._video[rows][:, None])
            # What stood before the video's earlier place moves on by one; the rest stays.
            end = np.where(same.any(axis=1), same.argmax(axis=1), self._length - 1)
            moved = np.concatenate([rows[:, None].astype(np.int32), before[:, :-1]], axis=1)
            recent[:active] = np.where(places <= end[:, None], moved, before)
            found[first[:active] + step + 1] = recent[:active]
        self._recent[order] = recent
        self._done += steps
        return found
