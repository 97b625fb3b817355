"""What is known online, event by event, is what the main job writes into the rows of the same moments."""

import dataclasses
import itertools
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from carried_days import Days, changes_of, end_of, logs
from conftest import Ran
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recsys_tft.columns import OfGroup, Tally
from recsys_tft.examples import examples
from recsys_tft.labelling.exposures import sort_events
from recsys_tft.online import changes, live_state
from recsys_tft.online.kept_users import is_lasting
from recsys_tft.online.live_state import APPLIED, LATE, REPEATED, LiveState
from recsys_tft.online.opening import open_live
from recsys_tft.online.snapshot import EVENT, Rules, Start, nothing, own_keys
from recsys_tft.point_in_time import counters, outcomes, recent, video_counts
from recsys_tft.run_layout import run_folders, state_files
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.time_lookups import rows_at

LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
some = hypothesis_settings(deadline=None, derandomize=True, max_examples=10)


def state_of(days: Days, start: Start | None = None, **options: int | None) -> LiveState:
    """Knows nothing yet, or what there is at a start; exposures are cut as the splits of the days are."""
    if start is None:
        start = dataclasses.replace(nothing(days.settings, days.events), cuts=(LEAST, *days.all_cuts))
    rules = {"lateness": 0, "fold_at": 1, "counted": True} | options
    return LiveState(start, Rules(days.users, days.gathered.lookup, days.settings, **rules))


def first_day(days: Days) -> Start:
    """What is carried from the first day into the second."""
    events, lookup, own = days.day(0), days.gathered.lookup, days.settings
    labelled, until = days.label(events, days.cuts), end_of(events)
    splits = examples.splits_of(events, days.cuts, own)
    found = changes_of(days, labelled.period, labelled.outcomes, splits, days.cuts)
    worth = outcomes.worth(outcomes.started_exposures(labelled.period.steps), versions(days, found))
    return Start(
        labelled.period.carry(lookup, until, own),
        (until, *days.moments[1:]),
        outcomes.fold(worth, until - own.counters.delay_microseconds),
        counters.fold(found, until, own.counters),
        recent.first_seen(events),
    )


def versions(days: Days, changes: pa.Table) -> pa.Table:
    videos = np.unique(days.gathered.lookup.rows["video_id"].to_numpy())
    return counters.versions(videos, changes, days.settings.counters, video_counts.values(days.settings, counted=True))


def in_time(events: pa.Table) -> pa.Table:
    """Events in the order in which they happen, with numbers that tell them apart."""
    events = events.append_column(EVENT, pa.array(np.arange(len(events))))
    return events.take(pa.array(np.argsort(events["interaction_time"].to_numpy(), kind="stable")))


@some
@given(logs(), st.integers(1, 4), st.sampled_from([1, 3, 100]), st.booleans())
def test_what_is_known_at_each_exposure_is_in_its_row(days: Days, size: int, fold_at: int, is_carried: bool) -> None:
    whole = days.label(days.events, days.all_cuts)
    splits = examples.splits_of(days.events, days.all_cuts, days.settings)
    counted = versions(days, changes_of(days, whole.period, whole.outcomes, splits, days.all_cuts))
    worth = outcomes.worth(outcomes.started_exposures(whole.period.steps), counted)
    live = state_of(days, first_day(days) if is_carried else None, fold_at=fold_at)
    events, delay = in_time(days.events), days.settings.counters.delay_microseconds
    times, everybody = events["interaction_time"].to_numpy(), np.unique(events["user_id"].to_numpy())
    begin = days.moments[0] if is_carried else LEAST
    done = int(np.searchsorted(times, begin))
    of_rows = whole.keys["interaction_time"].to_numpy()
    for time in np.unique(of_rows[of_rows >= begin]).tolist():
        while done < len(events) and times[done] < time:
            many = min(size, int(np.searchsorted(times, time)) - done)
            assert (live.observe(events.slice(done, many)) == APPLIED).all()
            done += many
        rows = whole.exposures.filter(pa.array(of_rows == time))
        users, moments = rows["user_id"].to_numpy(), np.full(len(rows), time)
        found = live.known_of(users, time)
        wanted = rows.select([name for name in found.column_names if name != outcomes.EXPECTED])
        assert found.drop_columns([outcomes.EXPECTED]).to_pylist() == wanted.to_pylist()
        expected = outcomes.expected(worth, users, moments - delay).astype(np.float32)
        assert found[outcomes.EXPECTED].to_pylist() == expected.tolist()
        for user in everybody.tolist():  # what is kept of a user, too
            assert live.known(user, time).equals(live.known_of([user], time))
        videos = rows_at(counted, "video_id", live.video_ids, np.full(len(live.video_ids), time))
        values = live.values(live.video_ids, time)
        assert {name: each.tolist() for name, each in values.items()} == counted.take(pa.array(videos)).select(
            list(values)
        ).to_pydict()
        asked = users, rows["video_id"].to_numpy(), moments
        tallies = outcomes.Tallies(whole.period.steps, days.gathered.lookup, *asked, delay)
        for group in outcomes.groups(days.settings):
            told = [tallies.of(OfGroup(group, tally)).to_pylist() for tally in Tally]
            assert tallied(live, days.gathered.lookup, *asked, group) == list(zip(*told, strict=True))


