"""The oracle of what is counted as of a moment: counters of videos, and what a user or a video did lately."""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import TypeVar

from oracle import DAY, MINUTE, OURS, Kinds, Row, _groups, is_long, is_viewing, signals_of

# --- Counters as of a moment

Counts = tuple[int, int, int]  # view_count, like_count, comment_count
Version = TypeVar("Version", bound=tuple[int, ...])


def increments(interactions: list[Row], gap_minutes: float = 30, kinds: Kinds = OURS) -> list[tuple[int, int, int]]:
    """(video_id, time, number of the counter in Counts) of each 1 that exposures add to counters."""
    long = is_long(interactions)
    found: list[tuple[int, int, int]] = []
    for group in _groups(interactions, gap_minutes):
        counted: tuple[Callable[[Row], bool], ...] = (
            lambda event: is_viewing(event, long, kinds),
            lambda event: "like" in signals_of(event, long, kinds),
            lambda event: "comment" in signals_of(event, long, kinds),
        )
        for number, counts in enumerate(counted):
            times = [event["interaction_time"] for event in group if counts(event)]
            if times:
                found.append((group[0]["video_id"], min(times), number))
    return found


def counts_before(increments: Iterable[tuple[int, int, int]], video_id: int, moment: int) -> Counts:
    """The counters of a video from what came strictly before a moment."""
    own = Counter(number for video, time, number in increments if video == video_id and time < moment)
    return own[0], own[1], own[2]


def shown_counts(
    increments: Iterable[tuple[int, int, int]], asked: Iterable[tuple[int, int]], growth: str, every: int
) -> list[Counts]:
    """What versions that lie apart as settings allow show of each (video, moment)."""
    of_video = _by_video(increments)

    @functools.cache
    def versions(video: int) -> list[tuple[int, Counts]]:
        own = of_video[video]
        times = {time for _, time, _ in own}
        ends = {(time // every + 1) * every - 1 for time in times}
        before, found = (0, 0, 0), [(-1, (0, 0, 0))]
        for time in sorted(times | ends):
            now = counts_before(own, video, time + 1)
            reached = any(_level(a, growth) > _level(b, growth) for a, b in zip(now, before, strict=True))
            if time in ends or reached:
                found.append((time, now))
            before = now
        return found

    return [_last_before(versions(video), moment) for video, moment in asked]


def _by_video(increments: Iterable[tuple[int, int, int]]) -> dict[int, list[tuple[int, int, int]]]:
    found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for row in increments:
        found[row[0]].append(row)
    return found


def _last_before(versions: list[tuple[int, Version]], moment: int) -> Version:
    """What the first version shows, or the last that is strictly before a moment."""
    first, *others = versions
    return [first[1], *(values for time, values in others if time < moment)][-1]


@functools.cache
def _level(count: int, growth: str) -> int:
    """How many of 1 and the numbers that are each at least so much larger than the one before are reached."""
    level, threshold = 0, 1
    while count >= threshold:
        level += 1
        threshold = max(threshold + 1, math.ceil(threshold * (1 + Fraction(growth))))
    return level


# --- Recent counts

RecentCounts = tuple[int, ...]  # views in the last 1, 7 and 30 days, then likes
DAYS = (1, 7, 30)


def recent_before(
    increments: Iterable[tuple[int, int, int]], video_id: int, moment: int, steps: int | None
) -> RecentCounts:
    """How often a video was viewed and liked strictly before a moment, and not too long before it.

    The old end is so many days before the moment, moved back to a whole multiple of the days' part of `steps`; None:
    left where it is.
    """
    own = [(time, number) for video, time, number in increments if video == video_id and time < moment]
    found = []
    for kind in (0, 1):
        for days in DAYS:
            begins = moment - days * DAY
            if steps is not None:
                step = days * DAY // steps
                begins = begins // step * step
            found.append(sum(1 for time, number in own if number == kind and time >= begins))
    return tuple(found)


def shown_values(
    increments: Iterable[tuple[int, int, int]],
    asked: Iterable[tuple[int, int]],
    growth: str,
    every: int,
    steps: int,
    counted: bool,
) -> list[tuple[int, ...]]:
    """What versions with recent counts show of each (video, moment); with Counts before them if these are counted."""
    of_video = _by_video(row for row in increments if counted or row[2] < 2)

    @functools.cache
    def versions(video: int) -> list[tuple[int, tuple[int, ...]]]:
        own = of_video[video]

        def values(time: int) -> tuple[int, ...]:
            before = counts_before(own, video, time) if counted else ()
            return (*before, *recent_before(own, video, time, steps))

        times = {time for _, time, _ in own}
        for days in DAYS:
            step = days * DAY // steps
            times |= {(time // step + 1) * step + days * DAY - 1 for _, time, number in own if number < 2}
        ends = {(time // every + 1) * every - 1 for time in times}
        before = values(0)
        found = [(-1, before)]
        for time in sorted(times | ends):
            now = values(time + 1)
            passed = any(_level(a, growth) != _level(b, growth) for a, b in zip(now, before, strict=True))
            if time in ends or passed:
                found.append((time, now))
            before = now
        return found

    return [_last_before(versions(video), moment) for video, moment in asked]


def user_before(interactions: list[Row], user_id: int, moment: int, gap_minutes: float = 30) -> dict[str, int]:
    """What a user did strictly before a moment: events of the last 1 and 30 days; views and likes ever."""
    own = [event for event in interactions if event["user_id"] == user_id]
    times = [event["interaction_time"] for event in own]
    found = {f"user_events_{d}d": sum(1 for time in times if moment - d * DAY <= time < moment) for d in (1, 30)}
    numbers = [number for _, time, number in increments(own, gap_minutes) if time < moment]
    return found | {"user_view_count": numbers.count(0), "user_like_count": numbers.count(1)}


def hours_of(video: Row, interactions: list[Row], time: int, delay: int) -> int:
    """How many whole hours old a video is at a time; 0 where nobody knows."""
    seen = [e["interaction_time"] for e in interactions if e["video_id"] == video["video_id"]]
    seen = [other for other in seen if other < time - delay]
    since = video.get("published_at")
    if since is None:
        since = min(seen, default=time)
    return max(0, time - since) // (60 * MINUTE)


# --- Videos that are liked together


Exposure = tuple[list[int], int | None, int | None]  # history, video, and the one that is counted


def cooccurrences(counted: Iterable[Exposure], asked: Iterable[Exposure]) -> list[float]:
    """Of each that is asked for, the mean cosine of its video and those of its history, by what is `counted`."""
    known = [(others, one) for others, _, one in counted if one is not None]
    n = Counter(one for _, one in known)
    together = Counter(frozenset((one, other)) for others, one in known for other in others if other != one)

    def cosine(video: int, other: int, less: int) -> float:
        times = (n[video] - less) * (n[other] if other != video else n[other] - less)
        both = (together[frozenset((other, video))] if other != video else n[video]) - less
        return max(both, 0) / math.sqrt(times) if times > 0 else 0.0

    return [
        sum(cosine(video, other, int(own == video)) for other in history) / len(history)
        if video is not None and history
        else 0.0
        for history, video, own in asked
    ]
