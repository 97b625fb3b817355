"""Logs that are cut into days, and what is known at the end of each."""

import dataclasses

import numpy as np
import pyarrow as pa
from hypothesis import assume
from hypothesis import strategies as st
from labelled_cases import CASES, Case, Gathered, gather, settings_of

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import examples
from recsys_tft.labelling import split_times
from recsys_tft.point_in_time import recent, video_counts
from recsys_tft.point_in_time.carried import Carried, Period

DELAYS = st.sampled_from(("0s", "1m", "2h"))
OPTIONS = st.fixed_dictionaries(
    {
        "delay": DELAYS,
        "growth": st.sampled_from((0.0, 0.1, 3.0)),
        "every": st.sampled_from(("1s", "1h", "1d")),
    }
)


@dataclasses.dataclass(frozen=True)
class Days:
    """A log that is cut into days.

    Attributes:
        gathered: all of it.
        moments: where each day but the first begins.
        cuts: where the splits of the first day end; None where they end for each user elsewhere.
        settings: of the run.
    """

    gathered: Gathered
    moments: list[int]
    cuts: split_times.Cuts | None
    settings: Settings

    @property
    def events(self) -> pa.Table:
        (part,) = self.gathered.partitions
        return part.events

    @property
    def users(self) -> pa.Table:
        (part,) = self.gathered.partitions
        return part.users

    def day(self, number: int) -> pa.Table:
        """The events of a day, from 0."""
        bounds = [np.iinfo(np.int64).min, *self.moments, np.iinfo(np.int64).max]
        time = self.events["interaction_time"].to_numpy()
        return self.events.filter(pa.array((time >= bounds[number]) & (time < bounds[number + 1])))

    def label(
        self, events: pa.Table, cuts: split_times.Cuts | None, before: Carried | None = None
    ) -> examples.Labelled:
        return examples.label_exposures(events, self.users, self.gathered.lookup, cuts, self.settings, before)

    @property
    def all_cuts(self) -> split_times.Cuts:
        """The splits of the first day, and one for each later one."""
        return (*(cut for cut in self.cuts if cut is not None and cut < self.moments[0]), *self.moments)


@st.composite
def logs(draw: st.DrawFn, cases: st.SearchStrategy[Case] = CASES) -> Days:
    """Random tables, whose events are cut at random times, at which there are events."""
    raw, chosen = draw(cases)
    gathered = gather(raw)
    (part,) = gathered.partitions
    times = sorted(set(part.events["interaction_time"].to_pylist()))
    assume(len(times) > 1)
    moments = draw(st.lists(st.sampled_from(times[1:]), min_size=1, max_size=4, unique=True).map(sorted))
    val_from = draw(st.sampled_from([time for time in times if time <= moments[0]][1:] or [moments[0]]))
    test_from = draw(st.none() | st.sampled_from([time for time in times if val_from <= time]))
    own = settings_of(dataclasses.replace(chosen, kind="time", train=None, val=None, val_from=None, test_from=None))
    options = {"counters": draw(OPTIONS), "recent": {"enabled": True}}
    options |= {"cooccurrence": {"enabled": chosen.history_length > 0}}
    return Days(gathered, moments, (val_from, test_from), own.replace(options))


def end_of(events: pa.Table) -> int:
    return int(events["interaction_time"].to_numpy().max()) + 1


def in_split(labelled: examples.Labelled, number: int) -> np.ndarray:
    return np.flatnonzero(labelled.keys["split"].to_numpy() == number)


def changes_of(days: Days, period: Period, became: pa.Table, splits: np.ndarray, cuts: split_times.Cuts) -> pa.Table:
    increments = video_counts.increments(period.events, became, splits, cuts, days.settings, counted=True)
    if period.before:
        increments = increments.filter(pa.array(increments["time"].to_numpy() >= period.before.until))
    return recent.changes(increments, days.settings.recent)
