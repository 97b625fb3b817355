"""The rules of docs/examples.md in slow, plain Python: what the library is compared with.

Rows are dicts of raw values; a missing key is a missing value. Times are microseconds since 1970-01-01 UTC.
Everything but `usable` takes rows that `usable` has passed. Nothing here imports the library.
"""

import dataclasses
import datetime
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

Row = dict[str, Any]
Rejected = dict[str, list[tuple[int, str]]]
Cuts = tuple[int | None, int | None]  # val_from and test_from; None is a cut that no time reaches

SIGNALS = ("impression", "click", "watch", "like", "comment", "share")
WIDE = {"clicked": "click", "liked": "like", "commented": "comment", "shared": "share"}
WINDOWS = ("train", "val", "test")
NOT_NEGATIVE = {
    "users": ("age",),
    "videos": ("video_duration", "view_count", "like_count", "comment_count"),
    "interactions": ("watch_time",),
}
EPOCH = datetime.datetime(1970, 1, 1)
MICROSECOND = datetime.timedelta(microseconds=1)
END_OF_TIME = (datetime.datetime(2200, 1, 1) - EPOCH) // MICROSECOND
DAY = 86_400_000_000
MINUTE = 60_000_000


@dataclasses.dataclass(frozen=True)
class Exposure:
    """The events of one user on one video that belong together; label None is contradicted, hence left out."""

    user_id: int
    video_id: int
    interaction_time: int
    signals: frozenset[str]
    watch_time: float
    device: str | None
    previously_watched_category: str | None
    window: str
    label: int | None
    weight: float
    rules: tuple[str, ...]  # all that hold, named in the settings or not, in the order of SIGNALS
    positive_since: int | None = None  # the time of the event by which it became positive


# --- Rows that can be used


def usable(
    users: list[Row], videos: list[Row], interactions: list[Row]
) -> tuple[list[Row], list[Row], list[Row], Rejected]:
    """The usable rows of each table, and per table the (row index, reason) of the others.

    A row with several faults gets the first in the order null, nan, negative, duplicate (or type, time, unknown_user,
    unknown_video); an `updated_at` that is no time comes after null. An entity row that is rejected for its own values
    does not take the key from a later one. Rows of a table with `updated_at` are duplicates where they share that, too.
    """
    good_users, bad_users = _usable_entities(users, "users", "user_id")
    good_videos, bad_videos = _usable_entities(videos, "videos", "video_id")
    known_users = {row["user_id"] for row in good_users}
    known_videos = {row["video_id"] for row in good_videos}
    long = is_long(interactions)
    good_events: list[Row] = []
    bad_events: list[tuple[int, str]] = []
    for index, row in enumerate(interactions):
        reason = _fault_of_event(row, long, known_users, known_videos)
        if reason is None:
            good_events.append(row)
        else:
            bad_events.append((index, reason))
    return good_users, good_videos, good_events, {"users": bad_users, "videos": bad_videos, "interactions": bad_events}


def is_long(interactions: list[Row]) -> bool:
    """Whether the table has the column interaction_type."""
    return any("interaction_type" in row for row in interactions)


def is_versioned(rows: list[Row]) -> bool:
    """Whether the table has the column updated_at."""
    return any("updated_at" in row for row in rows)


def _usable_entities(rows: list[Row], table: str, key: str) -> tuple[list[Row], list[tuple[int, str]]]:
    good: list[Row] = []
    bad: list[tuple[int, str]] = []
    seen: set[tuple[int, ...]] = set()
    keys = (key, "updated_at") if is_versioned(rows) else (key,)
    for index, row in enumerate(rows):
        reason = _fault_of_values(row, table, keys)
        if reason != "null" and is_versioned(rows) and not 0 <= row["updated_at"] < END_OF_TIME:
            reason = "time"
        version = tuple(row[name] for name in keys if reason is None)
        if reason is None and version in seen:
            reason = "duplicate"
        if reason is None:
            seen.add(version)
            good.append(row)
        else:
            bad.append((index, reason))
    return good, bad


def _fault_of_values(row: Row, table: str, keys: tuple[str, ...]) -> str | None:
    numbers = [row[name] for name in NOT_NEGATIVE[table] if row.get(name) is not None]
    if any(row.get(key) is None for key in keys):
        return "null"
    if any(math.isnan(number) for number in numbers):
        return "nan"
    if any(number < 0 for number in numbers):
        return "negative"
    return None


