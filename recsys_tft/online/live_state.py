"""The state of all users and videos, which takes events as they come: batches of any size, down to one event.

What is known at a moment is what the main job would put into a row at that moment, by the same functions: an event
that comes is kept with those of the exposures that it may belong to, and what it changes is found out anew from all of
these. Exposures that no event can join any more are folded from time to time.
"""

import collections
import dataclasses
import threading
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from recsys_tft.labelling.exposures import sort_events
from recsys_tft.online import changes, folding, kept_users
from recsys_tft.online.kept_users import KeptUser, Late
from recsys_tft.online.levels import keys_of
from recsys_tft.online.snapshot import EVENT, Rules, Snapshot, Start
from recsys_tft.online.video_values import VideoValues
from recsys_tft.point_in_time import recent
from recsys_tft.point_in_time.carried import is_seen
from recsys_tft.tables.versions import NEVER
from recsys_tft.time_lookups import are_among, begins, distinct, find_sorted

APPLIED, REPEATED, LATE = range(3)
_CACHED = 2_000  # users of whom is kept what requests found out
_TOGETHER = range(8, 2_000)  # users whose events come at once, and of whom all is found out at once
_BATCHES = 20  # of such users


class LiveState:
    """What is known of users and videos, with all events so far; several threads may use it.

    Args:
        start: what is known before.
        rules: by which events count.
    """

    def __init__(self, start: Start, rules: Rules):
        self._rules, self._now = rules, Snapshot.of(start, rules)
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self.video_ids = distinct(rules.videos.rows["video_id"].to_numpy())
        self._values = VideoValues(self.video_ids, rules.values)
        self._first_seen = np.full(len(self.video_ids), NEVER)
        self._see(*(start.first_seen[name].to_numpy() for name in recent.FIRST_SEEN_SCHEMA.names))
        self._events_of = np.zeros(len(self.video_ids), np.int64)
        self._users: collections.OrderedDict[int, KeptUser] = collections.OrderedDict()
        self._together: collections.deque[dict[int, KeptUser]] = collections.deque()
        self._late = Late()
        delay = rules.settings.counters.delay_microseconds
        self._is_lasting = not (delay or rules.settings.recent.enabled or kept_users.is_dated(rules))

    @property
    def since(self) -> int:
        """The moment before which events come too late, and as of which nothing is known exactly any more."""
        return self._now.since

    def observe(self, events: pa.Table) -> np.ndarray:
        """Takes events: [n] int8, whether each is APPLIED, REPEATED or LATE; the same one by one and all at once.

        Args:
            events: [n] of known videos, with `exposures.event_columns` and EVENT.
        """
        with self._writing:
            now = self._now
            is_late = now.are_late(events["interaction_time"].to_numpy())
            there = now.events.of(keys_of(events, "user_id"))
            found = np.full(len(events), LATE, np.int8)
            found[~is_late] = np.where(_repeated(events.filter(pa.array(~is_late)), there), REPEATED, APPLIED)
            fresh = events.filter(pa.array(found == APPLIED))
            if len(fresh):
                self._apply(fresh, there, now)
            return found

    def _apply(self, fresh: pa.Table, there: pa.Table, now: Snapshot) -> None:
        """Takes new events, beside which are those of their users that are there."""
        video, time = (fresh[name].to_numpy() for name in ("video_id", "interaction_time"))
        changed = self._changed(fresh, there)
        events, changes = now.events.with_rows(fresh), now.changes.with_rows(changed)
        latest = max(now.latest, int(time.max()))
        later = dataclasses.replace(now, latest=latest, events=events, changes=changes).closed()
        if len(later.events) >= later.fold_at:
            later = folding.folded(later)
        with self._reading:
            self._now = later
            self._values.changed(keys_of(changed, "video_id"))
            self._see(video, time)
            np.add.at(self._events_of, np.searchsorted(self.video_ids, video), 1)
            self._late.add(int(time.min()))
            users = keys_of(fresh, "user_id")
            for user in users.tolist():
                self._users.pop(user, None)
        if len(users) in _TOGETHER and self._is_lasting:
            self._prepare(users, later)

    def _prepare(self, users: np.ndarray, now: Snapshot) -> None:
        """Finds out of [n] increasing users at once what the next request of each would have to."""
        found = kept_users.prepared(users, self._late.number, now)
        with self._reading:
            self._users.update(found)
            self._together.append(found)
            old = self._together.popleft() if len(self._together) > _BATCHES else {}
            for user, kept in old.items():
                if self._users.get(user) is kept:
                    del self._users[user]

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

    # --- What is known

    def expect(self, users: Iterable[int]) -> None:
        """Finds out of users at once what `known` and `by_group` will be asked of each."""
        with self._reading:
            now, number = self._now, self._late.number
            there = ((user, self._users.get(user)) for user in users)
            missing = {user for user, kept in there if kept is None or not kept.holds(self._late)}
        if len(missing) > 1 and self._is_lasting:
            found = kept_users.prepared(distinct(np.array(list(missing))), number, now)
            with self._reading:
                if self._now is now:  # else they may have done something since
                    self._users.update(found)
                    self._forget()

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
        now, owner = self._now, np.array([user])
        pairs, events = now.carried["pairs"].of(owner), now.events.of(owner)
        counts = is_seen(events, self._rules.settings)
        videos = pairs["video_id"].to_numpy()[pairs["seen"].to_numpy()]
        return distinct(np.concatenate([videos, events["video_id"].to_numpy()[counts]]))

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
            now, kept = self._now, self._users.get(user)
            if kept is not None and kept.holds(self._late):
                self._users.move_to_end(user)
                return kept
            number = self._late.number
        labelled = now.label(owner := np.array([user]))
        found = KeptUser(user, number, int(labelled.users.last(owner)[0]), self._rules, labelled)
        with self._reading:
            if self._now is now:  # else the user may have done something since
                self._users[user] = found
                self._forget()
        return found

    def _forget(self) -> None:
        while len(self._users) > _CACHED + sum(map(len, self._together)):
            self._users.popitem(last=False)


def _repeated(events: pa.Table, there: pa.Table) -> np.ndarray:
    """[n] bool: which events are there already, or twice among themselves."""
    own, others = ([table[name].to_numpy() for name in ("user_id", EVENT)] for table in (events, there))
    order = np.lexsort(own[::-1])
    found = np.ones(len(events), bool)
    found[order[begins(*(key[order] for key in own))]] = False
    return found | are_among(others, own)
