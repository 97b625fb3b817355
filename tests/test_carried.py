"""What is carried from one period into the next: later rows are those of one run over all events."""

import dataclasses

import numpy as np
import pyarrow as pa
from carried_days import Days, changes_of, end_of, in_split, logs
from hypothesis import assume, given
from hypothesis import strategies as st
from labelled_cases import quick, with_context

from recsys_tft.columns import OfGroup, Tally
from recsys_tft.examples import examples, negatives, ranker_examples
from recsys_tft.labelling import split_times
from recsys_tft.point_in_time import counters, outcomes, video_counts
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.time_lookups import rows_at


def carried_periods(days: Days) -> list[tuple[examples.Labelled, Carried]]:
    """The labelled exposures of each later day, each from what was carried into it, and that."""
    first = days.day(0)
    carried = days.label(first, days.cuts).period.carry(days.gathered.lookup, end_of(first), days.settings)
    found = []
    for number in range(1, len(days.moments) + 1):
        events = days.day(number)
        found.append((days.label(carried.with_events(events, days.settings), carried.cuts, carried), carried))
        carried = found[-1][0].period.carry(days.gathered.lookup, end_of(events), days.settings)
    return found


@quick
@given(logs())
def test_exposures_of_later_days_are_those_of_one_run(days: Days) -> None:
    whole = days.label(days.events, days.all_cuts)
    first = len(days.all_cuts) - len(days.moments) + 1
    for number, (labelled, _) in enumerate(carried_periods(days), first):
        wanted = whole.exposures.take(pa.array(in_split(whole, number)))
        found = labelled.exposures
        assert found.drop_columns(["split"]).equals(wanted.drop_columns(["split"]))
        assert (found["split"].to_numpy() == 1).all()


@quick
@given(logs(), st.sampled_from(("time_per_user", "random_per_user")))
def test_they_are_too_where_the_first_day_is_divided_for_each_user(days: Days, kind: str) -> None:
    split = {"kind": kind, "train": 0.5, "val": 0.25}
    days = dataclasses.replace(days, cuts=None, settings=days.settings.replace({"split": split}))
    whole = days.label(days.events, (None, None, *days.moments))
    for number, (labelled, _) in enumerate(carried_periods(days), len(split_times.SPLITS)):
        wanted = whole.exposures.take(pa.array(in_split(whole, number)))
        assert labelled.exposures.drop_columns(["split"]).equals(wanted.drop_columns(["split"]))


@quick
@given(logs())
def test_rows_of_the_ranker_are_those_of_one_run(days: Days) -> None:
    whole, group = days.label(days.events, days.all_cuts), OfGroup("category", Tally.SHOWN)
    catalogue = negatives.Catalogue(*days.label(days.day(0), days.cuts).training_videos, 0.75)
    assume(len(catalogue))
    first = len(days.all_cuts) - len(days.moments) + 1

    def rows_of(labelled: examples.Labelled, steps: pa.Table, pairs: pa.Table | None = None) -> pa.Table:
        rows, _ = ranker_examples.ranker_rows(labelled.exposures, catalogue, days.settings, pairs)
        rows = with_context(rows, labelled.exposures, catalogue)
        user, video, time = (rows[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
        delay = days.settings.counters.delay_microseconds
        tallies = outcomes.Tallies(steps, days.gathered.lookup, user, video, time, delay)
        for tally in Tally:
            rows = rows.append_column(tally.name, tallies.of(dataclasses.replace(group, tally=tally)))
        return rows

    wanted = rows_of(whole, whole.period.steps)
    for number, (labelled, carried) in enumerate(carried_periods(days), first):
        inside = pa.array(wanted["split"].to_numpy() == number)
        pairs = carried.pairs_beside(labelled.keys)
        found = rows_of(labelled, labelled.period.steps, pairs)
        assert found.drop_columns(["split"]).equals(wanted.filter(inside).drop_columns(["split"]))


@quick
@given(logs())
def test_what_is_counted_of_videos_is_that_of_one_run(days: Days) -> None:
    own, values = days.settings.counters, video_counts.values(days.settings, counted=True)
    training = video_counts.values(days.settings, counted=True, training=True)
    videos = np.unique(days.gathered.lookup.rows["video_id"].to_numpy())
    whole = days.label(days.events, days.all_cuts)
    begun = outcomes.started_exposures(whole.period.steps)
    splits = examples.splits_of(days.events, days.all_cuts, days.settings)
    all_changes = changes_of(days, whole.period, whole.outcomes, splits, days.all_cuts)
    wanted = counters.versions(videos, all_changes, own, values)
    first = days.label(days.day(0), days.cuts)
    splits = examples.splits_of(days.day(0), days.cuts, days.settings)
    changes = changes_of(days, first.period, first.outcomes, splits, days.cuts)
    worth = outcomes.worth(
        outcomes.started_exposures(first.period.steps), counters.versions(videos, changes, own, values)
    )
    all_worth = outcomes.worth(begun, wanted)
    for labelled, before in carried_periods(days):
        carried = counters.fold(changes, before.until, own)
        splits = examples.splits_of(labelled.period.events, before.cuts, days.settings)
        later = changes_of(days, labelled.period, labelled.outcomes, splits, before.cuts)
        changes = counters.together(later, carried)
        versions = counters.versions(videos, changes, own, values)
        times = np.unique(labelled.keys["interaction_time"].to_numpy())
        asked = np.repeat(videos, len(times)), np.tile(times, len(videos))
        found, expected = (table.take(pa.array(rows_at(table, "video_id", *asked))) for table in (versions, wanted))
        assert found.drop_columns(["since"]).equals(expected.drop_columns(["since"]))
        sums = [counters.sums(counters.in_training(each), training) for each in (changes, all_changes)]
        assert sums[0].equals(sums[1])
        later = outcomes.worth(outcomes.started_exposures(labelled.period.steps, before.until), versions)
        worth = pa.concat_tables([outcomes.fold(worth, before.until - own.delay_microseconds), later])
        users, moments = (labelled.keys[name].to_numpy() for name in ("user_id", "interaction_time"))
        found, expected = (
            outcomes.expected(each, users, moments - own.delay_microseconds) for each in (worth, all_worth)
        )
        assert found.tolist() == expected.tolist()