def _fault_of_event(row: Row, long: bool, users: set[int], videos: set[int]) -> str | None:
    reason = _fault_of_values(row, "interactions", ("user_id", "video_id"))
    time = row.get("interaction_time")
    if reason is not None:
        return reason
    if long and row.get("interaction_type") not in SIGNALS:
        return "type"
    if time is None or not 0 <= time < END_OF_TIME:
        return "time"
    if row["user_id"] not in users:
        return "unknown_user"
    if row["video_id"] not in videos:
        return "unknown_video"
    return None


# --- Versions


def versions_of(rows: Iterable[Row], key: str, value: Any) -> list[Row]:
    """The usable rows of a key, by time."""
    return sorted((row for row in rows if row[key] == value), key=lambda row: row.get("updated_at", 0))


def row_at(rows: Iterable[Row], key: str, value: Any, time: float) -> Row | None:
    """What was known of a key: its last version strictly before a time, else its first one; None for no such key."""
    own = versions_of(rows, key, value)
    known = [row for row in own if row.get("updated_at", -math.inf) < time]
    return (known or own[:1] or [None])[-1]


def is_early(rows: Iterable[Row], key: str, value: Any, time: int) -> bool:
    """Whether a key has versions, and none of them strictly before a time."""
    return all(row["updated_at"] >= time for row in rows if row[key] == value)


# --- Events and exposures


def signals_of(event: Row, long: bool) -> frozenset[str]:
    """The signals that one event carries."""
    if long:
        return frozenset([event["interaction_type"]])
    found = {"impression"}
    if (event.get("watch_time") or 0) > 0:
        found.add("watch")
    found.update(signal for column, signal in WIDE.items() if event.get(column))
    return frozenset(found)


def is_viewing(event: Row, long: bool) -> bool:
    """Whether the event counts as watching for the history."""
    return bool(signals_of(event, long) - {"impression"}) or (event.get("watch_time") or 0) > 0


def window_of(time: int, val_from: int | None, test_from: int | None) -> str:
    """The window that a time falls in; None is a cut that no time reaches."""
    if test_from is not None and time >= test_from:
        return "test"
    return "train" if val_from is None or time < val_from else "val"


def _groups(
    interactions: list[Row], gap_minutes: float, cuts_of: Callable[[int], Cuts] = lambda user_id: (None, None)
) -> list[list[Row]]:
    """The events of each exposure, in order of time; `cuts_of` a user are val_from and test_from."""
    gap = Fraction(str(gap_minutes)) * MINUTE
    of_pair: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for event in sorted(interactions, key=lambda event: event["interaction_time"]):
        of_pair[event["user_id"], event["video_id"]].append(event)
    groups: list[list[Row]] = []
    for (user_id, _), events in of_pair.items():
        for index, event in enumerate(events):
            time, last = event["interaction_time"], events[index - 1]["interaction_time"]
            same_window = window_of(last, *cuts_of(user_id)) == window_of(time, *cuts_of(user_id))
            if index > 0 and time - last < gap and same_window:
                groups[-1].append(event)
            else:
                groups.append([event])
    return groups


def cuts(
    users: list[Row], videos: list[Row], interactions: list[Row], train: str, val: str, gap_minutes: float = 30
) -> tuple[int, int | None]:
    """val_from and test_from (None: the test window is empty) of fractions given as decimal strings."""
    times = sorted(group[0]["interaction_time"] for group in _groups(interactions, gap_minutes))
    first_val = math.floor(Fraction(train) * len(times))
    first_test = math.floor((Fraction(train) + Fraction(val)) * len(times))
    if first_val >= len(times):
        raise ValueError(f"no exposure has the index {first_val} that val_from is to be taken from")
    return times[first_val], times[first_test] if first_test < len(times) else None


