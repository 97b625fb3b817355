"""What became of earlier exposures, of users, of videos and of both, against plain Python."""

import itertools
import math
from collections.abc import Iterable

import numpy as np
import oracle
import pyarrow as pa
import pytest
from counter_cases import quick
from hypothesis import assume, given
from hypothesis import strategies as st
from labelled_cases import (
    CASES,
    CASES_OF_INTEGERS,
    UNCUT,
    Case,
    gather,
    kinds_of,
    oracles_cuts,
    oracles_exposures,
    plain,
    settings_of,
)
from random_tables import RawTables, RunSettings
from tallied_outcomes import tally

from recsys_tft.columns import FLOAT, INTS, Column, OfGroup, Tally, tallied
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.examples import examples
from recsys_tft.features import RANKER, Entity, Feature
from recsys_tft.number_ops import Log
from recsys_tft.point_in_time import counters, outcomes, video_counts
from recsys_tft.positive_rates import TotalRate
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.video_groups import codes
from recsys_tft.time_lookups import Timeline

DELAYS = st.sampled_from(("0s", "30m"))
OF_CATEGORY = {tally: OfGroup("category", tally) for tally in Tally}


def with_delay(chosen: RunSettings, delay: str) -> Settings:
    return settings_of(chosen).replace({"counters": {"delay": delay}})


@quick
@given(CASES, st.sampled_from((1, 3)), DELAYS)
def test_what_became_of_a_users_exposures_is_what_the_oracle_says(case: Case, partitions: int, delay: str) -> None:
    raw, chosen = case
    gathered, own = gather(raw, partitions=partitions), with_delay(chosen, delay)
    every = oracles_exposures(raw, chosen, UNCUT)
    for part in gathered.partitions:
        cuts = oracles_cuts(raw, chosen)
        rows = examples.label_exposures(part.events, part.users, gathered.lookup, cuts, own).exposures
        for row in plain(rows):
            moment = row["interaction_time"] - own.counters.delay_microseconds
            shown, positive, _ = tally([e for e in every if e.user_id == row["user_id"]], moment)
            assert (row["user_shown_count"], row["user_positive_count"]) == (shown, positive)


def categories(raw: RawTables, video_ids: Iterable[int], times: Iterable[int]) -> list[str | None]:
    videos = oracle.usable(raw.users, raw.videos, raw.interactions, kinds_of(raw.table))[1]
    rows = (oracle.row_at(videos, "video_id", *pair) for pair in zip(video_ids, times, strict=True))
    return [row.get("category") for row in rows if row]


@quick
@given(CASES_OF_INTEGERS, DELAYS, st.data())
def test_tallies_of_users_and_categories_are_what_the_oracle_says(case: Case, delay: str, data: st.DataObject) -> None:
    raw, chosen = case
    gathered, own = gather(raw), with_delay(chosen, delay)
    (part,) = gathered.partitions
    known = sorted({row["video_id"] for row in gathered.lookup.rows.to_pylist()})
    times = part.events["interaction_time"].to_pylist()
    assume(known and times)
    users = st.sampled_from([*part.events["user_id"].to_pylist(), 10**9])  # nobody's
    pairs = st.tuples(users, st.sampled_from(known), st.sampled_from([*times, max(times) + 1]))
    asked = data.draw(st.lists(pairs, max_size=20))
    user, video, time = (
        (np.array(column, np.int64) for column in zip(*asked, strict=True)) if asked else [np.zeros(0, np.int64)] * 3
    )
    became = examples.outcomes_of(part.events, gathered.lookup, oracles_cuts(raw, chosen), own)
    steps = outcomes.step_table(became)
    found = outcomes.Tallies(steps, gathered.lookup, user, video, time, own.counters.delay_microseconds)
    told = list(zip(*(found.of(OF_CATEGORY[tally]).to_pylist() for tally in Tally), strict=True))
    every = oracles_exposures(raw, chosen, UNCUT)
    of_exposures = categories(raw, [e.video_id for e in every], [e.interaction_time for e in every])
    for (owner, _, moment), wanted, row in zip(asked, categories(raw, video, time), told, strict=True):
        inside = [e for e, own_one in zip(every, of_exposures, strict=True) if e.user_id == owner and own_one == wanted]
        expected = tally(inside, moment - own.counters.delay_microseconds)
        assert row == ((None, None, None) if wanted is None else expected)


