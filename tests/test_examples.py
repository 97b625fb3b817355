"""The pure functions from raw tables to labelled rows, against the oracle and against themselves."""

import dataclasses
import random
from collections import Counter

import numpy as np
import oracle
import oracle_negatives
import pyarrow as pa
import pytest
import random_tables
from changed_futures import key, oracles_history, with_another_future
from hypothesis import assume, given
from hypothesis import strategies as st
from labelled_cases import (
    CASES,
    CASES_WITH_BAD_ROWS,
    Case,
    Gathered,
    Run,
    by_user,
    explicit_cases,
    gather,
    given_ids,
    in_split,
    oracles_cuts,
    oracles_exposures,
    plain,
    quick,
    run,
    settings_of,
    thorough,
    with_context,
)
from oracle import Row
from random_tables import RawTables, RunSettings

from recsys_tft.columns import HISTORY
from recsys_tft.configuration.settings import parse
from recsys_tft.errors import InputError
from recsys_tft.examples import ranker_examples
from recsys_tft.labelling import split_times
from recsys_tft.point_in_time import outcomes
from recsys_tft.storage import arrow_ipc

# --- Against the oracle


@thorough
@given(CASES_WITH_BAD_ROWS, st.integers(1, 3), st.sampled_from((1, 3)))
def test_rejected_rows_cuts_exposures_counts_and_ranker_rows_are_the_oracles(
    case: Case, parts: int, partitions: int
) -> None:
    """All of each case at once, since half of the time is to draw one."""
    raw, chosen = case
    gathered = gather(raw, parts=parts, partitions=partitions)
    assert_rejected(raw, gathered)
    cuts, settings = oracles_cuts(raw, chosen), settings_of(chosen)
    assert gathered.cuts(settings) == cuts
    expected, found = oracles_exposures(raw, chosen, cuts), run(gathered, settings)
    assert_exposures(raw, chosen, expected, found)
    assert_counts(raw, chosen, expected, found)
    assume(any(e.label == 1 and e.split == "train" for e in expected))
    assert_ranker_rows(chosen, expected, found)


def assert_rejected(raw: RawTables, gathered: Gathered) -> None:
    users, videos, events, rejected = oracle.usable(raw.users, raw.videos, raw.interactions)
    assert gathered.rejected == {**rejected, "channels": []}
    found_users = [user for part in gathered.partitions for user in part.users["user_id"].to_pylist()]
    assert sorted(given_ids(found_users)) == sorted(user["user_id"] for user in users)
    found_videos = gathered.lookup.rows["video_id"].unique().to_pylist()
    assert sorted(given_ids(found_videos)) == sorted({video["video_id"] for video in videos})
    assert sum(len(part.events) for part in gathered.partitions) == len(events)


def assert_exposures(raw: RawTables, chosen: RunSettings, expected: list[oracle.Exposure], found: Run) -> None:
    fields = ("user_id", "video_id", "interaction_time", "device", "previously_watched_category", "label")
    of_oracle = [
        {name: getattr(e, name) for name in fields}
        | {"split": split_times.SPLITS.index(e.split), "weight": np.float32(e.weight)}
        | oracles_history(raw, chosen, expected, e)
        for e in sorted(expected, key=lambda e: (e.user_id, e.interaction_time, e.video_id))
        if e.label is not None
    ]
    own = found.exposures.drop_columns(outcomes.USER_COLUMNS)  # which test_positive_rates compares
    assert plain(own) == of_oracle
    videos, sizes = split_times.merge(part.training_videos for part in found.labelled)
    assert dict(zip(given_ids(videos.tolist()), sizes.tolist(), strict=True)) == oracle_negatives.catalogue(expected)
    users = [user for part in found.labelled for user in part.training_users.tolist()]
    assert sorted(given_ids(users)) == sorted({e.user_id for e in expected if e.split == "train"})