def user_cuts(interactions: list[Row], train: str, val: str, gap_minutes: float = 30) -> dict[int, Cuts]:
    """val_from and test_from of each user (None: no event is that late) by a split of each user's exposures in time."""
    times: dict[int, list[int]] = defaultdict(list)
    for group in _groups(interactions, gap_minutes):
        times[group[0]["user_id"]].append(group[0]["interaction_time"])
    found: dict[int, Cuts] = {}
    for user_id, own in times.items():
        n_test = math.floor((1 - Fraction(train) - Fraction(val)) * len(own))
        n_val = math.floor(Fraction(val) * len(own))
        later = sorted(own)[len(own) - n_test - n_val :]
        test_from = later[n_val] if n_test else None
        found[user_id] = (later[0] if later else None, test_from)
    return found


def exposures(
    users: list[Row],
    videos: list[Row],
    interactions: list[Row],
    *,
    val_from: int | None = None,
    test_from: int | None = None,
    of_users: Mapping[int, Cuts] | None = None,
    positive: Mapping[str, float],
    min_watch_ratio: float = 0.4,
    gap_minutes: float = 30,
) -> list[Exposure]:
    """All exposures, the contradicted ones too, by (time, user_id, video_id); `of_users` are own cuts."""
    long = is_long(interactions)
    found: list[Exposure] = []
    cuts_of: Callable[[int], Cuts] = of_users.__getitem__ if of_users is not None else lambda _: (val_from, test_from)
    for group in _groups(interactions, gap_minutes, cuts_of):
        first = group[0]
        user_id, video_id, time = first["user_id"], first["video_id"], first["interaction_time"]
        signals = frozenset(signal for event in group for signal in signals_of(event, long))
        watch_time = math.fsum(event.get("watch_time") or 0 for event in group)
        user, video = row_at(users, "user_id", user_id, time), row_at(videos, "video_id", video_id, time)
        assert user, f"an exposure of the unknown user {user_id}"
        assert video, f"an exposure of the unknown video {video_id}"
        duration = video.get("video_duration")
        rules = tuple(s for s in SIGNALS if _holds(s, signals, watch_time, duration, min_watch_ratio))
        weights = [positive[rule] for rule in rules if rule in positive]
        since = _positive_since(group, long, duration, min_watch_ratio, positive)
        category = _category_before(user, time, interactions, videos, long)
        window = window_of(time, *cuts_of(user_id))
        label, weight = (1, max(weights)) if weights else (0, 1.0)
        found.append(
            Exposure(
                user_id,
                video_id,
                time,
                signals,
                watch_time,
                _device(group),
                category,
                window,
                label,
                weight,
                rules,
                since,
            )
        )
    marked = [dataclasses.replace(e, label=None) if _is_contradicted(e, found) else e for e in found]
    return sorted(marked, key=lambda e: (e.interaction_time, e.user_id, e.video_id))


def _holds(rule: str, signals: frozenset[str], watch_time: float, duration: float | None, ratio: float) -> bool:
    if rule != "watch":
        return rule in signals
    if duration is None:
        return False
    if math.isinf(watch_time) or math.isinf(duration):
        return watch_time > ratio * duration
    return Fraction(watch_time) > Fraction(str(ratio)) * Fraction(duration)


def _positive_since(
    group: list[Row], long: bool, duration: float | None, ratio: float, positive: Mapping[str, float]
) -> int | None:
    for count in range(1, len(group) + 1):
        part = [event for event in group if event["interaction_time"] <= group[count - 1]["interaction_time"]]
        signals = frozenset(signal for event in part for signal in signals_of(event, long))
        watch_time = math.fsum(event.get("watch_time") or 0 for event in part)
        if any(_holds(rule, signals, watch_time, duration, ratio) for rule in positive):
            return group[count - 1]["interaction_time"]
    return None


def history(exposures: Iterable[Exposure], user_id: int, moment: int, length: int) -> list[int]:
    """The last videos that the user became positive on strictly before a moment, most recent first, each once."""
    own = [
        (e.positive_since, e.video_id)
        for e in exposures
        if e.user_id == user_id and e.positive_since is not None and e.positive_since < moment
    ]
    videos = [video for _, video in sorted(own, reverse=True)]
    return list(dict.fromkeys(videos))[:length]


def _device(group: list[Row]) -> str | None:
    with_one = [
        (event["interaction_time"], event["device"].encode()) for event in group if event.get("device") is not None
    ]
    return min(with_one)[1].decode() if with_one else None


