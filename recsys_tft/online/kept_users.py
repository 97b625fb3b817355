"""What was found out of users, kept until they do something, or something came late."""

import bisect
import dataclasses

import numpy as np
import pyarrow as pa

from recsys_tft.online.snapshot import Labelled, Rules, Snapshot
from recsys_tft.point_in_time import outcomes
from recsys_tft.tables.versions import NEVER
from recsys_tft.time_lookups import find_sorted, is_versioned


class Late:
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


class KeptUser:
    """What was found out of a user, and the last row that was asked for.

    Args:
        user: who.
        number: of batches so far.
        last: the last moment at which anything happened that is known.
        rules: by which events count.
        labelled: what the events make of the user; None: that is found out when it is needed.
        shared: what was found out of several users at once.
        place: which row there is the user's, and where the steps begin and end.
    """

    def __init__(
        self,
        user: int,
        number: int,
        last: int,
        rules: Rules,
        labelled: Labelled | None = None,
        shared: "Shared | None" = None,
        place: tuple[int, int, int] = (0, 0, 0),
    ):
        self._user, self._number, self._last, self._rules = user, number, last, rules
        self._labelled, self._shared, self._place = labelled, shared, place
        self._row: pa.Table | None = None
        self._groups: dict[str, pa.Table] = {}

    def holds(self, late: Late) -> bool:
        """Whether no event came since that is before one of the user, which tells more of the videos that were seen."""
        return late.earliest(self._number) >= self._last

    def at(self, time: int, now: Snapshot) -> pa.Table:
        """[1] row as of a moment; once nothing is to come any more, only what is recent is found out anew.

        Args:
            time: microseconds.
            now: what is known.
        """
        owner, times = np.array([self._user]), np.array([time])
        if time <= self._last or is_dated(self._rules):
            return self._known(now).at(owner, times)
        if self._row is None:
            own = self._shared
            self._row = own.rows.slice(self._place[0], 1) if own else self._known(now).at(owner, times)
        elif self._rules.settings.recent.enabled:
            row = self._row
            for name, values in self._known(now).users.recent(owner, times).items():
                row = row.set_column(row.column_names.index(name), name, pa.array(values))
            return row
        return self._row

    def by_group(self, column: str, moment: int, now: Snapshot) -> pa.Table:
        """As `outcomes.by_group`."""
        if moment > self._last and column in self._groups:
            return self._groups[column]
        _, begin, end = self._place
        steps = self._shared.steps.slice(begin, end - begin) if self._shared else self._known(now).users.steps
        found = outcomes.by_group(steps, self._rules.videos, column, moment)
        if moment > self._last:
            self._groups[column] = found
        return found

    def _known(self, now: Snapshot) -> Labelled:
        if self._labelled is None:
            self._labelled = now.label(np.array([self._user]))
        return self._labelled


@dataclasses.dataclass(frozen=True)
class Shared:
    """What was found out of several users at once.

    Attributes:
        rows: of `KeptUser.at` after the last moment of each.
        steps: of outcomes.STEP_SCHEMA, user by user.
    """

    rows: pa.Table
    steps: pa.Table


def prepared(users: np.ndarray, number: int, now: Snapshot) -> dict[int, KeptUser]:
    """[n] increasing users, of whom all is found out at once what a request of each would have to by itself."""
    labelled = now.label(users)
    last = labelled.users.last(users)
    rows, steps = labelled.at(users, last + 1), labelled.users.steps
    owner = find_sorted(users, steps["user_id"].to_numpy())
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(len(users) + 1)).tolist()
    shared = Shared(rows.combine_chunks(), steps.take(order).combine_chunks())
    return {
        user: KeptUser(user, number, own, now.rules, shared=shared, place=(place, bounds[place], bounds[place + 1]))
        for place, (user, own) in enumerate(zip(users.tolist(), last.tolist(), strict=True))
    }


def is_dated(rules: Rules) -> bool:
    """Whether what is known changes as rows of users or videos do."""
    return rules.videos.is_versioned or is_versioned(rules.users)
