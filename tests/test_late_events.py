"""Events that come late: the state, and the rows of the new period, are those of a log on which all were in time."""

import dataclasses
import types

import numpy as np
import pyarrow as pa
from carried_days import Days, end_of, in_split, logs
from hypothesis import given
from hypothesis import strategies as st
from labelled_cases import quick

from recsys_tft.beam_pipelines import state
from recsys_tft.examples import examples, late_events
from recsys_tft.labelling.exposures import sort_events
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.storage import arrow_ipc

HOUR = 3_600_000_000


@dataclasses.dataclass(frozen=True)
class Arrivals:
    """A log of which some events come later than on their day.

    Attributes:
        days: the log.
        ends: where what is known ends after each day.
        day: [n] int64 on which each event comes.
        late: microseconds by which they do at most.
    """

    days: Days
    ends: list[int]
    day: np.ndarray
    late: int

    def through(self, number: int) -> pa.Table:
        """All that has come by the end of a day."""
        return self.days.events.filter(pa.array(self.day <= number))

    def states(self) -> "list[tuple[Carried, pa.Table, list[int]]]":
        """What is carried out of each day: as of a moment, the events since, and the bounds of periods from then on."""
        settings, first = self.days.settings, self.days.day(0)
        carried = self.days.label(first, self.days.cuts).period.carry(self.days.gathered.lookup, self.ends[0], settings)
        found = [(carried, first.slice(0, 0), self.ends[:1])]
        for number in range(1, len(self.ends)):
            carried, kept, bounds = found[-1]
            events = sort_events(pa.concat_tables([kept, self.new(number)]), settings)
            labelled = self.labelled(carried, events, bounds)
            known, (_, last) = {before.until: before for before, _ in labelled}, labelled[-1]
            bounds = late_events.next_bounds(bounds, self.ends[number], self.late)
            known[self.ends[number]] = last.period.carry(self.days.gathered.lookup, self.ends[number], settings)
            found.append((known[bounds[0]], late_events.between(events, bounds[0], self.ends[number]), bounds))
        return found

    def labelled(self, before: Carried, events: pa.Table, bounds: list[int]) -> list[tuple[Carried, examples.Labelled]]:
        of_log = self.days.users, self.days.gathered.lookup, self.days.settings
        return list(late_events.labelled(events, bounds, (bounds[-1], None), *of_log, before))

    def new(self, number: int) -> pa.Table:
        """The events that come on a day."""
        return self.days.events.filter(pa.array(self.day == number))

    @property
    def in_time(self) -> "Arrivals":
        """The same as if all events came on their days."""
        return dataclasses.replace(self, day=day_of(self.days, self.ends), late=0)


def day_of(days: Days, ends: list[int]) -> np.ndarray:
    return np.searchsorted(ends, days.events["interaction_time"].to_numpy(), side="right")


@st.composite
def arrivals(draw: st.DrawFn) -> Arrivals:
    """Events of any day but the first one come some days later, unless they would be too late."""
    days = draw(logs())
    ends = [end_of(days.day(number)) for number in range(len(days.moments) + 1)]
    day, time = day_of(days, ends), days.events["interaction_time"].to_numpy()
    late = draw(st.sampled_from((HOUR, 48 * HOUR, 10_000 * HOUR)))
    later = np.array(draw(st.lists(st.integers(0, 2), min_size=len(day), max_size=len(day))))
    later = np.where((day > 0) & (time + 1 < np.array(ends)[day]), np.minimum(day + later, len(ends) - 1), day)
    in_time = time >= np.maximum(np.array([0, *ends])[later] - late, ends[0])
    return Arrivals(days, ends, np.where(in_time, later, day), late)


@quick
@given(arrivals())
def test_the_state_is_that_of_events_in_time(arrived: Arrivals) -> None:
    """At the end of the log, when nothing is late any more, as far as it is as of the same moment."""
    settings, lookup = arrived.days.settings, arrived.days.gathered.lookup
    *_, (found, kept, bounds) = arrived.states()
    times = np.unique(kept["interaction_time"].to_numpy())
    assert bounds[0] <= max(bounds[-1] - arrived.late, arrived.ends[0])
    assert (times >= bounds[0]).all()
    wanted = arrived.in_time.states()[arrived.ends.index(bounds[0])][0]
    for name, table in wanted.tables.items():
        assert found.tables[name].equals(table), name
    assert kept.equals(late_events.between(arrived.days.events, bounds[0], bounds[-1]))
    *_, (_, last) = arrived.labelled(found, kept, bounds[:-1] or bounds)
    wanted = arrived.in_time.states()[-1][0]
    end = last.period.carry(lookup, bounds[-1], settings) if len(bounds) > 1 else found
    for name, table in wanted.tables.items():
        assert end.tables[name].equals(table), name


@quick
@given(arrivals())
def test_rows_of_the_new_period_are_those_of_one_run_over_all_that_has_come(arrived: Arrivals) -> None:
    days = arrived.days
    first = tuple(cut for cut in days.cuts if cut is not None and cut < arrived.ends[0])
    for number, (before, kept, bounds) in enumerate(arrived.states()[:-1], 1):
        events = sort_events(pa.concat_tables([kept, arrived.new(number)]), days.settings)
        *_, (_, found) = arrived.labelled(before, events, bounds)
        cuts = (*first, *arrived.ends[:number])
        whole = days.label(arrived.through(number), cuts)
        wanted = whole.exposures.take(pa.array(in_split(whole, len(cuts))))
        assert found.exposures.drop_columns(["split"]).equals(wanted.drop_columns(["split"]))


def test_what_comes_too_late_is_rejected_with_its_reason() -> None:
    events = pa.table({"interaction_time": [1, 2 * HOUR - 1, 2 * HOUR, 3 * HOUR]})
    for since, reason in {
        2 * HOUR: "interaction_time is before 1970-01-01 02:00:00 UTC, which is too late by late: 1h",
        3 * HOUR: "interaction_time is before 1970-01-01 03:00:00 UTC, where what is known ends",
    }.items():
        job = types.SimpleNamespace(taken_from=since, since=3 * HOUR, settings=types.SimpleNamespace(late="1h"))
        (kept,), late = state.without_late([arrow_ipc.dumps(events)], job)
        assert arrow_ipc.loads(kept)["interaction_time"].to_pylist() == [
            time for time in events["interaction_time"].to_pylist() if time >= since
        ]
        assert set(late["reason"].to_pylist()) == {reason}
        assert len(late) + len(arrow_ipc.loads(kept)) == len(events)


def test_a_state_is_as_of_the_last_bound_that_is_over_for_long_enough() -> None:
    assert late_events.next_bounds([], 100, 0) == [100]
    assert late_events.next_bounds([], 100, 50) == [100]  # of a run nothing else is there
    assert late_events.next_bounds([100], 200, 50) == [100, 200]
    assert late_events.next_bounds([100, 200], 250, 50) == [200, 250]
    assert late_events.next_bounds([100, 200], 249, 50) == [100, 200, 249]
    assert late_events.next_bounds([100, 200], 300, 0) == [300]
