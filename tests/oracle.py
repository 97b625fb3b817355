"""The rules of docs/examples.md in slow, plain Python: what the library is compared with.

Rows are dicts of raw values; a missing key is a missing value. Times are microseconds since 1970-01-01 UTC.
Everything but `usable` takes rows that `usable` has passed. Nothing here imports the library.
"""

import dataclasses
import datetime
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, TypeVar

Row = dict[str, Any]
Item = TypeVar("Item")
Rejected = dict[str, list[tuple[int, str]]]
Cuts = tuple[int | None, int | None]  # val_from and test_from; None is a cut that no time reaches

SPLITS = ("train", "val", "test")
NOT_NEGATIVE = {
    "users": ("age",),
    "videos": ("video_duration", "view_count", "like_count", "comment_count"),
    "interactions": ("watch_time",),
}
EPOCH = datetime.datetime(1970, 1, 1)
MICROSECOND = datetime.timedelta(microseconds=1)
END_OF_TIME = (datetime.datetime(2200, 1, 1) - EPOCH) // MICROSECOND
DAY = 86_400_000_000
LEAST = -(2**63)
MINUTE = 60_000_000


@dataclasses.dataclass(frozen=True)
class Kinds:
    """What interactions may be, and what a table says of their moment.

    Attributes:
        signals: in the order of their bits.
        flags: boolean columns, and the signals that they stand for.
        negative: signals that say that the user does not want the video.
        not_viewing: those that do not say that the user opened it.
        context: further columns, and whether an exposure has the value of its `first_present` or `first_event`.
    """

    signals: tuple[str, ...] = ("impression", "click", "watch", "like", "comment", "share")
    flags: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {"clicked": "click", "liked": "like", "commented": "comment", "shared": "share"}
    )
    negative: frozenset[str] = frozenset()
    not_viewing: frozenset[str] = frozenset({"impression"})
    context: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"device": "first_present"})


OURS = Kinds()


@dataclasses.dataclass(frozen=True)
class Exposure:
    """The events of one user on one video that belong together; label None is contradicted, hence left out."""

    user_id: int
    video_id: int
    interaction_time: int
    signals: frozenset[str]
    watch_time: float
    context: Row
    previously_watched_category: str | None
    split: str
    label: int | None
    weight: float
    rules: tuple[str, ...]  # all that hold, named in the settings or not, in the order of the signals
    positive_since: int | None = None  # the time of the event by which it became positive, if it ever was
    positive_until: int | None = None  # the time of the event by which it turned negative after that, if it did
    disliked: bool = False  # whether it is negative by a signal

    @property
    def device(self) -> str | None:
        return self.context.get("device")


# --- Rows that can be used


def usable(
    users: list[Row], videos: list[Row], interactions: list[Row], kinds: Kinds = OURS
) -> tuple[list[Row], list[Row], list[Row], Rejected]:
    """The usable rows of each table, None in the place of what is missing, and the (row index, reason) of the others.

    A row with several faults gets the first in the order null, negative, duplicate (or type, time, unknown_user,
    unknown_video); an `updated_at` that is no time comes after null. An entity row that is rejected for its own values
    does not take the key from a later one. Rows of a table with `updated_at` are duplicates where they share that, too.
    """
    users, videos, interactions = (list(map(told, rows)) for rows in (users, videos, interactions))
    good_users, bad_users = _usable_entities(users, "users", "user_id")
    good_videos, bad_videos = _usable_entities(videos, "videos", "video_id")
    known_users = {row["user_id"] for row in good_users}
    known_videos = {row["video_id"] for row in good_videos}
    long = is_long(interactions)
    good_events: list[Row] = []
    bad_events: list[tuple[int, str]] = []
    for index, row in enumerate(interactions):
        reason = _fault_of_event(row, long, known_users, known_videos, kinds)
        if reason is None:
            good_events.append(row)
        else:
            bad_events.append((index, reason))
    return good_users, good_videos, good_events, {"users": bad_users, "videos": bad_videos, "interactions": bad_events}


def told(row: Row) -> Row:
    """The row with None in the place of every value that is missing, and lists without missing elements."""
    return {name: _told(value) for name, value in row.items()}


