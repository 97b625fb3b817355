"""What was found out of users, kept until they do something, or something came late, or it takes too much memory."""

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
_OF_TABLES = 20_000, 50_000  # bytes of Arrow's own for what was found out at once, without `Labelled` and with it
_OF_USER = 400  # bytes of Python's own
_NOTED = 10_000  # batches that are remembered as late
_BATCHES = 64  # of events, whose users are remembered


class Late:
    """Batches of events in their order, and of each the time of its earliest one, as far as that matters.

    Attributes:
        number: how many batches there were.
    """

    def __init__(self) -> None:
        self.number = 0
        self._numbers: list[int] = []  # of batches of which no later one reaches back as far
        self._times: list[int] = []
        self._from = 0  # the first batch from which on they are remembered

    def add(self, earliest: int, latest: int) -> None:
        """Notes a batch by the time of its earliest event; `latest` is the last moment of what was known before it."""
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
        """The time of the earliest event of all late batches from a number on; ALWAYS where nobody remembers."""
        if number < self._from:
            return ALWAYS
        place = bisect.bisect_left(self._numbers, number)
        return self._times[place] if place < len(self._times) else NEVER


class Shared:
    """What was found out of several users at once.

    Args:
        users: [n] increasing ids.
        labelled: what their events make of them.
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
        """Those of one user, of outcomes.STEP_SCHEMA."""
        begin, end = np.searchsorted(self._owner, [place, place + 1]).tolist()
        return self._steps.slice(begin, end - begin)

    def seen(self, place: int) -> np.ndarray:
        """[n] int64 videos that one user has opened, or does not want by a negative signal, increasing."""
        return self._seen[self._seen_bounds[place] : self._seen_bounds[place + 1]]

    def by_group(self, place: int, column: str) -> pa.Table:
        """As `outcomes.by_group`, of one user after all that is known."""
        if column not in self._groups:
            found = outcomes.by_group(self._steps, self._rules.videos, column, NEVER, self._owner).combine_chunks()
            firsts = np.searchsorted(found["owner"].to_numpy(), np.arange(len(self._users) + 1))
            self._groups[column] = found.drop_columns(["owner"]), firsts.tolist()
        found, bounds = self._groups[column]
        return found.slice(bounds[place], bounds[place + 1] - bounds[place])


@dataclasses.dataclass(frozen=True, slots=True)
class KeptUser:
    """What was found out of a user.

    Attributes:
        user: who.
        number: of batches that it is made of.
        last: the last moment at which anything happened that is known.
        shared: what was found out of several users at once.
        place: which row there is the user's.
    """

    user: int
    number: int
    last: int
    shared: Shared
    place: int

    def holds(self, late: Late) -> bool:
        """Whether no event came since that is before one of the user, which tells more of the videos that were seen."""
        return late.earliest(self.number) >= self.last

    def at(self, time: int, now: Snapshot) -> pa.Table:
        """[1] row as of a moment; once nothing is to come any more, only what is recent is found out anew.

        Args:
            time: microseconds.
            now: what is known.
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
    """[n] increasing users, of whom all is found out at once what a request of each would have to by itself."""
    shared = Shared(users, now.label(users))
    return {
        user: KeptUser(user, number, last, shared, place)
        for place, (user, last) in enumerate(zip(users.tolist(), shared.last.tolist(), strict=True))
    }


class KeptUsers:
    """Those that are kept: what was found out longest ago is forgotten first, as that is found out anew.

    Args:
        most: bytes that it may take.
    """

    def __init__(self, most: int = MOST):
        self._most, self._bytes = most, 0
        self._users: dict[int, KeptUser] = {}
        self._found: collections.deque[tuple[list[KeptUser], int]] = collections.deque()
        self._changed: collections.deque[tuple[int, list[int]]] = collections.deque(maxlen=_BATCHES)

    def get(self, user: int, late: Late) -> KeptUser | None:
        """What is kept of a user, if it holds."""
        kept = self._users.get(user)
        return kept if kept is not None and kept.holds(late) else None

    def add(self, found: Mapping[int, KeptUser]) -> None:
        """Keeps what was found out at once of users, but for those who have done something since."""
        kept = list(found.values())
        number, shared = kept[0].number, kept[0].shared
        if len(self._changed) == _BATCHES and self._changed[0][0] > number:
            return  # as nobody remembers who has
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
        """Forgets users who have done something, in the batch of a number."""
        self._changed.append((number, users))
        self._drop(users)

    def _drop(self, users: Iterable[int]) -> None:
        for user in users:
            self._users.pop(user, None)


def is_lasting(rules: Rules) -> bool:
    """Whether what is known after all that happened changes no more by the clock alone."""
    return not (rules.settings.counters.delay_microseconds or rules.settings.recent.enabled or _is_dated(rules))


def _is_dated(rules: Rules) -> bool:
    """Whether what is known changes as rows of users or videos do."""
    return rules.videos.is_versioned or is_versioned(rules.users)
