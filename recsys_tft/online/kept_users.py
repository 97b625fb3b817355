"""What was found out of users, kept until they do something, or something came late."""

import bisect
import functools

import numpy as np
import pyarrow as pa

from recsys_tft.labelling import outcomes
from recsys_tft.online.snapshot import Labelled
from recsys_tft.point_in_time import is_versioned
from recsys_tft.tables.versions import NEVER


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
    """What the events of a user make of them, and the last row that was asked for.

    Args:
        labelled: by the events so far.
        number: of batches so far.
    """

    def __init__(self, labelled: Labelled, number: int):
        self._labelled, self._number = labelled, number
        self._row: pa.Table | None = None
        self._groups: dict[str, pa.Table] = {}

    def holds(self, late: Late) -> bool:
        """Whether no event came since that is before one of the user, which tells more of the videos that were seen."""
        return late.earliest(self._number) >= self._last

    def at(self, user: int, time: int) -> pa.Table:
        """[1] row as of a moment; once nothing is to come any more, only what is recent is found out anew."""
        owner, times = np.array([user]), np.array([time])
        if time <= self._last or self._is_dated:
            return self._labelled.at(owner, times)
        if self._row is None:
            self._row = self._labelled.at(owner, times)
            return self._row
        row = self._row
        for name, values in self._labelled.users.recent(owner, times).items():
            row = row.set_column(row.column_names.index(name), name, pa.array(values))
        return row

    def by_group(self, column: str, moment: int) -> pa.Table:
        """As `outcomes.by_group`."""
        if moment > self._last and column in self._groups:
            return self._groups[column]
        found = outcomes.by_group(self._labelled.users.steps, self._labelled.rules.videos, column, moment)
        if moment > self._last:
            self._groups[column] = found
        return found

    @functools.cached_property
    def _last(self) -> int:
        return self._labelled.users.last

    @property
    def _is_dated(self) -> bool:
        """Whether what is known changes as rows of users or videos do."""
        rules = self._labelled.rules
        return rules.videos.is_versioned or is_versioned(rules.users)
