"""The state of all users and videos, which takes events as they come: batches of any size, down to one event.

What is known at a moment is what the main job would put into a row at that moment, by the same functions: an event
that comes is kept with those of the exposures that it may belong to, and what it changes is found out anew from all of
these. Exposures that no event can join any more are folded from time to time.
"""

import threading
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from recsys_tft.online import folding
from recsys_tft.online.kept_users import KeptUser, KeptUsers, Late, is_lasting, prepared
from recsys_tft.online.levels import keys_of
from recsys_tft.online.snapshot import EVENT, Rules, Snapshot, Start, own_keys
from recsys_tft.online.video_values import VideoValues
from recsys_tft.point_in_time import recent
from recsys_tft.tables.versions import NEVER
from recsys_tft.time_lookups import are_among, begins, distinct, find_sorted

APPLIED, REPEATED, LATE = range(3)
_TOGETHER = range(32, 2_000)  # users whose events come at once, and of whom all is found out at once


class LiveState:
    """What is known of users and videos, with all events so far; several threads may use it.

    Args:
        start: what is known before.
        rules: by which events count.
    """

    def __init__(self, start: Start, rules: Rules):
        self._rules, self._now, self._held = rules, Snapshot.of(start, rules), start.held
        self._start = self._now.events
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self.video_ids = distinct(rules.videos.rows["video_id"].to_numpy())
        self._values = VideoValues(self.video_ids, rules.values)
        self._first_seen = np.full(len(self.video_ids), NEVER)
        self._see(*(start.first_seen[name].to_numpy() for name in recent.FIRST_SEEN_SCHEMA.names))
        self._events_of = np.zeros(len(self.video_ids), np.int64)
        self._users, self._late = KeptUsers(), Late()

    @property
    def since(self) -> int:
        """The moment before which events come too late, and as of which nothing is known exactly any more."""
        return self._now.since

    def observe(self, events: pa.Table) -> np.ndarray:
        """Takes events: [n] int8, whether each is APPLIED, REPEATED or LATE; the same one by one and all at once.

        Args:
            events: [n] of known videos, with `exposures.event_columns` and EVENT.
        """
        events = self._told_apart(events)
        with self._writing:
            now = self._now
            is_late = now.are_late(events["interaction_time"].to_numpy())
            there = now.events.of(keys_of(events, "user_id"))
            found = np.full(len(events), LATE, np.int8)
            found[~is_late] = np.where(_repeated(events.filter(pa.array(~is_late)), there), REPEATED, APPLIED)
            fresh = events.filter(pa.array(found == APPLIED))
            if len(fresh):
                self._apply(fresh, now)
            return found

    def later(self, until: int) -> Start:
        """The start of a state that goes on by other rules from a moment on, before which are all events so far."""
        columns = [self.video_ids, self._first_seen]
        seen = pa.table([column[self._first_seen != NEVER] for column in columns], recent.FIRST_SEEN_SCHEMA)
        return folding.later(self._now, seen, until)

    def are_held(self, events: pa.Table) -> np.ndarray:
        """[n] bool: which of events, as `observe` takes them, were there before any was observed."""
        return _are_there(self._told_apart(events), self._start.of(keys_of(events, "user_id")))

    def _told_apart(self, events: pa.Table) -> pa.Table:
        """Events, of which those that may be there from the start are told apart as those are."""
        may_be = events["interaction_time"].to_numpy() < self._held
        if not may_be.any():
            return events
        keys = np.where(may_be, own_keys(events), events[EVENT].to_numpy())
        return events.set_column(events.column_names.index(EVENT), EVENT, pa.array(keys))

    def _apply(self, fresh: pa.Table, now: Snapshot) -> None:
        """Takes new events."""
        video, time = (fresh[name].to_numpy() for name in ("video_id", "interaction_time"))
        later = now.with_events(fresh).closed()
        if len(later.events) >= later.fold_at:
            later = folding.folded(later)
        with self._reading:
            self._now = later
            self._values.changed(keys_of(fresh, "video_id"))
            self._see(video, time)
            np.add.at(self._events_of, np.searchsorted(self.video_ids, video), 1)
            users = keys_of(fresh, "user_id")
            self._users.changed(users.tolist(), self._late.number)
            self._late.add(int(time.min()), now.latest + self._rules.settings.counters.delay_microseconds)
        if len(users) in _TOGETHER and is_lasting(self._rules):
            found = prepared(users, self._late.number, later)
            with self._reading:
                self._users.add(found)

    def _see(self, video_ids: np.ndarray, times: np.ndarray) -> None:
        np.minimum.at(self._first_seen, np.searchsorted(self.video_ids, video_ids), times)

    # --- What is known

    def expect(self, users: Iterable[int]) -> None:
        """Finds out of users at once what `known`, `by_group` and `seen` will be asked of each."""
        with self._reading:
            missing = {user for user in users if self._users.get(user, self._late) is None}
        if missing:
            self._find(np.array(sorted(missing)))

    def known(self, user: int, time: int) -> pa.Table:
        """[1] row of `KnownUsers.at`, and outcomes.EXPECTED if any feature reads it, as of a moment."""
        now = self._now
        return self._user(user).at(max(time, now.since), now)

    def known_of(self, users: np.ndarray, time: int) -> pa.Table:
        """[n] rows of users at one moment, as `known`."""
        now, owners = self._now, np.asarray(users, np.int64)
        return now.label(distinct(owners)).at(owners, np.full(len(owners), max(time, now.since)))

    def by_group(self, user: int, column: str, time: int) -> pa.Table:
        """What became of the user's exposures by group, as `outcomes.by_group`, as of a moment."""
        now = self._now
        moment = max(time, now.since) - self._rules.settings.counters.delay_microseconds
        return self._user(user).by_group(column, moment, now)

    def knows(self, user: int) -> bool:
        """Whether there is a row of the user, or an event."""
        now, owner = self._now, np.array([user])
        if find_sorted(self._rules.users["user_id"].to_numpy(), owner)[0] >= 0:
            return True
        return any(len(levels.of(owner)) for levels in (now.events, *now.carried.values()))

    def seen(self, user: int) -> np.ndarray:
        """[n] int64 videos that the user has opened, or does not want by a negative signal."""
        if not self.knows(user):
            return np.zeros(0, np.int64)
        kept = self._user(user)
        return kept.shared.seen(kept.place)

    def values(self, video_ids: np.ndarray, time: int) -> dict[str, np.ndarray]:
        """[n] int64 of all that is counted of known videos, by column, as of a moment."""
        with self._reading:
            found = self._values.at(video_ids, max(time, self._now.since), self._now)
        return dict(zip(self._rules.values.names, found.T, strict=True))

    def first_seen(self, video_ids: np.ndarray, time: int) -> np.ndarray:
        """[n] int64 when known videos were first seen, as known at a moment; the largest int64 where nobody knows."""
        found = self._first_seen[np.searchsorted(self.video_ids, video_ids)]
        return np.where(found < time - self._rules.settings.counters.delay_microseconds, found, NEVER)

    def new_events(self, video_ids: np.ndarray) -> np.ndarray:
        """[n] int64 how many events known videos had since the start."""
        return self._events_of[np.searchsorted(self.video_ids, video_ids)]

    def _user(self, user: int) -> KeptUser:
        with self._reading:
            kept = self._users.get(user, self._late)
        return kept or self._find(np.array([user]))[user]

    def _find(self, users: np.ndarray) -> dict[int, KeptUser]:
        """Finds out of [n] increasing users what requests need, and keeps it."""
        with self._reading:
            now, number = self._now, self._late.number
        found = prepared(users, number, now)
        with self._reading:
            self._users.add(found)
        return found


def _repeated(events: pa.Table, there: pa.Table) -> np.ndarray:
    """[n] bool: which events are there already, or twice among themselves."""
    own = [events[name].to_numpy() for name in ("user_id", EVENT)]
    order = np.lexsort(own[::-1])
    found = np.ones(len(events), bool)
    found[order[begins(*(key[order] for key in own))]] = False
    return found | _are_there(events, there)


def _are_there(events: pa.Table, there: pa.Table) -> np.ndarray:
    """[n] bool: which events are among others."""
    own, others = ([table[name].to_numpy() for name in ("user_id", EVENT)] for table in (events, there))
    return are_among(others, own)