@some
@given(logs(), st.integers(2, 9))
def test_what_is_found_out_of_several_users_at_once_is_that_of_each(days: Days, size: int) -> None:
    quick = {"recent": {"enabled": False}, "counters": {"delay": "0s"}}
    days = dataclasses.replace(days, settings=days.settings.replace(quick))
    together, alone = (state_of(days, lateness=None, fold_at=3, counted=False) for _ in range(2))
    assume(is_lasting(together._rules))
    events = in_time(days.events)
    users = np.unique(events["user_id"].to_numpy()).tolist()
    with pytest.MonkeyPatch.context() as patch:
        for begin in range(0, len(events), size):
            batch = events.slice(begin, size)
            patch.setattr(live_state, "_TOGETHER", range(1, 100))  # as if there were many
            together.observe(batch)
            patch.setattr(live_state, "_TOGETHER", range(0))
            alone.observe(batch)
            last = int(batch["interaction_time"][-1].as_py())
            together.expect(users[begin % 2 :])
            for user, time in itertools.product(users, (last, last + 1, last + 10**9)):
                assert together.known(user, time).equals(alone.known_of([user], time))
                assert together.by_group(user, "category", time).equals(alone.by_group(user, "category", time))


@some
@given(logs(), st.randoms(use_true_random=False))
def test_an_event_that_comes_after_the_end_of_a_state_counts_as_in_time_and_one_that_is_held_does_not(
    days: Days, random: Random
) -> None:
    assume(len(days.moments) > 1)
    events = days.events.append_column(EVENT, pa.array(own_keys(days.events)))
    assume(len(events.group_by(["user_id", EVENT]).aggregate([])) == len(events))
    first, second = days.moments[:2]
    times = events["interaction_time"].to_numpy()
    of_second, later = ((times >= first) & (times < second)), events.filter(pa.array(times >= second))
    comes_late = of_second & np.array([random.random() < 0.5 for _ in range(len(events))])
    in_time = events.filter(pa.array(of_second & ~comes_late))
    base = first_day(days)
    held = sort_events(pa.concat_tables([base.before.events, in_time.drop_columns([EVENT])]), days.settings)
    moved = changes.between(held.slice(0, 0), held, days.gathered.lookup, days.settings, True, since=base.before.until)
    start = dataclasses.replace(
        base,
        before=dataclasses.replace(base.before, events=held),
        changes=pa.concat_tables([base.changes, moved]),
        first_seen=pa.concat_tables([base.first_seen, recent.first_seen(in_time)]),
        since=first,
        held=second,
    )
    live, wanted = (state_of(days, each, lateness=None, fold_at=10**6) for each in (start, base))
    wanted.observe(events.filter(pa.array(times >= first)))
    late = events.filter(pa.array(comes_late))
    named = pa.array(np.arange(len(events)))  # as by ids of their own, which a state does not know
    assert live.are_held(in_time).all()
    assert not live.are_held(late).any()
    for part, became in ((late, APPLIED), (in_time, REPEATED), (late, REPEATED), (later, APPLIED)):
        assert (live.observe(part.drop_columns([EVENT]).append_column(EVENT, named[: len(part)])) == became).all()
    users, videos = np.unique(events["user_id"].to_numpy()), live.video_ids
    for time in (second, end_of(events), end_of(events) + 40 * 86_400_000_000):
        assert live.known_of(users, time).equals(wanted.known_of(users, time))
        assert [each.tolist() for each in live.values(videos, time).values()] == [
            each.tolist() for each in wanted.values(videos, time).values()
        ]
        assert live.first_seen(videos, time).tolist() == wanted.first_seen(videos, time).tolist()


