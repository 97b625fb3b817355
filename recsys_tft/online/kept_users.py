"""A cache of users: an entry is dropped when the user has a new event, a late event comes, or memory runs out."""

import bisect
import collections
import dataclasses
import itertools
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from recsys_tft.online.snapshot import Labelled, Rules, Snapshot
from recsys_tft.point_in_time import outcomes
from recsys_tft.tables.versions import ALWAYS, NEVER
from recsys_tft.time_lookups import find_sorted, is_versioned

MOST = 128 << 20  # bytes that all of it takes, by _OF_TABLES, _OF_USER and the sizes of tables
_OF_TABLES = 20_000, 50_000  # bytes of Arrow's own for users that are computed together, without `Labelled` and with it
_OF_USER = 400  # bytes of Python's own
_NOTED = 10_000  # late batches that are remembered
_BATCHES = 64  # batches of events whose users are remembered


class Late:
    """The earliest times of batches that held events from before the latest one known.

    Attributes:
        number: how many batches there were, late or not.
    """

    def __init__(self) -> None:
        self.number = 0
        self._numbers: list[int] = []  # of late batches; no later batch reaches back as far
        self._times: list[int] = []
        self._from = 0  # the first batch that is remembered

    def add(self, earliest: int, latest: int) -> None:
        """Notes a batch by the time of its earliest event; `latest` is the time of the latest one known before."""
        if earliest < latest:
            while self._times and self._times[-1] >= earliest:
                self._times.pop(), self._numbers.pop()
            self._times.append(earliest)
            self._numbers.append(self.number)
        if len(self._numbers) > _NOTED:
            half = _NOTED // 2
            self._from = self._numbers[half - 1] + 1
            del self._numbers[:half], self._times[:half]
        self.number += 1

    def earliest(self, number: int) -> int:
        """The time of the earliest event of all late batches from a number on; ALWAYS if they are forgotten."""
        if number < self._from:
            return ALWAYS
        place = bisect.bisect_left(self._numbers, number)
        return self._times[place] if place < len(self._times) else NEVER


class Shared:
    """Rows, outcomes and seen videos of several users, computed together.

    Args:
        users: [n] increasing ids.
        labelled: their labelled events.
    """

    def __init__(self, users: np.ndarray, labelled: Labelled):
        self._users, self._rules = users, labelled.rules
        self.last = labelled.users.last(users)
        self.rows = None if _is_dated(labelled.rules) else labelled.at(users, self.last + 1).combine_chunks()
        steps = labelled.users.steps
        owner = find_sorted(users, steps["user_id"].to_numpy())
        order = np.argsort(owner, kind="stable")
        self._steps, self._owner = steps.take(order).combine_chunks(), owner[order]
        seen_by, self._seen = labelled.users.seen()
        self._seen_bounds = np.searchsorted(seen_by, np.append(users, NEVER))
        self._groups: dict[str, tuple[pa.Table, list[int]]] = {}
        self.labelled = None if is_lasting(labelled.rules) else labelled

    @property
    def bytes(self) -> int:
        """About how much memory it takes, `by_group` included."""
        own = _OF_TABLES[self.labelled is not None] + _OF_USER * len(self._users)
        rows = self.rows.nbytes if self.rows else 0
        return own + rows + 2 * self._steps.nbytes + self._seen.nbytes + (self.labelled.nbytes if self.labelled else 0)

    def steps(self, place: int) -> pa.Table:
        """The steps of one user, with outcomes.STEP_SCHEMA."""
        begin, end = np.searchsorted(self._owner, [place, place + 1]).tolist()
        return self._steps.slice(begin, end - begin)

    def seen(self, place: int) -> np.ndarray:
        """[n] int64 increasing: the videos that one user has opened or given a negative signal."""
        return self._seen[self._seen_bounds[place] : self._seen_bounds[place + 1]]

    def by_group(self, place: int, column: str) -> pa.Table:
        """As `outcomes.by_group`, for one user after all known events."""
        if column not in self._groups:
            found = outcomes.by_group(self._steps, self._rules.videos, column, NEVER, self._owner).combine_chunks()
            firsts = np.searchsorted(found["owner"].to_numpy(), np.arange(len(self._users) + 1))
            self._groups[column] = found.drop_columns(["owner"]), firsts.tolist()
        found, bounds = self._groups[column]
        return found.slice(bounds[place], bounds[place + 1] - bounds[place])


