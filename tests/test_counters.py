"""Counters as of a moment, against plain Python."""

from fractions import Fraction

import numpy as np
import oracle
import oracle_counters
import pyarrow as pa
import pytest
import random_tables
from counter_cases import DAY, EVERY, IDS, START, quick, table_of
from hypothesis import assume, given
from hypothesis import strategies as st
from labelled_cases import CASES, Case, Gathered, gather, given_ids, oracles_cuts, settings_of

from recsys_tft.columns import Accuracy
from recsys_tft.configuration import durations
from recsys_tft.configuration.job_settings import CounterSettings
from recsys_tft.configuration.settings import parse
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.examples import examples
from recsys_tft.point_in_time import counters
from recsys_tft.time_lookups import Timeline

SETTINGS = st.tuples(st.sampled_from(("0", "0.1", "0.5", "3")), st.sampled_from(tuple(EVERY)))
TIMES = st.integers(START, START + 5) | st.integers(0, 9).map(lambda hours: START + hours * 6 * 3_600_000_000)
INCREMENTS = st.lists(st.tuples(st.sampled_from(random_tables.IDS), TIMES, st.integers(0, 2)), max_size=60)
ASKED = st.lists(st.tuples(st.sampled_from(random_tables.IDS), TIMES | st.just(0)), max_size=30)


def increments_of(gathered: Gathered, chosen: random_tables.RunSettings, cuts: tuple | None) -> pa.Table:
    """The increments of all partitions."""
    found = settings_of(chosen)
    parts = [
        counters.increments(part.events, examples.splits_of(part.events, cuts, found), found)
        for part in gathered.partitions
    ]
    return pa.concat_tables(parts)


def triples(table: pa.Table) -> list[tuple[int, int, int]]:
    """Increments as the oracle has them."""
    return list(zip(*(table[name].to_pylist() for name in ("video_id", "time", "counter")), strict=True))


def versions_of(increments: list[tuple[int, int, int]], chosen: tuple[str, str]) -> pa.Table:
    growth, every = chosen
    return counters.versions(IDS, table_of(increments), CounterSettings(growth=float(growth), every=every))


def found(versions: pa.Table, asked: list[tuple[int, int]]) -> list[oracle_counters.Counts]:
    """The counters that each (video, moment) is shown."""
    videos, moments = np.array(asked, np.int64).reshape(-1, 2).T
    rows = Timeline(versions, "video_id").last_before(videos, moments)
    return [tuple(row.values()) for row in versions.select(counters.COUNTERS).take(pa.array(rows)).to_pylist()]


@quick
@given(CASES, st.sampled_from((1, 3)))
def test_an_exposure_adds_what_the_oracle_says(case: Case, partitions: int) -> None:
    raw, chosen = case
    cuts = oracles_cuts(raw, chosen)
    gathered = gather(raw, partitions=partitions)
    table = increments_of(gathered, chosen, cuts)
    _, _, events, _ = oracle.usable(raw.users, raw.videos, raw.interactions)
    expected = oracle_counters.increments(events, chosen.gap_minutes)
    assert sorted((*given_ids([video]), *rest) for video, *rest in triples(table)) == sorted(expected)
    if cuts is not None:
        ids = gathered.lookup.rows["video_id"].unique().to_numpy()
        totals = counters.with_totals(pa.table({"video_id": ids}), [counters.sums(counters.in_training(table))], ())
        found = list(zip(*(totals[name].to_pylist() for name in counters.COUNTERS), strict=True))
        assert found == [oracle_counters.counts_before(expected, video, cuts[0]) for video in given_ids(ids.tolist())]


@quick
@given(CASES, st.data())
def test_later_events_change_no_increment_before_them(case: Case, data: st.DataObject) -> None:
    raw, _ = case
    _, _, events, _ = oracle.usable(raw.users, raw.videos, raw.interactions)
    assume(events)
    moment = data.draw(st.sampled_from([event["interaction_time"] for event in events]))
    earlier = [event for event in events if event["interaction_time"] < moment]
    kept = [increment for increment in oracle_counters.increments(events) if increment[1] < moment]
    assert sorted(oracle_counters.increments(earlier)) == sorted(kept)


@quick
@given(INCREMENTS, ASKED, SETTINGS)
def test_lookups_show_the_oracles_counters(
    increments: list[tuple[int, int, int]], asked: list[tuple[int, int]], chosen: tuple[str, str]
) -> None:
    growth, every = chosen
    expected = oracle_counters.shown_counts(increments, asked, growth, EVERY[every])
    assert found(versions_of(increments, chosen), asked) == expected