def assert_counts(raw: RawTables, chosen: RunSettings, exposures: list[oracle.Exposure], found: Run) -> None:
    expected: Counter[str] = Counter()
    users, videos, _, _ = oracle.usable(raw.users, raw.videos, raw.interactions)
    for e in exposures:
        expected.update(f"versions/{table}/early" for table in early(raw, users, videos, e))
        kind = "disliked" if e.disliked else {1: "positive", 0: "exposed", None: "contradicted"}[e.label]
        expected[f"exposures/{e.split}/{kind}"] += 1
        if e.label == 1:
            expected.update(f"positives/{rule}/{e.split}" for rule in e.rules if rule in chosen.positive)
    assert {name: count for name, count in found.counts.items() if count} == expected
    for part in found.labelled:
        rules = {name.split("/")[1] for name in part.counts if name.startswith("positives")}
        assert rules == set(chosen.positive)


def early(raw: RawTables, users: list[Row], videos: list[Row], e: oracle.Exposure) -> list[str]:
    """The tables with versions whose first one is not there before a labelled exposure, but stands in."""
    time, channel = e.interaction_time, oracle.row_at(videos, "video_id", e.video_id, e.interaction_time)["channel_id"]
    wanted = [("users", users, "user_id", e.user_id), ("videos", videos, "video_id", e.video_id)]
    known = {row["channel_id"] for row in raw.channels}
    wanted += [("channels", raw.channels, "channel_id", channel)] if channel in known else []
    return [
        table
        for table, rows, key, value in wanted
        if e.label is not None and oracle.is_versioned(rows) and oracle.is_early(rows, key, value, time)
    ]


def assert_ranker_rows(chosen: RunSettings, expected: list[oracle.Exposure], found: Run) -> None:
    catalogue = oracle_negatives.catalogue(expected)
    for split in split_times.SPLITS:
        rows = plain(found.ranker_table(split))
        ratio, alpha = chosen.negative_ratio, chosen.popularity_alpha
        oracle_negatives.check_ranker(rows, expected, ratio, catalogue, alpha, split=split)
    wanted = oracle_negatives.sampled_per_positive(expected, chosen.negative_ratio)
    drawn = oracle_negatives.drawn_per_positive(expected, chosen.negative_ratio, catalogue)
    assert found.short == sum(wanted.values()) - sum(drawn.values())


# --- Against themselves


@quick
@given(CASES, st.randoms(use_true_random=False))
def test_neither_the_order_of_input_rows_nor_partitions_change_a_row(case: Case, chance: random.Random) -> None:
    raw, chosen = case
    cuts = oracles_cuts(raw, chosen)
    shuffled = {name: list(getattr(raw, name)) for name in ("users", "videos", "interactions")}
    for rows in shuffled.values():
        chance.shuffle(rows)
    settings, divided = settings_of(chosen), gather(raw, partitions=3)
    one, other = (run(gather(tables), settings) for tables in (raw, dataclasses.replace(raw, **shuffled)))
    assert_same(one, other)
    assert divided.cuts(settings) == cuts
    assert_same_but_for_partitions(one, run(divided, settings))


def assert_same(one: Run, other: Run) -> None:
    assert one.exposures.equals(other.exposures)
    assert len(one.ranker) == len(other.ranker) == min(len(one.catalogue), 1)
    for (rows, short), (others, also_short) in zip(one.ranker, other.ranker, strict=True):
        assert rows.equals(others)
        assert short == also_short


def assert_same_but_for_partitions(one: Run, divided: Run) -> None:
    assert by_user(divided.exposures) == one.exposures.to_pylist()
    assert divided.counts == one.counts
    assume(len(one.catalogue))
    assert by_user(divided.ranker_table()) == one.ranker_table().to_pylist()
    assert divided.short == one.short