@dataclasses.dataclass(frozen=True, slots=True)
class KeptUser:
    """A cached user.

    Attributes:
        user: the id.
        number: how many batches of events are included.
        last: the time of the user's last known event.
        shared: the users that were computed together with this one.
        place: the row of the user in `shared`.
    """

    user: int
    number: int
    last: int
    shared: Shared
    place: int

    def holds(self, late: Late) -> bool:
        """Whether the entry is valid: since it was made, no event came that is earlier than the user's last one."""
        return late.earliest(self.number) >= self.last

    def at(self, time: int, now: Snapshot) -> pa.Table:
        """[1] row as of a moment; after the user's last event, only recent counts are computed anew.

        Args:
            time: microseconds.
            now: the current snapshot.
        """
        owner, times = np.array([self.user]), np.array([time])
        labelled = self.shared.labelled
        if time <= self.last or self.shared.rows is None:
            return (labelled or now.label(owner)).at(owner, times)
        row = self.shared.rows.slice(self.place, 1)
        for name, values in (labelled.users.recent(owner, times) if labelled else {}).items():
            row = row.set_column(row.column_names.index(name), name, pa.array(values))
        return row

    def by_group(self, column: str, moment: int, now: Snapshot) -> pa.Table:
        """As `outcomes.by_group`."""
        if moment > self.last:
            return self.shared.by_group(self.place, column)
        return outcomes.by_group(self.shared.steps(self.place), now.rules.videos, column, moment)


def prepared(users: np.ndarray, number: int, now: Snapshot) -> dict[int, KeptUser]:
    """The entries of [n] increasing users, computed together instead of request by request."""
    shared = Shared(users, now.label(users))
    return {
        user: KeptUser(user, number, last, shared, place)
        for place, (user, last) in enumerate(zip(users.tolist(), shared.last.tolist(), strict=True))
    }


class KeptUsers:
    """The cache: the oldest entries are dropped first.

    Args:
        most: bytes that it may take.
    """

    def __init__(self, most: int = MOST):
        self._most, self._bytes = most, 0
        self._users: dict[int, KeptUser] = {}
        self._found: collections.deque[tuple[list[KeptUser], int]] = collections.deque()
        self._changed: collections.deque[tuple[int, list[int]]] = collections.deque(maxlen=_BATCHES)

    def get(self, user: int, late: Late) -> KeptUser | None:
        """The entry of a user, if there is one and it is valid."""
        kept = self._users.get(user)
        return kept if kept is not None and kept.holds(late) else None

    def add(self, found: Mapping[int, KeptUser]) -> None:
        """Adds users that were computed together, except those with events since."""
        kept = list(found.values())
        number, shared = kept[0].number, kept[0].shared
        if len(self._changed) == _BATCHES and self._changed[0][0] > number:
            return  # which of them have events since is forgotten
        self._users.update(found)
        for _, users in itertools.takewhile(lambda each: each[0] >= number, reversed(self._changed)):
            self._drop(users)
        self._found.append((kept, shared.bytes))
        self._bytes += shared.bytes
        while self._bytes > self._most:
            old, size = self._found.popleft()
            self._bytes -= size
            self._drop(each.user for each in old if self._users.get(each.user) is each)

    def changed(self, users: list[int], number: int) -> None:
        """Drops users who have events in the batch of this number."""
        self._changed.append((number, users))
        self._drop(users)

    def _drop(self, users: Iterable[int]) -> None:
        for user in users:
            self._users.pop(user, None)


def is_lasting(rules: Rules) -> bool:
    """Whether rows after the last event stay the same as time passes."""
    return not (rules.settings.counters.delay_microseconds or rules.settings.recent.enabled or _is_dated(rules))


def _is_dated(rules: Rules) -> bool:
    """Whether users or videos have versions."""
    return rules.videos.is_versioned or is_versioned(rules.users)
