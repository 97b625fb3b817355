"""What is known online, event by event, is what the main job writes into the rows of the same moments."""

import dataclasses

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from labelled_cases import quick
from test_carried import Days, logs

from recsys_tft.columns import OfGroup, Tally
from recsys_tft.labelling import counters, examples, outcomes, recent, video_counts
from recsys_tft.online.live_state import APPLIED, LiveState
from recsys_tft.online.snapshot import EVENT, Rules, nothing
from recsys_tft.point_in_time import rows_at
from recsys_tft.tables.entities import VideoLookup

MOST = np.iinfo(np.int64).max


def state_of(days: Days, **options: object) -> LiveState:
    """Knows nothing yet; exposures are cut as the windows of the days are."""
    start = nothing(days.settings, days.events)
    start = dataclasses.replace(start, cuts=(np.iinfo(np.int64).min, *days.all_cuts))
    rules = {"lateness": 0, "fold_at": 1} | options
    return LiveState(start, Rules(days.users, days.gathered.lookup, days.settings, True, **rules))


def numbered(events: pa.Table) -> pa.Table:
    return events.append_column(EVENT, pa.array(np.arange(len(events))))


def in_time(events: pa.Table) -> pa.Table:
    return events.take(pa.array(np.argsort(events["interaction_time"].to_numpy(), kind="stable")))


@quick
@given(logs(), st.integers(1, 4), st.sampled_from([1, 3, 100]))
def test_what_is_known_at_each_exposure_is_in_its_row(days: Days, size: int, fold_at: int) -> None:
    days = dataclasses.replace(days, settings=days.settings.replace({"positive_rates": {"enabled": True}}))
    whole = days.label(days.events, days.all_cuts)
    versions = versions_of(days)
    worth = outcomes.worth(outcomes.begun(whole.period.steps), versions)
    events, live = in_time(numbered(days.events)), state_of(days, fold_at=fold_at)
    times = events["interaction_time"].to_numpy()
    videos, everybody = live.video_ids, np.unique(events["user_id"].to_numpy())
    done = 0
    delay = days.settings.counters.delay_microseconds
    for time in np.unique(whole.keys["interaction_time"].to_numpy()).tolist():
        while done < len(events) and times[done] < time:
            many = min(size, int(np.searchsorted(times, time)) - done)
            assert (live.observe(events.slice(done, many)) == APPLIED).all()
            done += many
        rows = whole.exposures.filter(pa.array(whole.keys["interaction_time"].to_numpy() == time))
        users = rows["user_id"].to_numpy()
        found = live.known_of(users, time)
        wanted = rows.select([name for name in found.column_names if name != outcomes.EXPECTED])
        assert found.drop_columns([outcomes.EXPECTED]).to_pylist() == wanted.to_pylist()
        expected = outcomes.expected(worth, users, np.full(len(users), time - delay)).astype(np.float32)
        assert found[outcomes.EXPECTED].to_pylist() == expected.tolist()
        for user in everybody.tolist():  # what is kept of a user, too
            assert live.known(user, time).equals(live.known_of([user], time))
        own = live.values(videos, time)
        there = versions.take(pa.array(rows_at(versions, "video_id", videos, np.full(len(videos), time))))
        assert {name: values.tolist() for name, values in own.items()} == there.select(list(own)).to_pydict()
        asked = users, rows["video_id"].to_numpy(), np.full(len(users), time)
        tallies = outcomes.Tallies(whole.period.steps, days.gathered.lookup, *asked, delay)
        for group in outcomes.groups(days.settings):
            wanted = [tallies.of(OfGroup(group, tally)).to_pylist() for tally in Tally]
            assert tallied(live, days.gathered.lookup, *asked, group) == list(zip(*wanted, strict=True))


def tallied(
    live: LiveState, lookup: VideoLookup, users: np.ndarray, videos: np.ndarray, times: np.ndarray, column: str
) -> list[tuple[int | None, ...]]:
    """What is known of users and the groups of videos: shown, positive and last, as rows have it."""
    codes, values = lookup.groups(column)
    found = []
    for user, time, code in zip(users.tolist(), times.tolist(), codes[lookup.position(videos, times)], strict=True):
        known = {row["group"]: row for row in live.by_group(user, column, time).to_pylist()}
        row = known.get(values[int(code)].as_py(), {"SHOWN": 0, "POSITIVE": 0, "LAST": None}) if code >= 0 else {}
        found.append(tuple(row.get(tally.name) for tally in Tally))
    return found


def versions_of(days: Days) -> pa.Table:
    settings, lookup = days.settings, days.gathered.lookup
    windows = examples.windows_of(days.events, days.all_cuts, settings)
    became = examples.outcomes_of(days.events, lookup, days.all_cuts, settings)
    found = video_counts.increments(days.events, became, windows, days.all_cuts, settings, counted=True)
    changes = recent.changes(found, settings.recent) if settings.recent.enabled else found
    videos = np.unique(lookup.rows["video_id"].to_numpy())
    return counters.versions(videos, changes, settings.counters, video_counts.values(settings, counted=True))
