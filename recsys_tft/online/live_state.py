"""The state of all users and videos, which takes events as they come: batches of any size, down to one event.

What is known at a moment is what the main job would put into a row at that moment, by the same functions: an event that
comes is kept with those of the exposures that it may belong to, and what it changes is found out anew from all of these.
Exposures that no event can join any more are folded into the state from time to time, as a refresh does it.
"""

import bisect
import collections
import dataclasses
import functools
import threading
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import counters, examples, outcomes, recent, video_counts
from recsys_tft.labelling.carried import SCHEMAS, Carried, is_seen
from recsys_tft.labelling.exposures import exposure_starts, sort_events
from recsys_tft.labelling.known_users import KnownUsers
from recsys_tft.labelling.splits import Cuts
from recsys_tft.online import changes
from recsys_tft.online.levels import Levels, keys_of
from recsys_tft.online.video_values import VideoValues
from recsys_tft.point_in_time import are_among, begins, distinct, find_sorted, is_versioned
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.versions import ALWAYS, NEVER

EVENT = "event"  # int64, by which events of a user are told apart
APPLIED, REPEATED, LATE = range(3)
_CACHED = 10_000  # users whose events are labelled once, until they do something


@dataclasses.dataclass(frozen=True)
class Start:
    """What is known before any event.

    Attributes:
        before: of users.
        cuts: where later exposures are cut, as by windows; what is before the first one is in `before`.
        worth: of outcomes.WORTH_SCHEMA, what their exposures are worth.
        changes: of videos, of counters.CARRIED_SCHEMA.
        first_seen: of recent.FIRST_SEEN_SCHEMA.
    """

    before: Carried
    cuts: Cuts
    worth: pa.Table
    changes: pa.Table
    first_seen: pa.Table


@dataclasses.dataclass(frozen=True)
class Rules:
    """What does not change while events come.

    Attributes:
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        settings: of the run.
        counted: whether COUNTERS are counted.
        lateness: microseconds by which an event may come after a later one; None: any.
        fold_at: of how many events kept it is tried to fold some.
    """

    users: pa.Table
    videos: VideoLookup
    settings: Settings
    counted: bool
    lateness: int | None
    fold_at: int = 200_000


@dataclasses.dataclass(frozen=True)
class _Snapshot:
    """What is known at one point of the stream.

    Attributes:
        carried: of users, by table.
        worth: of outcomes.WORTH_SCHEMA.
        events: those that are not folded, with EVENT.
        changes: of videos.
        since: events before this moment come too late.
        latest: the time of the latest event.
        fold_at: with how many events some are folded.
    """

    carried: Mapping[str, Levels]
    worth: Levels
    events: Levels
    changes: Levels
    since: int
    latest: int
    fold_at: int


class _Late:
    """Batches of events in their order, and of each the time of its earliest one, as far as that matters.

    Attributes:
        number: how many batches there were.
    """

    def __init__(self) -> None:
        self.number = 0
        self._numbers: list[int] = []  # of batches of which no later one reaches back as far
        self._times: list[int] = []

    def add(self, earliest: int) -> None:
        """Notes a batch by the time of its earliest event."""
        while self._times and self._times[-1] >= earliest:
            self._times.pop(), self._numbers.pop()
        self._times.append(earliest)
        self._numbers.append(self.number)
        self.number += 1

    def earliest(self, number: int) -> int:
        """The time of the earliest event of all batches from a number on."""
        place = bisect.bisect_left(self._numbers, number)
        return self._times[place] if place < len(self._times) else NEVER


class _User:
    """What the events of a user make of it, and the last row that was asked for.

    Args:
        labelled: the events.
    """

    def __init__(self, labelled: KnownUsers):
        self.labelled, self.row, self._number = labelled, None, 0
        self._groups: dict[str, pa.Table] = {}

    def by_group(self, column: str, moment: int, videos: VideoLookup) -> pa.Table:
        """As `outcomes.by_group`."""
        if moment <= self._last:
            return outcomes.by_group(self.labelled.steps, videos, column, moment)
        if column not in self._groups:
            self._groups[column] = outcomes.by_group(self.labelled.steps, videos, column, moment)
        return self._groups[column]

    def keep(self, row: pa.Table, number: int, time: int) -> None:
        """Keeps a row as of a time, if nothing of it but what is recent is another one later.

        Args:
            row: with all events of so many batches.
            number: of batches.
            time: of the row.
        """
        if time > self._last:
            self.row, self._number = row, number

    def holds(self, time: int, late: _Late) -> bool:
        """Whether the row that is kept is as of a time too, but for what is recent."""
        return self.row is not None and time > self._last and late.earliest(self._number) >= self._last

    @functools.cached_property
    def _last(self) -> int:
        return self.labelled.last