def tallied(
    live: LiveState, lookup: VideoLookup, users: np.ndarray, videos: np.ndarray, times: np.ndarray, column: str
) -> list[tuple[int | None, ...]]:
    """What is known of users and the groups of videos: shown, positive and last, as rows have it."""
    groups, found = lookup.groups(column), []
    for user, time, place in zip(users.tolist(), times.tolist(), lookup.position(videos, times), strict=True):
        known = {row["group"]: row for row in live.by_group(user, column, time).to_pylist()}
        own = [groups.values[code].as_py() for code in groups.codes[groups.bounds[place] : groups.bounds[place + 1]]]
        rows = [known[value] for value in own if value in known]
        shown, positive = (sum(row[tally] for row in rows) if own else None for tally in ("SHOWN", "POSITIVE"))
        found.append((shown, positive, max((row["LAST"] for row in rows), default=None)))
    return found


@some
@given(
    logs(), st.randoms(use_true_random=False), st.integers(1, 5), st.sets(st.sampled_from(("recent", "positive_rates")))
)
def test_in_which_order_and_how_often_events_come_is_nothing(
    days: Days, random: Random, size: int, off: set[str]
) -> None:
    days = dataclasses.replace(days, settings=days.settings.replace({name: {"enabled": False} for name in off}))
    events, counted = in_time(days.events), not off
    once = state_of(days, lateness=None, fold_at=10**6, counted=counted)
    mixed = state_of(days, lateness=None, fold_at=1, counted=counted)
    assert (once.observe(events) == APPLIED).all()
    twice = np.tile(np.arange(len(events)), 2).tolist()
    random.shuffle(twice)
    found, users = [], np.unique(events["user_id"].to_numpy())
    for begin in range(0, len(twice), size):
        found.append(mixed.observe(events.take(twice[begin : begin + size])))
        user = int(users[begin % len(users)])  # what is kept of whom is found out anew if something comes late
        assert mixed.known(user, end_of(events)).equals(mixed.known_of([user], end_of(events)))
    assert np.bincount(np.concatenate(found)).tolist() == [len(events), len(events)]
    videos = once.video_ids
    for time in (int(events["interaction_time"][-1].as_py()), end_of(events), end_of(events) + 40 * 86_400_000_000):
        assert mixed.known_of(users, time).equals(once.known_of(users, time))
        for name, values in once.values(videos, time).items():
            assert mixed.values(videos, time)[name].tolist() == values.tolist()
        assert mixed.first_seen(videos, time).tolist() == once.first_seen(videos, time).tolist()
        for user in users.tolist():
            assert mixed.seen(user).tolist() == once.seen(user).tolist()
            assert mixed.by_group(user, "category", time).equals(once.by_group(user, "category", time))
            assert mixed.known(user, time).equals(once.known_of([user], time))
    assert mixed.new_events(videos).tolist() == once.new_events(videos).tolist()


@some
@given(logs(), st.sampled_from([0, 10**6, 10**9]), st.randoms(use_true_random=False))
def test_what_comes_too_late_is_left_out_and_all_else_counts(days: Days, lateness: int, random: Random) -> None:
    events = in_time(days.events)
    order = random.sample(range(len(events)), len(events))
    at_once, one_by_one = (state_of(days, lateness=lateness) for _ in range(2))
    single = [one_by_one.observe(events.take([row])).item() for row in order]
    assert at_once.observe(events.take(order)).tolist() == single
    live, rest = state_of(days, lateness=lateness), state_of(days, lateness=None, fold_at=10**6)
    backwards = events.take(pa.array(np.arange(len(events))[::-1]))
    found = np.concatenate([live.observe(backwards.slice(n, 1)) for n in range(len(events))])
    times = backwards["interaction_time"].to_numpy()
    assert found.tolist() == np.where(times < times[0] - lateness, LATE, APPLIED).tolist()
    assert REPEATED in live.observe(backwards.slice(0, 1))
    rest.observe(backwards.filter(pa.array(found == APPLIED)))
    users = np.unique(events["user_id"].to_numpy())
    assert live.known_of(users, end_of(events)).equals(rest.known_of(users, end_of(events)))


def test_a_run_that_needs_no_first_events_has_a_state_all_the_same(synthetic_run: Ran) -> None:
    state = state_files.open_state(str(synthetic_run.root), "out")
    assert state.files[state_files.FIRST_SEEN] == []
    opened = open_live(str(synthetic_run.root), run_folders.fingerprint(str(synthetic_run.root)))
    assert opened.until == state.until
