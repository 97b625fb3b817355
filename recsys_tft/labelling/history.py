"""Watch history: the videos that a user was positive on last, as of each exposure. docs/examples.md has the rules."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import asof, labels
from recsys_tft.tables.entities import VideoLookup, rows_at, take_or_null

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
    order = np.lexsort((positives.video, positives.since, positives.user))
    own, video, since = (values[order] for values in (positives.user, positives.video, positives.since))
    last = asof.last_before(own, since, user, time, tie=video)
    rows = _recently_used(own, video, length)[last] if len(own) else np.full((len(user), length), -1)
    rows[last < 0] = -1
    used = rows >= 0
    offsets = pa.array(np.concatenate([[0], np.cumsum(used.sum(axis=1))]), pa.int32())
    chosen = rows[used]
    values = (pa.array(video[chosen]), _categories(videos, video, chosen, np.repeat(time, used.sum(axis=1))))
    given = rows_at(users, "user_id", user, time)
    given[last >= 0] = -1
    found = {}
    for name, array in zip(COLUMNS, values, strict=True):
        told = pc.list_slice(take_or_null(users[name], given), 0, length).cast(users[name].type)
        found[name] = pc.if_else(pa.array(given >= 0), told, pa.ListArray.from_arrays(offsets, array))
    return found


def _categories(videos: VideoLookup, video: np.ndarray, chosen: np.ndarray, times: np.ndarray) -> pa.Array:
    """The categories of video[chosen] as of [m] times."""
    if videos.is_versioned:
        return videos.category(videos.position(video[chosen], times)).combine_chunks()
    positions = videos.position(video, video) if len(video) else video  # each once, as no time matters
    return videos.category(positions).combine_chunks().take(pa.array(chosen))


def _recently_used(user: np.ndarray, video: np.ndarray, length: int) -> np.ndarray:
    """After each of [n] positives, which rows hold the user's last different videos: [n, length] int32, -1 for none.

    Each step takes the next positive of every user, so that there are as many as the most active user has positives.

    Args:
        user: [n] int64, each user's rows together and in order of time.
        video: [n] int64.
        length: how many videos.
    """
    begins = np.flatnonzero(np.concatenate([[True], np.diff(user) != 0]))
    sizes = np.diff(np.append(begins, len(user)))
    order = np.argsort(-sizes, kind="stable")
    begins, sizes = begins[order], sizes[order]
    found = np.empty((len(user), length), np.int32)
    recent = np.full((len(begins), length), -1, np.int32)
    places = np.arange(length)
    for step in range(int(sizes[0])):
        active = np.searchsorted(-sizes, -step, side="left")
        rows, before = begins[:active] + step, recent[:active]
        same = (before >= 0) & (video[before] == video[rows][:, None])
        # What stood before the video's earlier place moves on by one; the rest stays.
        end = np.where(same.any(axis=1), same.argmax(axis=1), length - 1)
        moved = np.concatenate([rows[:, None].astype(np.int32), before[:, :-1]], axis=1)
        recent[:active] = np.where(places <= end[:, None], moved, before)
        found[rows] = recent[:active]
    return found