class LiveState:
    """What is known of users and videos, with all events so far; several threads may use it.

    Args:
        start: what is known before.
        rules: by which events count.
    """

    def __init__(self, start: Start, rules: Rules):
        self._rules, self._cuts, self._until = rules, start.cuts, start.before.until
        self._writing, self._reading = threading.Lock(), threading.Lock()
        tables = start.before.tables
        known = tables.pop("events")
        known = known.append_column(EVENT, pa.array(np.zeros(len(known), np.int64)))
        levels = {name: Levels.of_rows("user_id", table) for name, table in tables.items()}
        worth, events = (Levels.of_rows("user_id", table) for table in (start.worth, known))
        of_videos = Levels.of_rows("video_id", start.changes)
        self._now = _Snapshot(levels, worth, events, of_videos, self._until, self._until, rules.fold_at)
        self.video_ids = distinct(rules.videos.rows["video_id"].to_numpy())
        values = video_counts.values(rules.settings, rules.counted)
        self._values = VideoValues(self.video_ids, rules.settings.counters, values)
        self._first_seen = np.full(len(self.video_ids), NEVER)
        self._see(*(start.first_seen[name].to_numpy() for name in recent.FIRST_SEEN_SCHEMA.names))
        self._events_of = np.zeros(len(self.video_ids), np.int64)
        self._users: collections.OrderedDict[int, _User] = collections.OrderedDict()
        self._late = _Late()

    @property
    def since(self) -> int:
        """The moment before which events come too late, and as of which nothing is known exactly any more."""
        return self._now.since

    def observe(self, events: pa.Table) -> np.ndarray:
        """Takes events: [n] int8, whether each is APPLIED, REPEATED or LATE.

        Args:
            events: [n] of known videos, with `exposures.event_columns` and EVENT.
        """
        with self._writing:
            now = self._now
            found = np.full(len(events), APPLIED, np.int8)
            found[events["interaction_time"].to_numpy() < now.since] = LATE
            there = now.events.of(keys_of(events, "user_id"))
            found[_repeated(events, there) & (found == APPLIED)] = REPEATED
            fresh = events.filter(pa.array(found == APPLIED))
            if len(fresh):
                self._apply(fresh, there, now)
            return found

    def _apply(self, fresh: pa.Table, there: pa.Table, now: _Snapshot) -> None:
        """Takes new events, beside which are those of their users that are there."""
        video, time = (fresh[name].to_numpy() for name in ("video_id", "interaction_time"))
        changed = self._changed(fresh, there)
        latest = max(now.latest, int(time.max()))
        events = now.events.with_rows(fresh)
        later = dataclasses.replace(now, events=events, changes=now.changes.with_rows(changed), latest=latest)
        later = self._folded(later) if len(events) >= now.fold_at else self._closed(later)
        with self._reading:
            self._now = later
            self._values.changed(keys_of(changed, "video_id"))
            self._see(video, time)
            np.add.at(self._events_of, np.searchsorted(self.video_ids, video), 1)
            self._late.add(int(time.min()))
            for user in keys_of(fresh, "user_id").tolist():
                self._users.pop(user, None)

    def _see(self, video_ids: np.ndarray, times: np.ndarray) -> None:
        np.minimum.at(self._first_seen, np.searchsorted(self.video_ids, video_ids), times)

    def _changed(self, fresh: pa.Table, there: pa.Table) -> pa.Table:
        """How new events change what is counted of videos."""
        pairs = [fresh[name].to_numpy() for name in ("user_id", "video_id")]
        own = [there[name].to_numpy() for name in ("user_id", "video_id")]
        earlier = there.filter(pa.array(are_among(pairs, own)))
        return changes.between(
            sort_events(earlier, self._rules.settings),
            sort_events(pa.concat_tables([earlier, fresh]), self._rules.settings),
            self._rules.videos,
            self._rules.settings,
            self._rules.counted,
        )

    def _closed(self, now: _Snapshot) -> _Snapshot:
        """The same, where events that are more than `lateness` behind come too late from now on."""
        return dataclasses.replace(now, since=max(now.since, self._horizon(now)))

    def _horizon(self, now: _Snapshot) -> int:
        return now.since if self._rules.lateness is None else max(now.since, now.latest - self._rules.lateness)

    # --- What is known

    def known(self, user: int, time: int) -> pa.Table:
        """[1] row of `KnownUsers.at`, and outcomes.EXPECTED if any feature reads it, as of a moment."""
        owner, times = self._moment([user], time)
        of_user = self._user(user)
        if of_user.holds(int(times[0]), self._late):
            row = of_user.row
            for name, values in of_user.labelled.recent(owner, times).items():
                row = row.set_column(row.column_names.index(name), name, pa.array(values))
            return row
        number = self._late.number
        row = self._at(of_user.labelled, owner, times)
        if self._is_dated:
            return row
        of_user.keep(row, number, int(times[0]))
        return row

    def known_of(self, users: np.ndarray, time: int) -> pa.Table:
        """[n] rows of users at one moment, as `known`."""
        return self._at(self._label(distinct(users), self._now), *self._moment(users, time))

    def by_group(self, user: int, column: str, time: int) -> pa.Table:
        """What became of the user's exposures by group, as `outcomes.by_group`, as of a moment."""
        moment = max(time, self._now.since) - self._rules.settings.counters.delay_microseconds
        return self._user(user).by_group(column, moment, self._rules.videos)

    def knows(self, user: int) -> bool:
        """Whether there is a row of the user, or an event."""
        now, owner = self._now, np.array([user])
        if find_sorted(self._rules.users["user_id"].to_numpy(), owner)[0] >= 0:
            return True
        return any(len(levels.of(owner)) for levels in (now.events, *now.carried.values()))

    def seen(self, user: int) -> np.ndarray:
        """[n] int64 videos that the user has opened, or does not want by a negative signal."""
        now, owner = self._now, np.array([user])
        pairs, events = now.carried["pairs"].of(owner), now.events.of(owner)
        counts = is_seen(events, self._rules.settings)
        videos = pairs["video_id"].to_numpy()[pairs["seen"].to_numpy()]
        return distinct(np.concatenate([videos, events["video_id"].to_numpy()[counts]]))

    def values(self, video_ids: np.ndarray, time: int) -> dict[str, np.ndarray]:
        """[n] int64 of all that is counted of known videos, by column, as of a moment."""
        with self._reading:
            found = self._values.at(video_ids, max(time, self._now.since), self._now.changes)
        return dict(zip(self._values.values.names, found.T, strict=True))

    def first_seen(self, video_ids: np.ndarray, time: int) -> np.ndarray:
        """[n] int64 when known videos were first seen, as known at a moment; the largest int64 where nobody knows."""
        found = self._first_seen[np.searchsorted(self.video_ids, video_ids)]
        return np.where(found < time - self._rules.settings.counters.delay_microseconds, found, NEVER)

    def new_events(self, video_ids: np.ndarray) -> np.ndarray:
        """[n] int64 how many events known videos had since the start."""
        return self._events_of[np.searchsorted(self.video_ids, video_ids)]

    def _moment(self, users: list[int] | np.ndarray, time: int) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(users, np.int64), np.full(len(users), max(time, self._now.since))

    def _user(self, user: int) -> "_User":
        with self._reading:
            now = self._now
            if user in self._users:
                self._users.move_to_end(user)
                return self._users[user]
        found = _User(self._label(np.array([user]), now))
        with self._reading:
            if self._now is now:  # else the user may have done something since
                self._users[user] = found
                if len(self._users) > _CACHED:
                    self._users.popitem(last=False)
        return found

    def _label(self, users: np.ndarray, now: _Snapshot) -> KnownUsers:
        events = sort_events(now.events.of(users), self._rules.settings)
        return KnownUsers(
            events, self._rules.users, self._rules.videos, self._cuts, self._rules.settings, self._before(users, now)
        )

    def _before(self, users: np.ndarray, now: _Snapshot) -> Carried:
        tables = {name: levels.of(users) for name, levels in now.carried.items()}
        return Carried(self._until, now.events.tables[0].slice(0, 0).drop_columns([EVENT]), **tables)

    def _at(self, labelled: KnownUsers, users: np.ndarray, times: np.ndarray) -> pa.Table:
        found = labelled.at(users, times)
        if not self._reads_expected:
            return found
        worth = pa.concat_tables([self._now.worth.of(distinct(users)), self._worth(labelled.begun, self._now)])
        moments = times - self._rules.settings.counters.delay_microseconds
        expected = outcomes.expected(worth, users, moments)
        return found.append_column(outcomes.EXPECTED, pa.array(expected, pa.float32()))

    @functools.cached_property
    def _is_dated(self) -> bool:
        """Whether what is known of a user changes as rows of users or videos do."""
        return self._rules.videos.is_versioned or is_versioned(self._rules.users)

    @functools.cached_property
    def _reads_expected(self) -> bool:
        return outcomes.reads_expected(self._rules.settings)

    def _worth(self, begun: pa.Table, now: _Snapshot) -> pa.Table:
        versions = self._values.versions(keys_of(begun, "video_id"), now.changes)
        return outcomes.worth(begun, versions)

    # --- Folding

    def _folded(self, now: _Snapshot) -> _Snapshot:
        """The same, with exposures folded that no event can join from now on."""
        now = self._closed(now)
        settings = self._rules.settings
        is_over = self._over(now)
        closed = sort_events(now.events.all.filter(pa.array(is_over)), settings)
        kept = now.events.all.filter(pa.array(~is_over)).combine_chunks()
        users = keys_of(closed, "user_id")
        if len(users):
            now = self._carried(closed, users, now)
        first = min(now.since, int(kept["interaction_time"].to_numpy().min(initial=NEVER)))
        folded = counters.folded(now.changes.all, first, settings.counters)
        folded = folded.filter(pc.not_equal(folded[counters.NUMBER], 0))
        return dataclasses.replace(
            now,
            events=Levels.of_rows("user_id", kept),
            changes=Levels.of_rows("video_id", folded),
            fold_at=max(self._rules.fold_at, 2 * len(kept)),
        )

    def _over(self, now: _Snapshot) -> np.ndarray:
        """[n] bool: which of all events are of exposures that no event can join from now on."""
        events, gap = now.events.all, self._rules.settings.labels.exposure_gap
        keys = [events[name].to_numpy() for name in ("interaction_time", "video_id", "user_id")]
        order = np.lexsort(keys)
        starts = exposure_starts(events.take(pa.array(order)), gap, None)
        sizes = np.diff(np.append(starts, len(events)))
        last = keys[0][order[starts + sizes - 1]]
        found = np.zeros(len(events), bool)
        found[order] = np.repeat(last <= now.since - gap, sizes)
        return found

    def _carried(self, closed: pa.Table, users: np.ndarray, now: _Snapshot) -> _Snapshot:
        """The same with closed events in what is known of their users."""
        rules = self._rules
        before = self._before(users, now)
        labelled = examples.label_exposures(closed, rules.users, rules.videos, self._cuts, rules.settings, before)
        later = labelled.period.carry(rules.videos, now.since, rules.settings)
        carried = {name: levels.without(users).with_rows(getattr(later, name)) for name, levels in now.carried.items()}
        worth = now.worth
        if self._reads_expected:
            known = now.since - rules.settings.counters.delay_microseconds
            begun = outcomes.begun(outcomes.step_table(labelled.outcomes, self._until), self._until)
            rows = pa.concat_tables([now.worth.of(users), self._worth(begun, now)])
            worth = now.worth.without(users).with_rows(outcomes.folded(rows, known))
        return dataclasses.replace(now, carried=carried, worth=worth)


def _repeated(events: pa.Table, there: pa.Table) -> np.ndarray:
    """[n] bool: which events are there already, or twice among themselves."""
    own, others = ([table[name].to_numpy() for name in ("user_id", EVENT)] for table in (events, there))
    order = np.lexsort(own[::-1])
    found = np.ones(len(events), bool)
    found[order[begins(*(key[order] for key in own))]] = False
    return found | are_among(others, own)


def nothing(settings: Settings, events: pa.Table) -> Start:
    """The start of a log: nobody has done anything.

    Args:
        settings: of the run.
        events: any, of whose columns events are.
    """
    empty = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
    return Start(
        Carried(ALWAYS, events.slice(0, 0), **empty),
        (ALWAYS, None),
        outcomes.WORTH_SCHEMA.empty_table(),
        counters.CARRIED_SCHEMA.empty_table(),
        recent.FIRST_SEEN_SCHEMA.empty_table(),
    )