def _told(value: Any) -> Any:
    if isinstance(value, list):
        return [element for element in map(_told, value) if element is not None]
    is_missing = value == "" or value == LEAST or (isinstance(value, float) and math.isnan(value))
    return None if is_missing else value


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
            good.append({name: _present(value) for name, value in row.items()})
        else:
            bad.append((index, reason))
    return good, bad


def _present(value: Any) -> Any:
    """A value; of a list what is not missing."""
    return [one for one in value if one is not None] if isinstance(value, list) else value


def _fault_of_values(row: Row, table: str, keys: tuple[str, ...]) -> str | None:
    numbers = [row[name] for name in NOT_NEGATIVE[table] if row.get(name) is not None]
    if any(row.get(key) is None for key in keys):
        return "null"
    if any(number < 0 for number in numbers):
        return "negative"
    return None


def _fault_of_event(row: Row, long: bool, users: set[int], videos: set[int], kinds: Kinds) -> str | None:
    reason = _fault_of_values(row, "interactions", ("user_id", "video_id"))
    time = row.get("interaction_time")
    if reason is not None:
        return reason
    if long and row.get("interaction_type") not in kinds.signals:
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


def signals_of(event: Row, long: bool, kinds: Kinds = OURS) -> frozenset[str]:
    """The signals that one event carries."""
    found = {event["interaction_type"]} if long else {"impression"}
    if not long and (event.get("watch_time") or 0) > 0:
        found.add("watch")
    found.update(signal for column, signal in kinds.flags.items() if event.get(column))
    return frozenset(found)


def is_viewing(event: Row, long: bool, kinds: Kinds = OURS) -> bool:
    """Whether the event counts as watching for the history."""
    return bool(signals_of(event, long, kinds) - kinds.not_viewing) or (event.get("watch_time") or 0) > 0


def split_of(time: int, val_from: int | None, test_from: int | None) -> str:
    """The split that a time falls in; None is a cut that no time reaches."""
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
            same_split = split_of(last, *cuts_of(user_id)) == split_of(time, *cuts_of(user_id))
            if index > 0 and time - last < gap and same_split:
                groups[-1].append(event)
            else:
                groups.append([event])
    return groups


def cuts(
    users: list[Row], videos: list[Row], interactions: list[Row], train: str, val: str, gap_minutes: float = 30
) -> tuple[int, int | None]:
    """val_from and test_from (None: the test split is empty) of fractions given as decimal strings."""
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
    conflict: str = "negative",
    kinds: Kinds = OURS,
) -> list[Exposure]:
    """All exposures, the contradicted ones too, by (time, user_id, video_id); `of_users` are own cuts."""
    long = is_long(interactions)
    found: list[Exposure] = []
    by_user, by_video = operator.itemgetter("user_id"), operator.itemgetter("video_id")
    of_user, of_video, events_of = _by(users, by_user), _by(videos, by_video), _by(interactions, by_user)
    cuts_of: Callable[[int], Cuts] = of_users.__getitem__ if of_users is not None else lambda _: (val_from, test_from)
    for group in _groups(interactions, gap_minutes, cuts_of):
        first = group[0]
        user_id, video_id, time = first["user_id"], first["video_id"], first["interaction_time"]
        signals = frozenset(signal for event in group for signal in signals_of(event, long, kinds))
        watch_time = math.fsum(event.get("watch_time") or 0 for event in group)
        user = row_at(of_user[user_id], "user_id", user_id, time)
        video = row_at(of_video[video_id], "video_id", video_id, time)
        assert user, f"an exposure of the unknown user {user_id}"
        assert video, f"an exposure of the unknown video {video_id}"
        duration = video.get("video_duration")
        rules = tuple(s for s in kinds.signals if _holds(s, signals, watch_time, duration, min_watch_ratio))
        weights = [positive[rule] for rule in rules if rule in positive]
        since, until = _positive_since(group, long, duration, min_watch_ratio, positive, kinds), None
        disliked = bool(signals & kinds.negative) and (conflict == "negative" or not weights)
        if disliked and since is not None:
            until = min(e["interaction_time"] for e in group if signals_of(e, long, kinds) & kinds.negative)
            since, until = (since, until) if since < until else (None, None)
        category = _category_before(user, time, events_of[user_id], of_video, long, kinds)
        split = split_of(time, *cuts_of(user_id))
        label, weight = (1, max(weights)) if weights and not disliked else (0, 1.0)
        context = {name: _at_exposure(group, name, long, kinds) for name in kinds.context}
        of_labels = (category, split, label, weight, rules, since, until, disliked)
        found.append(Exposure(user_id, video_id, time, signals, watch_time, context, *of_labels))
    of_pair = _by(found, lambda e: (e.user_id, e.video_id))
    marked = [dataclasses.replace(e, label=None) if _is_contradicted(e, of_pair) else e for e in found]
    return sorted(marked, key=lambda e: (e.interaction_time, e.user_id, e.video_id))