def _category_before(user: Row, time: int, interactions: list[Row], videos: list[Row], long: bool) -> str | None:
    earlier = [
        (event["interaction_time"], event["video_id"])
        for event in interactions
        if event["user_id"] == user["user_id"] and event["interaction_time"] < time and is_viewing(event, long)
    ]
    if not earlier:
        return user.get("previously_watched_category")
    video = row_at(videos, "video_id", max(earlier)[1], time)
    return video and video.get("category")


def _up_to(window: str) -> tuple[str, ...]:
    """The window and the earlier ones."""
    return WINDOWS[: WINDOWS.index(window) + 1]


def _is_contradicted(exposure: Exposure, among: Iterable[Exposure]) -> bool:
    return exposure.label == 0 and any(
        other.label == 1
        and (other.user_id, other.video_id) == (exposure.user_id, exposure.video_id)
        and other.window in _up_to(exposure.window)
        for other in among
    )


# --- Counters as of a moment

Counts = tuple[int, int, int]  # view_count, like_count, comment_count


def increments(interactions: list[Row], gap_minutes: float = 30) -> list[tuple[int, int, int]]:
    """(video_id, time, number of the counter in Counts) of each 1 that exposures add to counters."""
    long = is_long(interactions)
    found: list[tuple[int, int, int]] = []
    for group in _groups(interactions, gap_minutes):
        counted: tuple[Callable[[Row], bool], ...] = (
            lambda event: is_viewing(event, long),
            lambda event: "like" in signals_of(event, long),
            lambda event: "comment" in signals_of(event, long),
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


# --- Negatives


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


def catalogue(exposures: Iterable[Exposure]) -> dict[int, int]:
    """How many training exposures (contradicted ones are exposures too) each video of the catalogue has."""
    return dict(Counter(e.video_id for e in exposures if e.window == "train"))


def log_q(catalogue: Mapping[int, int], alpha: float) -> dict[int, float]:
    """The log of the probability with which each video is drawn; alpha 0 is uniform."""
    total = math.fsum(count**alpha for count in catalogue.values())
    return {video_id: math.log(count**alpha / total) for video_id, count in catalogue.items()}


def legal(exposures: Iterable[Exposure], user_id: int, window: str) -> Callable[[int], bool]:
    """Whether a video may be a sampled negative of the user in the window (if the catalogue has it)."""
    own = {e.video_id for e in exposures if e.user_id == user_id and e.label == 1 and e.window in _up_to(window)}
    return lambda video_id: video_id not in own


def sampled_per_positive(exposures: Iterable[Exposure], ratio: int) -> dict[tuple[int, int, int, str], int]:
    """(user_id, video_id, time, window) of each positive -> slots left for sampled negatives, however few are legal."""
    positives: dict[tuple[int, str], list[Exposure]] = defaultdict(list)
    exposed: Counter[tuple[int, str]] = Counter()
    for e in exposures:
        if e.label == 1:
            positives[e.user_id, e.window].append(e)
        elif e.label == 0:
            exposed[e.user_id, e.window] += 1
    wanted: dict[tuple[int, int, int, str], int] = {}
    for (user_id, window), own in positives.items():
        each, more = divmod(exposed[user_id, window], len(own))
        for rank, e in enumerate(sorted(own, key=lambda e: (e.interaction_time, e.video_id))):
            taken = each + (1 if rank < more else 0)
            wanted[user_id, e.video_id, e.interaction_time, window] = max(0, ratio - taken)
    return wanted


def drawn_per_positive(
    exposures: Sequence[Exposure], ratio: int, catalogue: Mapping[int, int]
) -> dict[tuple[int, int, int, str], int]:
    """As sampled_per_positive, but no more than the catalogue has legal videos; the difference is the shortage."""
    drawn: dict[tuple[int, int, int, str], int] = {}
    for (user_id, video_id, time, window), slots in sampled_per_positive(exposures, ratio).items():
        is_legal = legal(exposures, user_id, window)
        drawn[user_id, video_id, time, window] = min(slots, sum(1 for video in catalogue if is_legal(video)))
    return drawn


# --- The ranker's rows


def check_ranker(
    rows: Iterable[Row],
    exposures: Sequence[Exposure],
    ratio: int,
    catalogue: Mapping[int, int],
    alpha: float,
    *,
    window: str,
) -> None:
    """Raises AssertionError unless `rows` are what the rules allow for the window; `exposures` are of all windows.

    Rows have user_id, video_id, interaction_time, label, weight, source and log_q, and are compared in device and
    previously_watched_category where they have these keys. Their order does not matter.
    """
    rows = list(rows)
    _check_log_q(rows, log_q(catalogue, alpha))
    by_source: dict[str, list[Row]] = {"positive": [], "exposed": [], "sampled": []}
    for row in rows:
        assert row["source"] in by_source, f"unknown source: {row}"
        by_source[row["source"]].append(row)
    _check_own(by_source["positive"], [e for e in exposures if e.window == window and e.label == 1], "positive")
    _check_own(by_source["exposed"], [e for e in exposures if e.window == window and e.label == 0], "exposed negative")
    _check_sampled(by_source["sampled"], exposures, ratio, catalogue, window)


def _check_log_q(rows: list[Row], expected: Mapping[int, float]) -> None:
    for row in rows:
        right = expected.get(row["video_id"], -math.inf)
        assert row["log_q"] == right or abs(row["log_q"] - right) <= 1e-5, f"log_q is to be {right}: {row}"


def _check_own(rows: list[Row], expected: list[Exposure], what: str) -> None:
    """Each expected exposure has one row, with its values, and there is no other row."""
    of_key = {(e.user_id, e.video_id, e.interaction_time): e for e in expected}
    keys = Counter((row["user_id"], row["video_id"], row["interaction_time"]) for row in rows)
    for key in keys:
        assert key in of_key, f"a row (user, video, time) = {key} that is no {what} of this window"
    for key in of_key:
        assert keys[key] == 1, f"{keys[key]} rows instead of 1 for the {what} (user, video, time) = {key}"
    for row in rows:
        e = of_key[row["user_id"], row["video_id"], row["interaction_time"]]
        assert row["label"] == e.label, f"label is to be {e.label}: {row}"
        assert abs(row["weight"] - e.weight) <= 1e-6 * max(1.0, abs(e.weight)), f"weight is to be {e.weight}: {row}"
        for name in ("device", "previously_watched_category"):
            assert name not in row or row[name] == getattr(e, name), f"{name} is to be {getattr(e, name)!r}: {row}"


def _check_sampled(
    rows: list[Row], exposures: Sequence[Exposure], ratio: int, catalogue: Mapping[int, int], window: str
) -> None:
    for row in rows:
        assert row["label"] == 0, f"label of a sampled row is to be 0: {row}"
        assert row["weight"] == 1, f"weight of a sampled row is to be 1: {row}"
        assert row["video_id"] in catalogue, f"a sampled video outside the catalogue: {row}"
    legal_for = {user_id: legal(exposures, user_id, window) for user_id in {row["user_id"] for row in rows}}
    for row in rows:
        assert legal_for[row["user_id"]](row["video_id"]), f"a sampled video the user has a positive with: {row}"
    # A sampled row does not say which positive it belongs to, only that one's context.
    context = [n for n in ("device", "previously_watched_category") if rows and all(n in row for row in rows)]
    drawn = drawn_per_positive(exposures, ratio, catalogue)
    sizes: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for e in exposures:
        if e.window == window and e.label == 1:
            key = (e.user_id, e.interaction_time, *(getattr(e, name) for name in context))
            sizes[key].append(drawn[e.user_id, e.video_id, e.interaction_time, window])
    videos: dict[tuple[Any, ...], Counter[int]] = defaultdict(Counter)
    for row in rows:
        key = (row["user_id"], row["interaction_time"], *(row[name] for name in context))
        assert key in sizes, f"a sampled row with the context of no positive: {row}"
        videos[key][row["video_id"]] += 1
    for key, expected in sizes.items():
        found = videos[key].total()
        assert found == sum(expected), f"{found} sampled rows instead of {sum(expected)} for the context {key}"
        assert _splits_into_sets(videos[key], expected), f"a positive with a repeated sampled video, context {key}"


def _splits_into_sets(counts: Counter[int], sizes: list[int]) -> bool:
    """Whether the multiset is a union of sets of these sizes (Gale-Ryser); its size is the sum of theirs."""
    most = sorted(counts.values(), reverse=True)
    return all(sum(most[:k]) <= sum(min(size, k) for size in sizes) for k in range(1, len(most) + 1))