@quick
@given(CASES_OF_INTEGERS, DELAYS, st.data())
def test_of_lists_the_tallies_of_all_their_values_are_added_up(case: Case, delay: str, data: st.DataObject) -> None:
    raw, chosen = case
    gathered, own = gather(raw), with_delay(chosen, delay)
    (part,) = gathered.partitions
    lists = st.none() | st.lists(st.sampled_from([None, "", "a", "b", "c"]), max_size=4)
    rows = gathered.lookup.rows
    tags = data.draw(st.lists(lists, min_size=len(rows), max_size=len(rows)))
    lookup = VideoLookup(rows.append_column("of_lists", pa.array(tags, pa.list_(pa.string()))))
    known, times = np.unique(rows["video_id"].to_numpy()).tolist(), part.events["interaction_time"].to_pylist()
    assume(known and times)
    users = st.sampled_from([*part.events["user_id"].to_pylist(), 10**9])
    pairs = st.tuples(users, st.sampled_from(known), st.sampled_from([*times, max(times) + 1]))
    asked = data.draw(st.lists(pairs, min_size=1, max_size=20))
    columns = [np.array(column, np.int64) for column in zip(*asked, strict=True)]
    steps = outcomes.step_table(examples.outcomes_of(part.events, lookup, oracles_cuts(raw, chosen), own))
    found = outcomes.Tallies(steps, lookup, *columns, own.counters.delay_microseconds)
    told = zip(*(found.of(OfGroup("of_lists", each)).to_pylist() for each in Tally), strict=True)
    every = oracles_exposures(raw, chosen, UNCUT)

    def groups_of(video: int, time: int) -> set[str]:
        (place,) = lookup.position(np.array([video]), np.array([time])).tolist()
        return {tag for tag in tags[place] or [] if tag}

    for (owner, video, time), (shown, positive, last) in zip(asked, told, strict=True):
        moment = time - own.counters.delay_microseconds
        of_groups = {
            group: tally(
                [e for e in every if e.user_id == owner and group in groups_of(e.video_id, e.interaction_time)], moment
            )
            for group in groups_of(video, time)
        }
        if not of_groups:
            assert (shown, positive, last) == (None, None, None)
            continue
        assert shown == sum(each[0] for each in of_groups.values())
        assert positive == sum(each[1] for each in of_groups.values())
        assert last == max((each[2] for each in of_groups.values() if each[2] is not None), default=None)
        of_user = outcomes.by_group(
            steps.filter(pa.array(steps["user_id"].to_numpy() == owner)), lookup, "of_lists", moment
        )
        stored = {row["group"]: (row["SHOWN"], row["POSITIVE"], row["LAST"]) for row in of_user.to_pylist()}
        assert {group: stored.get(group, (0, 0, None)) for group in of_groups} == of_groups


@quick
@given(st.lists(st.none() | st.lists(st.sampled_from([None, "", "a", "b"]), max_size=3), max_size=8))
def test_lists_of_neighbouring_rows_have_one_code_where_they_are_equal(lists: list[list[str | None] | None]) -> None:
    found = codes(pa.chunked_array([pa.array(lists, pa.list_(pa.string()))]))
    assert [a == b for a, b in itertools.pairwise(lists)] == [a == b for a, b in itertools.pairwise(found.tolist())]