def _by(items: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    """The items of each key, through all of which nobody has to search for one."""
    found: dict[Any, list[Item]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found


def _holds(rule: str, signals: frozenset[str], watch_time: float, duration: float | None, ratio: float) -> bool:
    if rule != "watch":
        return rule in signals
    if not duration:  # no video lasts for 0 s
        return False
    if math.isinf(watch_time) or math.isinf(duration):
        return watch_time > ratio * duration
    return Fraction(watch_time) > Fraction(str(ratio)) * Fraction(duration)


def _positive_since(
    group: list[Row], long: bool, duration: float | None, ratio: float, positive: Mapping[str, float], kinds: Kinds
) -> int | None:
    for count in range(1, len(group) + 1):
        part = [event for event in group if event["interaction_time"] <= group[count - 1]["interaction_time"]]
        signals = frozenset(signal for event in part for signal in signals_of(event, long, kinds))
        watch_time = math.fsum(event.get("watch_time") or 0 for event in part)
        if any(_holds(rule, signals, watch_time, duration, ratio) for rule in positive):
            return group[count - 1]["interaction_time"]
    return None


def history(exposures: Iterable[Exposure], user_id: int, moment: int, length: int) -> list[int]:
    """The last videos that the user became positive on strictly before a moment, most recent first, each once.

    One that turned negative strictly before the moment is not there.
    """
    own = [
        (e.positive_since, e.video_id)
        for e in exposures
        if e.user_id == user_id
        and e.positive_since is not None
        and e.positive_since < moment
        and (e.positive_until is None or e.positive_until >= moment)
    ]
    videos = [video for _, video in sorted(own, reverse=True)]
    return list(dict.fromkeys(videos))[:length]


def _at_exposure(group: list[Row], name: str, long: bool, kinds: Kinds) -> Any:
    """What an exposure has of a column of its context."""

    def key(event: Row) -> tuple[Any, ...]:
        bits = sum(1 << kinds.signals.index(signal) for signal in signals_of(event, long, kinds))
        values = [*(event.get(own) for own in kinds.context), event.get("watch_time"), bits]
        return event["interaction_time"], *((value is None, _comparable(value)) for value in values)

    values = [event.get(name) for event in sorted(group, key=key)]
    if kinds.context[name] == "first_event":
        return values[0]
    return next((value for value in values if value is not None and value != []), None)


def _comparable(value: Any) -> Any:
    """A value as its bytes, in the order of which texts are."""
    if value is None:
        return 0
    if isinstance(value, list):
        return [_comparable(one) for one in value]
    return value.encode() if isinstance(value, str) else value


def _category_before(
    user: Row, time: int, own: list[Row], of_video: Mapping[int, list[Row]], long: bool, kinds: Kinds
) -> str | None:
    earlier = [
        (event["interaction_time"], event["video_id"])
        for event in own
        if event["interaction_time"] < time and is_viewing(event, long, kinds)
    ]
    if not earlier:
        return user.get("previously_watched_category")
    last = max(earlier)[1]
    video = row_at(of_video[last], "video_id", last, time)
    return video and video.get("category")


def _up_to(split: str) -> tuple[str, ...]:
    """The split and the earlier ones."""
    return SPLITS[: SPLITS.index(split) + 1]


def _is_contradicted(exposure: Exposure, of_pair: Mapping[tuple[int, int], Iterable[Exposure]]) -> bool:
    others = of_pair[exposure.user_id, exposure.video_id]
    is_positive = any(other.label == 1 and other.split in _up_to(exposure.split) for other in others)
    return exposure.label == 0 and not exposure.disliked and is_positive