@quick
@given(INCREMENTS, ASKED, SETTINGS)
def test_counters_lag_no_further_behind_than_documented(
    increments: list[tuple[int, int, int]], asked: list[tuple[int, int]], chosen: tuple[str, str]
) -> None:
    growth, every = chosen
    for (video, moment), shown in zip(asked, found(versions_of(increments, chosen), asked), strict=True):
        exact = oracle_counters.counts_before(increments, video, moment)
        begun = oracle_counters.counts_before(increments, video, moment // EVERY[every] * EVERY[every])
        for count, true, old in zip(shown, exact, begun, strict=True):
            assert old <= count <= true
            assert count == true or true < count * (1 + Fraction(growth))


@quick
@given(INCREMENTS, ASKED, INCREMENTS, TIMES, SETTINGS)
def test_later_increments_change_no_earlier_lookup(
    increments: list[tuple[int, int, int]],
    asked: list[tuple[int, int]],
    others: list[tuple[int, int, int]],
    moment: int,
    chosen: tuple[str, str],
) -> None:
    until = [pair for pair in asked if pair[1] <= moment]
    later = [increment for increment in others if increment[1] >= moment]
    past = [increment for increment in increments if increment[1] < moment]
    assert found(versions_of(past + later, chosen), until) == found(versions_of(past, chosen), until)


@quick
@given(INCREMENTS, ASKED, SETTINGS)
def test_the_needed_versions_answer_as_all_of_them(
    increments: list[tuple[int, int, int]], asked: list[tuple[int, int]], chosen: tuple[str, str]
) -> None:
    assume(asked)
    versions = versions_of(increments, chosen)
    videos = np.unique([video for video, _ in asked])
    spans = [[time for video, time in asked if video == own] for own in videos.tolist()]
    earliest, latest = (np.array([end(times) for times in spans]) for end in (min, max))
    few = versions.take(pa.array(Timeline(versions, "video_id").between(videos, earliest, latest)[1]))
    assert found(few, asked) == found(versions, asked)
    assert set(few["video_id"].to_pylist()) == set(videos.tolist())


def test_a_video_of_a_million_events_has_few_versions() -> None:
    time = START + np.arange(1_000_000) * 1_000_000  # a view each second, for eleven and a half days
    zeros = np.zeros(len(time), np.int64)
    table = pa.table([zeros, time, zeros.astype(np.int8), zeros == 0], counters.INCREMENT_SCHEMA)
    versions = counters.versions(np.array([0]), table, CounterSettings())
    assert 12 + 100 < len(versions) < 12 + 150
    assert versions["view_count"].to_pylist()[:11] == list(range(11))
    assert versions["view_count"].to_pylist()[-1] == 1_000_000


def test_where_counters_come_from() -> None:
    nothing, some = counters.COUNTERS, counters.COUNTERS[:2]
    sources = {source: CounterSettings(source=source) for source in ("auto", "snapshot", "as_of")}
    as_of = {source: [counters.are_as_of(own, absent) for absent in (nothing, some)] for source, own in sources.items()}
    assert as_of == {"auto": [True, False], "snapshot": [False, False], "as_of": [True, True]}
    assert counters.computed_columns(sources["auto"], nothing) == counters.COUNTERS
    every = (*counters.COUNTERS, "popularity")
    assert counters.computed_columns(sources["auto"], every) == every
    assert counters.computed_columns(sources["as_of"], ()) == every
    assert counters.computed_columns(sources["auto"], some) == ()
    assert set(every) == {name for name, column in DEFAULT.raw.items() if column.accuracy is Accuracy.COUNTED}
    assert any(feature.is_counted for feature in DEFAULT.features)


@pytest.mark.parametrize(
    ("text", "length"),
    [("0s", 0), ("90s", 90 * 10**6), ("1.5h", 90 * 60 * 10**6), (" 2d ", 2 * DAY), ("3 m", 18 * 10**7)],
)
def test_durations(text: str, length: int) -> None:
    assert durations.microseconds(text) == length


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"delay": "5"},
            "counters.delay must be a number with its unit s, m, h or d, such as 90s, 15m, 6h or 1d, not '5'",
        ),
        ({"delay": "-1s"}, "not '-1s'"),
        ({"every": "0s"}, "counters.every must be above 0"),
        ({"every": "99999d"}, "at most 36500d"),
        ({"growth": -0.1}, "counters.growth is -0.1"),
        ({"source": "asof"}, "counters.source is 'asof'"),
        ({"delays": "1s"}, r"unknown setting 'counters.delays'. Did you mean 'delay'\?"),
    ],
)
def test_wrong_settings_are_explained(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse({"counters": values}, "the test")