def of_videos(
    events: pa.Table, raw: RawTables, chosen: RunSettings, lookup: VideoLookup, own: Settings
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """What became of exposures, what that changes of videos, and the versions that it makes of these."""
    cuts = oracles_cuts(raw, chosen)
    became = examples.outcomes_of(events, lookup, cuts, own)
    splits = examples.splits_of(events, cuts, own)
    changes = video_counts.increments(events, became, splits, cuts, own, counted=False)
    ids = np.unique(lookup.rows["video_id"].to_numpy())
    return became, changes, counters.versions(ids, changes, own.counters, video_counts.values(own, counted=False))


@quick
@given(CASES_OF_INTEGERS, DELAYS, st.data())
def test_counts_of_videos_are_what_the_oracle_says(case: Case, delay: str, data: st.DataObject) -> None:
    raw, chosen = case
    gathered = gather(raw)
    own = settings_of(chosen).replace({"counters": {"delay": delay, "growth": 0}})
    (part,) = gathered.partitions
    times = part.events["interaction_time"].to_pylist()
    assume(times)
    cuts = oracles_cuts(raw, chosen)
    _, changes, versions = of_videos(part.events, raw, chosen, gathered.lookup, own)
    video = data.draw(st.sampled_from(np.unique(versions["video_id"].to_numpy()).tolist()))
    moments = [*times, max(times) + own.counters.delay_microseconds + 1]
    rows = Timeline(versions, "video_id").last_before(np.full(len(moments), video), np.array(moments))
    found = versions.take(pa.array(rows)).select(outcomes.VIDEO_COLUMNS).to_pylist()
    every = [e for e in oracles_exposures(raw, chosen, UNCUT) if e.video_id == video]
    for moment, row in zip(moments, found, strict=True):
        assert tuple(row.values()) == tally(every, moment - own.counters.delay_microseconds)[:2]
    totals = video_counts.values(own, counted=False, training=True)
    sums = {row["video_id"]: row for row in counters.sums(counters.in_training(changes), totals).to_pylist()}
    if chosen.kind == "time":
        shown, positive, _ = tally(every, math.inf if cuts is None else cuts[0])
        fitted = sums.get(video, {"shown_count": 0, "positive_count": 0})
        assert (fitted["shown_count"], fitted["positive_count"]) == (shown, positive)


@quick
@given(CASES_OF_INTEGERS, DELAYS)
def test_what_is_expected_of_users_is_what_the_oracle_says(case: Case, delay: str) -> None:
    raw, chosen = case
    gathered = gather(raw)
    own = settings_of(chosen).replace({"counters": {"delay": delay, "growth": 0}})
    (part,) = gathered.partitions
    assume(len(part.events))
    became, versions = of_videos(part.events, raw, chosen, gathered.lookup, own)[::2]
    users = part.events["user_id"].to_numpy()
    moments = part.events["interaction_time"].to_numpy()
    worth = outcomes.worth(outcomes.started_exposures(outcomes.step_table(became)), versions)
    found = outcomes.expected(worth, users, moments)
    every, lag = oracles_exposures(raw, chosen, UNCUT), own.counters.delay_microseconds
    for user, moment, expected in zip(users, moments, found, strict=True):
        seen = [e for e in every if e.user_id == user and e.interaction_time < moment]
        known = [
            tally([e for e in every if e.video_id == one.video_id], one.interaction_time - lag)[:2] for one in seen
        ]
        usual = (sum(positive for _, positive in known) + 1) / (sum(shown for shown, _ in known) + 2)
        wanted = sum((positive + 10 * usual) / (shown + 10) for shown, positive in known)
        assert expected == pytest.approx(wanted, abs=1e-5)


@quick
@given(CASES, st.data())
def test_later_events_and_cuts_change_nothing(case: Case, data: st.DataObject) -> None:
    raw, chosen = case
    gathered, own = gather(raw), settings_of(chosen)
    (part,) = gathered.partitions
    times = part.events["interaction_time"].to_numpy()
    assume(len(times))
    moment = data.draw(st.sampled_from(times.tolist()))
    users = part.events["user_id"].to_numpy()
    cuts = oracles_cuts(raw, chosen)
    earlier = part.events.filter(pa.array(times < moment))
    whole = examples.outcomes_of(part.events, gathered.lookup, cuts, own)
    past = examples.outcomes_of(earlier, gathered.lookup, (int(times.max()) + 1, None), own.replace({"split": {}}))
    moments = np.full(len(users), moment)
    known, before = (outcomes.user_counts(outcomes.step_table(each), users, moments) for each in (whole, past))
    assert {n: v.tolist() for n, v in known.items()} == {n: v.tolist() for n, v in before.items()}


# --- The statistic, the option, the table


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=5), min_size=1, max_size=4))
def test_the_rate_of_all_is_of_all_counts(batches: list[list[tuple[int, int]]]) -> None:
    statistic = TotalRate()
    state = statistic.merge([statistic.of(np.array(batch, np.int64).reshape(-1, 2)) for batch in batches])
    positive, shown = (sum(pair[place] for batch in batches for pair in batch) for place in (0, 1))
    assert statistic.result(state) == np.float32((positive + 1) / (shown + 2))


def test_without_the_option_nothing_of_it_is_asked_for_or_made() -> None:
    own = [f for f in DEFAULT.features if any(column.option == "positive_rates" for column in f.columns)]
    assert len(own) == 14
    on, off = Settings(), Settings(positive_rates={"enabled": False})
    assert all(feature.is_active(on) and not feature.is_active(off) for feature in own)
    assert outcomes.groups(on) == ("category", "channel_id", "tags")
    assert outcomes.groups(off) == ()


def test_a_table_has_groups_of_its_own() -> None:
    columns = tallied("user_language_of_video", "video_language")
    table = DEFAULT.extend(columns, features=Feature("seen_log", "user_language_of_video_shown_count", Log(), RANKER))
    assert table.by_name["seen_log"].entity is Entity.PAIR


@pytest.mark.parametrize("group", ["country", "video_languag", "channel_subscriber_count", "alike"])
def test_groups_are_columns_of_videos_but_lists_of_ids(group: str) -> None:
    alike = Column("alike", "videos", INTS, key="video_id")
    with pytest.raises(InputError, match=f"'mine_last_time' has groups by '{group}', which is not a column of videos"):
        DEFAULT.extend((alike, *tallied("mine", group)))


def test_the_query_tower_cannot_read_a_pair() -> None:
    feature = Feature("seen_log", "user_category_shown_count", Log(), DEFAULT.by_name["age_z"].used_by)
    with pytest.raises(InputError, match="is of pairs, so the query tower cannot read it"):
        DEFAULT.extend(features=feature)


def test_floats_may_be_groups() -> None:
    assert DEFAULT.raw["video_duration"].type == FLOAT
    DEFAULT.extend(tallied("of_length", "video_duration"))
