"""What is recent as of an exposure, against plain Python."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import oracle
import oracle_counters
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import random_tables
from counter_cases import EVERY, IDS, START, quick, table_of
from hypothesis import assume, given
from hypothesis import strategies as st
from labelled_cases import CASES, CASES_OF_INTEGERS, Case, gather, oracles_cuts, plain, settings_of
from oracle import DAY

from recsys_tft.configuration.job_settings import CounterSettings, RecentSettings
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.examples import examples
from recsys_tft.features import Entity
from recsys_tft.point_in_time import counters, pair_columns, recent, video_counts
from recsys_tft.point_in_time.pair_columns import PairColumns
from recsys_tft.time_lookups import Timeline

HOUR = DAY // 24
# On and beside the ends of steps, and the moments at which events of START cease to be recent.
TIMES = st.builds(
    lambda days, hours, beside: START + days * DAY + hours * HOUR + beside,
    st.sampled_from((0, 0, 1, 2, 7, 8, 30, 31, 37)),
    st.sampled_from((0, 1, 5, 6, 7, 23)),
    st.sampled_from((-1, 0, 1)),
)
INCREMENTS = st.lists(st.tuples(st.sampled_from(random_tables.IDS[:3]), TIMES, st.integers(0, 2)), max_size=40)
ASKED = st.lists(st.tuples(st.sampled_from(random_tables.IDS[:3]), TIMES | st.just(0)), max_size=30)
CHOSEN = st.tuples(
    st.sampled_from(("0", "0.1", "0.5")), st.sampled_from(tuple(EVERY)), st.sampled_from((1, 7, 24)), st.booleans()
)
Chosen = tuple[str, str, int, bool]
Increment = tuple[int, int, int]
Asked = list[tuple[int, int]]


def values_of(counted: bool) -> counters.Values:
    """What versions hold where recent counts, and perhaps counters, are all that is counted."""
    settings = Settings(recent={"enabled": True}, positive_rates={"enabled": False})
    return video_counts.values(settings, counted)


def versions_of(increments: list[Increment], chosen: Chosen, latest: int | None = None) -> pa.Table:
    growth, every, steps, counted = chosen
    changes = recent.changes(table_of(increments), RecentSettings(enabled=True, steps=steps), latest)
    thinned = CounterSettings(growth=float(growth), every=every)
    return counters.versions(IDS, changes, thinned, values_of(counted))


def found(versions: pa.Table, asked: Asked) -> list[tuple[int, ...]]:
    """The values that each (video, moment) is shown."""
    videos, moments = np.array(asked, np.int64).reshape(-1, 2).T
    rows = versions.take(pa.array(Timeline(versions, "video_id").last_before(videos, moments)))
    return [tuple(row.values()) for row in rows.drop_columns(["video_id", "since"]).to_pylist()]


# --- Versions of videos


@quick
@given(INCREMENTS, ASKED, CHOSEN)
def test_lookups_show_what_the_oracle_does(increments: list[Increment], asked: Asked, chosen: Chosen) -> None:
    growth, every, steps, counted = chosen
    expected = oracle_counters.shown_values(increments, asked, growth, EVERY[every], steps, counted)
    assert found(versions_of(increments, chosen), asked) == expected


@quick
@given(INCREMENTS, ASKED, CHOSEN)
def test_recent_counts_are_as_near_the_exact_ones_as_documented(
    increments: list[Increment], asked: Asked, chosen: Chosen
) -> None:
    growth, _, steps, counted = chosen
    for (video, moment), shown in zip(asked, found(versions_of(increments, chosen), asked), strict=True):
        exact = oracle_counters.recent_before(increments, video, moment, None)
        stepped = oracle_counters.recent_before(increments, video, moment, steps)
        longer = [
            sum(1 for v, t, n in increments if v == video and n == kind and moment - reach <= t < moment)
            for kind in (0, 1)
            for reach in (days * DAY + days * DAY // steps for days in oracle_counters.DAYS)
        ]
        for count, value, true, more in zip(shown[3:] if counted else shown, stepped, exact, longer, strict=True):
            assert true <= value <= more
            assert count == value or max(count, value) < min(count, value) * (1 + Fraction(growth))


@quick
@given(INCREMENTS, ASKED, INCREMENTS, TIMES, CHOSEN)
def test_later_increments_change_no_earlier_lookup(
    increments: list[Increment], asked: Asked, others: list[Increment], moment: int, chosen: Chosen
) -> None:
    until = [pair for pair in asked if pair[1] <= moment]
    later = [increment for increment in others if increment[1] >= moment]
    past = [increment for increment in increments if increment[1] < moment]
    assert found(versions_of(past + later, chosen), until) == found(versions_of(past, chosen), until)


@quick
@given(INCREMENTS, ASKED, CHOSEN)
def test_what_ceases_to_be_recent_after_the_latest_lookup_may_be_left_out(
    increments: list[Increment], asked: Asked, chosen: Chosen
) -> None:
    assume(asked)
    latest = max(moment for _, moment in asked)
    few, every = versions_of(increments, chosen, latest), versions_of(increments, chosen)
    assert found(few, asked) == found(every, asked)
    assert len(few) <= len(every)


def levels(total: int, growth: str) -> int:
    """How many thresholds a number reaches."""
    return len(counters.thresholds(total, float(growth))) if total else 0


def bound(increments: list[Increment], every: int, growth: str, steps: int) -> int:
    """The most versions that one video may have, as documented."""
    numbers = Counter(number for _, _, number in increments)
    times = {time for _, time, _ in increments}
    found = 1 + sum(levels(count, growth) for count in numbers.values())
    for kind in (0, 1):
        for days in oracle_counters.DAYS:
            step = days * DAY // steps
            left = {(t // step + 1) * step + days * DAY - 1 for _, t, number in increments if number == kind}
            found += len(left) + (len(left) + 1) * levels(numbers[kind], growth)
            times |= left
    return found + len({time // every for time in times})


BURSTS = st.lists(
    st.tuples(TIMES, st.integers(1, 2000), st.sampled_from((1, 1000, 10**6, 10**8)), st.integers(0, 2)), max_size=8
)


@quick
@given(BURSTS, st.sampled_from(("0.1", "0.5", "3")), st.sampled_from(("1h", "1d")), st.sampled_from((1, 24)))
def test_the_number_of_versions_is_bounded(
    bursts: list[tuple[int, int, int, int]], growth: str, every: str, steps: int
) -> None:
    increments = [(2, time + k * apart, kind) for time, size, apart, kind in bursts for k in range(size)]
    versions = versions_of(increments, (growth, every, steps, True))
    assert len(versions) - len(IDS) + 1 <= bound(increments, EVERY[every], growth, steps)


def test_a_video_of_a_million_events_has_few_versions() -> None:
    time = START + np.arange(1_000_000) * 1_000_000  # a view each second, for eleven and a half days
    zeros = np.zeros(len(time), np.int64)
    table = pa.table([zeros, time, zeros.astype(np.int8), zeros == 0], counters.INCREMENT_SCHEMA)
    changes = recent.changes(table, RecentSettings(enabled=True), int(time[-1]))
    versions = counters.versions(np.array([0]), changes, CounterSettings(), values_of(counted=True))
    assert 12 + 100 < len(versions) < 12 + 300
    (last,) = found(versions, [(0, int(time[-1]) + 1)])
    assert last[0] == last[5] > 1_000_000 / 1.1
    assert 86_400 / 1.1 < last[3] < 90_000 * 1.1


# --- Users and ages


def recent_settings(chosen: random_tables.RunSettings, delay: str) -> Settings:
    return settings_of(chosen).replace({"recent": {"enabled": True}, "counters": {"delay": delay}})


@quick
@given(CASES, st.sampled_from((1, 3)), st.sampled_from(("0s", "30m")))
def test_what_users_did_lately_is_what_the_oracle_says(case: Case, partitions: int, delay: str) -> None:
    raw, chosen = case
    gathered, own = gather(raw, partitions=partitions), recent_settings(chosen, delay)
    _, _, events, _ = oracle.usable(raw.users, raw.videos, raw.interactions)
    for part in gathered.partitions:
        rows = examples.label_exposures(
            part.events, part.users, gathered.lookup, oracles_cuts(raw, chosen), own
        ).exposures
        for row in plain(rows):
            moment = row["interaction_time"] - own.counters.delay_microseconds
            expected = oracle_counters.user_before(events, row["user_id"], moment, chosen.gap_minutes)
            assert {name: row[name] for name in recent.USER_COLUMNS} == expected


@quick
@given(CASES, st.data())
def test_later_events_change_nothing_of_what_users_did(case: Case, data: st.DataObject) -> None:
    raw, chosen = case
    (part,) = gather(raw).partitions
    times = part.events["interaction_time"].to_numpy()
    assume(len(times))
    moment = data.draw(st.sampled_from(times.tolist()))
    users = part.events["user_id"].to_numpy()
    own = settings_of(chosen)
    earlier = part.events.filter(pa.array(times < moment))
    whole, past = (
        recent.user_counts(recent.counts_of(e, own), users, np.full(len(users), moment)) for e in (part.events, earlier)
    )
    assert {n: v.tolist() for n, v in whole.items()} == {n: v.tolist() for n, v in past.items()}


@quick
@given(CASES_OF_INTEGERS, st.sampled_from((1, 3)), st.sampled_from((0, 90 * 60 * 10**6)), st.data())
def test_ages_are_counted_from_publication_or_from_the_first_event_that_is_known(
    case: Case, partitions: int, delay: int, data: st.DataObject
) -> None:
    raw, _ = case
    _, videos, events, _ = oracle.usable(raw.users, raw.videos, raw.interactions)
    published = st.none() | st.sampled_from((START - 5 * HOUR + 1, START, START + HOUR, START + 9 * DAY))
    videos = [{**video, "published_at": data.draw(published)} for video in videos]
    seen = [recent.first_seen(part.events) for part in gather(raw, partitions=partitions).partitions]
    table = pa.table({name: [video[name] for video in videos] for name in ("video_id", "published_at")})
    table = table.cast(pa.schema({"video_id": pa.int64(), "published_at": pa.int64()})).sort_by("video_id")
    table = recent.with_first_seen(table, pa.concat_tables(seen))
    asked = [(row, START + hours * HOUR + 1) for row in range(len(table)) for hours in (0, 1, 2, 50)]
    rows, times = np.array(asked, np.int64).reshape(-1, 2).T
    exposures = pa.table({"interaction_time": times})
    tables = {Entity.EXPOSURE: [exposures], Entity.VIDEO: [table]}
    columns = PairColumns(tables, {Entity.EXPOSURE: [np.arange(len(times))], Entity.VIDEO: [rows]}, delay)
    age = DEFAULT.by_name["video_age_log"]
    pairs, pair = pair_columns.to_compute(age, columns.of(age))
    told = table.to_pylist()
    expected = [oracle_counters.hours_of(told[row], events, time, delay) for row, time in asked]
    time, since = (pc.fill_null(pairs[name], 0).to_numpy() for name in age.sources)
    hours = (time - since) / HOUR
    assert hours[pair].tolist() == expected
    assert len(pairs) <= len(set(expected)) + 1  # 0 hours, or of unknown age


# --- The option


def test_without_the_option_nothing_of_it_is_asked_for_or_made() -> None:
    optional = [feature for feature in DEFAULT.features if feature.option == "recent"]
    sources = {source for feature in optional for source in feature.sources}
    assert {*recent.VIDEO_COLUMNS, *recent.USER_COLUMNS, "published_at"} <= sources
    on, off = Settings(recent=RecentSettings(enabled=True)), Settings()
    assert all(feature.is_active(on) and not feature.is_active(off) for feature in optional)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "recent.steps is 0"),
        ({"steps": 1001}, "recent.steps is 1001"),
        ({"enable": True}, r"unknown setting 'recent.enable'. Did you mean 'enabled'\?"),
        ({"enabled": "perhaps"}, "recent.enabled is 'perhaps'"),
    ],
)
def test_wrong_settings_are_explained(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse({"recent": values}, "the test")


def test_the_old_end_moves_in_steps() -> None:
    count = recent.RecentCount("views_1d", 0, 1)
    times = np.array([START, START + HOUR - 1, START + HOUR])
    assert ((count.leaving(times, 24) - START) / HOUR + 1 / HOUR).tolist() == [25, 25, 26]
    assert math.isclose(count.leaving(np.array([0]), 1)[0], 2 * DAY - 1)