@quick
@given(CASES, st.sets(st.sampled_from(random_tables.IDS), max_size=3))
def test_each_exposure_is_followed_by_its_own_negatives_whatever_other_users_there_are(
    case: Case, kept: set[int]
) -> None:
    raw, chosen = case
    oracles_cuts(raw, chosen)
    settings = settings_of(chosen)
    found = run(gather(raw), settings)
    assume(len(found.catalogue))
    assert_followed_by_negatives(found)
    of_kept = pa.array(np.isin(found.exposures["user_id"].to_numpy(), sorted(kept)))
    alone = found.exposures.filter(of_kept)
    rows, _ = ranker_examples.ranker_rows(alone, found.catalogue, settings)
    expected = [row for row in found.ranker_table().to_pylist() if row["user_id"] in kept]
    assert with_context(rows, alone, found.catalogue).to_pylist() == expected


def assert_followed_by_negatives(found: Run) -> None:
    ((rows, _),) = found.ranker
    assert rows.schema.equals(ranker_examples.ROW_SCHEMA)
    numbers, sources = rows["exposure"].to_numpy(), np.array(rows["source"].to_pylist())
    first = np.append(True, np.diff(numbers) > 0)[: len(numbers)]
    assert numbers[first].tolist() == list(range(len(found.exposures)))
    assert ((sources != "sampled") == first).all()
    assert rows["video_id"].to_numpy()[first].tolist() == found.exposures["video_id"].to_pylist()
    assert set(found.exposures["label"].to_numpy()[numbers[~first]].tolist()) <= {1}


@quick
@given(explicit_cases(), st.data())
def test_later_events_change_no_earlier_history(case: Case, data: st.DataObject) -> None:
    raw, chosen = case
    moment = data.draw(st.sampled_from([event["interaction_time"] for event in raw.interactions]))
    more = data.draw(with_another_future(raw, moment, keep=True))
    settings = settings_of(dataclasses.replace(chosen, positive=random_tables.WEIGHTS))  # few are contradicted
    before, after = ({key(row): row for row in run(gather(t), settings).exposures.to_pylist()} for t in (raw, more))
    for found, row in before.items():
        if found in after and row["interaction_time"] <= moment:
            for name in ("previously_watched_category", *HISTORY):
                assert after[found].get(name) == row.get(name)


@quick
@given(explicit_cases(), st.data())
def test_nothing_after_the_training_split_changes_its_rows(case: Case, data: st.DataObject) -> None:
    raw, chosen = case
    other = data.draw(with_another_future(raw, chosen.val_from, keep=False))
    assume(any(event["interaction_time"] < chosen.val_from for event in raw.interactions))
    settings = settings_of(chosen)
    one, changed = (run(gather(tables), settings) for tables in (raw, other))
    as_bytes = [arrow_ipc.dumps(in_split(found.exposures, "train")) for found in (one, changed)]
    assert as_bytes[0] == as_bytes[1]
    as_bytes = [arrow_ipc.dumps(found.ranker_table("train")) for found in (one, changed)]
    assert as_bytes[0] == as_bytes[1]
    assert [a.tolist() for a in one.labelled[0].training_videos] == [
        a.tolist() for a in changed.labelled[0].training_videos
    ]
    assert one.labelled[0].training_users.tolist() == changed.labelled[0].training_users.tolist()


# --- What is refused


def test_a_table_without_any_usable_event_cannot_be_split() -> None:
    event = {"user_id": 5, "video_id": 1, "interaction_time": 0, "interaction_type": "click"}
    raw = RawTables([{"user_id": 1}], [{"video_id": 1}], [event], [{"channel_id": 1}], long=True)
    with pytest.raises(InputError, match="nothing to split"):
        gather(raw).cuts(parse({}, "the test"))


def test_a_training_split_at_one_instant_is_refused() -> None:
    event = {"user_id": 1, "video_id": 1, "interaction_time": 60_000_000, "interaction_type": "click"}
    raw = RawTables([{"user_id": 1}], [{"video_id": 1}], [event], [{"channel_id": 1}], long=True)
    with pytest.raises(InputError, match="share one instant, 1970-01-01 00:01:00 UTC"):
        gather(raw).cuts(parse({}, "the test"))
