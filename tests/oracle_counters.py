"""The oracle of what is counted as of a moment: counters of videos, and what a user or a video did lately."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction

from oracle import DAY, MINUTE, OURS, Kinds, Row, _groups, is_long, is_viewing, signals_of

# --- Counters as of a moment

Counts = tuple[int, int, int]  # view_count, like_count, comment_count


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
    increments: Iterable[tuple[int, int, int]], video_id: int, moment: int, growth: str, every: int
) -> Counts:
    """What versions that lie apart as settings allow show at a moment."""
    own = [(video, time, number) for video, time, number in increments if video == video_id]
    shown: Counts = (0, 0, 0)
    before: Counts = (0, 0, 0)
    times = {time for _, time, _ in own}
    ends = {(time // every + 1) * every - 1 for time in times}
    for time in sorted(times | ends):
        now = counts_before(own, video_id, time + 1)
        reached = any(_level(a, growth) > _level(b, growth) for a, b in zip(now, before, strict=True))
        if time < moment and (time in ends or reached):
            shown = now
        before = now
    return shown


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
                begins = math.floor(Fraction(begins, step)) * step
            found.append(sum(1 for time, number in own if number == kind and time >= begins))
    return tuple(found)


def shown_values(
    increments: Iterable[tuple[int, int, int]],
    video_id: int,
    moment: int,
    growth: str,
    every: int,
    steps: int,
    counted: bool,
) -> tuple[int, ...]:
    """What versions with recent counts show at a moment; with Counts before them if these are counted."""
    own = [row for row in increments if row[0] == video_id and (counted or row[2] < 2)]

    def values(time: int) -> tuple[int, ...]:
        before = counts_before(own, video_id, time) if counted else ()
        return (*before, *recent_before(own, video_id, time, steps))

    times = {time for _, time, _ in own}
    for days in DAYS:
        step = days * DAY // steps
        times |= {(time // step + 1) * step + days * DAY - 1 for _, time, number in own if number < 2}
    ends = {(time // every + 1) * every - 1 for time in times}
    before = shown = values(0)
    for time in sorted(times | ends):
        now = values(time + 1)
        passed = any(_level(a, growth) != _level(b, growth) for a, b in zip(now, before, strict=True))
        if time < moment and (time in ends or passed):
            shown = now
        before = now
    return shown


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


def cooccurrence(
    counted: Iterable[tuple[list[int], int | None, int | None]], history: list[int], video: int | None, own: int | None
) -> float:
    """The mean cosine of a video and those of a history; `counted` exposures and `own` are (history, _, counted)."""
    known = [(others, one) for others, _, one in counted if one is not None]
    n = Counter(one for _, one in known)
    together = Counter(frozenset((one, other)) for others, one in known for other in others if other != one)
    if video is None or not history:
        return 0.0
    less = int(own == video)
    cosines = []
    for other in history:
        times = (n[video] - less) * (n[other] if other != video else n[other] - less)
        both = (together[frozenset((other, video))] if other != video else n[video]) - less
        cosines.append(max(both, 0) / math.sqrt(times) if times > 0 else 0.0)
    return sum(cosines) / len(cosines)
