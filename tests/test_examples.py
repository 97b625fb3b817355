"""The pure functions from raw tables to labelled rows, against the oracle and against themselves."""

import dataclasses
import random
from collections import Counter
from typing import Any

import numpy as np
import oracle
import oracle_negatives
import pyarrow as pa
import pytest
import random_tables
from hypothesis import assume, given
from hypothesis import strategies as st
from labelled_cases import (
    CASES,
    CASES_WITH_BAD_ROWS,
    Case,
    by_user,
    explicit_cases,
    gather,
    given_ids,
    in_window,
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

from recsys_tft.configuration.settings import parse
from recsys_tft.errors import InputError
from recsys_tft.labelling import history, ranker_examples, splits
from recsys_tft.storage import arrow_ipc

# --- Against the oracle


@thorough
@given(CASES_WITH_BAD_ROWS, st.integers(1, 3), st.sampled_from((1, 3)))
def test_rows_are_rejected_for_the_oracles_reasons(case: Case, parts: int, partitions: int) -> None:
    raw, _ = case
    gathered = gather(raw, parts=parts, partitions=partitions)
    users, videos, events, rejected = oracle.usable(raw.users, raw.videos, raw.interactions)
    assert gathered.rejected == {**rejected, "channels": []}
    found_users = [user for part in gathered.partitions for user in part.users["user_id"].to_pylist()]
    assert sorted(given_ids(found_users)) == sorted(user["user_id"] for user in users)
    found_videos = gathered.lookup.rows["video_id"].unique().to_pylist()
    assert sorted(given_ids(found_videos)) == sorted({video["video_id"] for video in videos})
    assert sum(len(part.events) for part in gathered.partitions) == len(events)


@thorough
@given(CASES_WITH_BAD_ROWS, st.sampled_from((1, 3)))
def test_cuts_are_the_oracles(case: Case, partitions: int) -> None:
    raw, chosen = case
    expected = oracles_cuts(raw, chosen)
    assert gather(raw, partitions=partitions).cuts(settings_of(chosen)) == expected


@thorough
@given(CASES_WITH_BAD_ROWS)
def test_exposures_are_the_oracles(case: Case) -> None:
    raw, chosen = case
    cuts = oracles_cuts(raw, chosen)
    expected = oracles_exposures(raw, chosen, cuts)
    found = run(gather(raw), settings_of(chosen))
    fields = ("user_id", "video_id", "interaction_time", "device", "previously_watched_category", "label")
    of_oracle = [
        {name: getattr(e, name) for name in fields}
        | {"window": splits.WINDOWS.index(e.window), "weight": np.float32(e.weight)}
        | oracles_history(raw, chosen, expected, e)
        for e in sorted(expected, key=lambda e: (e.user_id, e.interaction_time, e.video_id))
        if e.label is not None
    ]
    assert plain(found.exposures) == of_oracle
    videos, sizes = found.labelled[0].training_videos
    assert dict(zip(given_ids(videos.tolist()), sizes.tolist(), strict=True)) == oracle_negatives.catalogue(expected)
    assert sorted(given_ids(found.labelled[0].training_users.tolist())) == sorted(
        {e.user_id for e in expected if e.window == "train"}
    )


def oracles_history(raw: RawTables, chosen: RunSettings, found: list[oracle.Exposure], e: oracle.Exposure) -> Row:
    """The history columns of an exposure."""
    if not chosen.history_length:
        return {}
    users, videos, _, _ = oracle.usable(raw.users, raw.videos, raw.interactions)
    watched = oracle.history(found, e.user_id, e.interaction_time, chosen.history_length)
    if watched:
        known = [oracle.row_at(videos, "video_id", video, e.interaction_time) for video in watched]
        return {"history_video_ids": watched, "history_categories": [video.get("category") for video in known]}
    user = oracle.row_at(users, "user_id", e.user_id, e.interaction_time)
    told = {name: user.get(name) for name in ("history_video_ids", "history_categories")}
    return {name: values and values[: chosen.history_length] for name, values in told.items()}


@thorough
@given(CASES_WITH_BAD_ROWS)
def test_counts_are_the_oracles(case: Case) -> None:
    raw, chosen = case
    expected: Counter[str] = Counter()
    users, videos, _, _ = oracle.usable(raw.users, raw.videos, raw.interactions)
    for e in oracles_exposures(raw, chosen, oracles_cuts(raw, chosen)):
        expected.update(f"versions/{table}/early" for table in early(raw, users, videos, e))
        kind = "disliked" if e.disliked else {1: "positive", 0: "exposed", None: "contradicted"}[e.label]
        expected[f"exposures/{e.window}/{kind}"] += 1
        if e.label == 1:
            expected.update(f"positives/{rule}/{e.window}" for rule in e.rules if rule in chosen.positive)
    found = run(gather(raw), settings_of(chosen)).labelled[0].counts
    assert {name: count for name, count in found.items() if count} == expected
    assert {name.split("/")[1] for name in found if name.startswith("positives")} == set(chosen.positive)


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


@thorough
@given(CASES_WITH_BAD_ROWS, st.sampled_from((1, 3)))
def test_ranker_rows_are_what_the_oracle_allows(case: Case, partitions: int) -> None:
    raw, chosen = case
    expected = oracles_exposures(raw, chosen, oracles_cuts(raw, chosen))
    assume(any(e.label == 1 and e.window == "train" for e in expected))
    found = run(gather(raw, partitions=partitions), settings_of(chosen))
    catalogue = oracle_negatives.catalogue(expected)
    for window in splits.WINDOWS:
        rows = plain(found.ranker_table(window))
        ratio, alpha = chosen.negative_ratio, chosen.popularity_alpha
        oracle_negatives.check_ranker(rows, expected, ratio, catalogue, alpha, window=window)
    wanted = oracle_negatives.sampled_per_positive(expected, chosen.negative_ratio)
    drawn = oracle_negatives.drawn_per_positive(expected, chosen.negative_ratio, catalogue)
    assert found.short == sum(wanted.values()) - sum(drawn.values())


@quick
@given(CASES)
def test_each_exposure_is_followed_by_the_negatives_drawn_for_it(case: Case) -> None:
    raw, chosen = case
    oracles_cuts(raw, chosen)
    found = run(gather(raw), settings_of(chosen))
    assume(len(found.catalogue))
    ((rows, _),) = found.ranker
    assert rows.schema.equals(ranker_examples.ROW_SCHEMA)
    numbers, sources = rows["exposure"].to_numpy(), np.array(rows["source"].to_pylist())
    first = np.append(True, np.diff(numbers) > 0)[: len(numbers)]
    assert numbers[first].tolist() == list(range(len(found.exposures)))
    assert ((sources != "sampled") == first).all()
    assert rows["video_id"].to_numpy()[first].tolist() == found.exposures["video_id"].to_pylist()
    assert set(found.exposures["label"].to_numpy()[numbers[~first]].tolist()) <= {1}


# --- Against themselves


@quick
@given(CASES, st.randoms(use_true_random=False))
def test_the_order_of_input_rows_is_nothing(case: Case, chance: random.Random) -> None:
    raw, chosen = case
    oracles_cuts(raw, chosen)
    shuffled = {name: list(getattr(raw, name)) for name in ("users", "videos", "interactions")}
    for rows in shuffled.values():
        chance.shuffle(rows)
    settings = settings_of(chosen)
    one, other = (run(gather(tables), settings) for tables in (raw, dataclasses.replace(raw, **shuffled)))
    assert one.exposures.equals(other.exposures)
    assert len(one.ranker) == len(other.ranker) == min(len(one.catalogue), 1)
    for (rows, short), (others, also_short) in zip(one.ranker, other.ranker, strict=True):
        assert rows.equals(others)
        assert short == also_short


@quick
@given(CASES)
def test_partitions_change_no_row(case: Case) -> None:
    raw, chosen = case
    cuts = oracles_cuts(raw, chosen)
    settings = settings_of(chosen)
    one, three = (run(gather(raw, partitions=partitions), settings) for partitions in (1, 3))
    assert gather(raw, partitions=3).cuts(settings) == cuts
    assert by_user(three.exposures) == one.exposures.to_pylist()
    assert three.counts == one.counts
    assume(len(one.catalogue))
    assert by_user(three.ranker_table()) == one.ranker_table().to_pylist()
    assert three.short == one.short


@quick
@given(CASES, st.sets(st.sampled_from(random_tables.IDS), max_size=3))
def test_negatives_do_not_depend_on_other_users(case: Case, kept: set[int]) -> None:
    raw, chosen = case
    oracles_cuts(raw, chosen)
    settings = settings_of(chosen)
    found = run(gather(raw), settings)
    assume(len(found.catalogue))
    of_kept = pa.array(np.isin(found.exposures["user_id"].to_numpy(), sorted(kept)))
    alone = found.exposures.filter(of_kept)
    rows, _ = ranker_examples.ranker_rows(alone, found.catalogue, settings)
    expected = [row for row in found.ranker_table().to_pylist() if row["user_id"] in kept]
    assert with_context(rows, alone, found.catalogue).to_pylist() == expected


@st.composite
def with_another_future(draw: st.DrawFn, raw: RawTables, moment: int, *, keep: bool) -> RawTables:
    """The tables with other events from a moment on: new ones, and where not `keep`, old ones altered or deleted."""
    past = [event for event in raw.interactions if event["interaction_time"] < moment]
    future = [event for event in raw.interactions if event["interaction_time"] >= moment]
    copies = draw(st.lists(st.sampled_from(raw.interactions), max_size=12))
    gaps = st.sampled_from((0, *random_tables.GAPS))
    new = [
        copy
        | {
            "interaction_time": moment + draw(gaps),
            "user_id": draw(st.sampled_from(raw.users))["user_id"],
            "video_id": draw(st.sampled_from(raw.videos))["video_id"],
        }
        for copy in copies
    ]
    if not keep:
        future = [event for event in future if draw(st.booleans())]
    return dataclasses.replace(raw, interactions=past + future + new)


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
            for name in ("previously_watched_category", *history.COLUMNS):
                assert after[found].get(name) == row.get(name)


def key(row: Row) -> tuple[Any, ...]:
    return row["user_id"], row["video_id"], row["interaction_time"]


@quick
@given(explicit_cases(), st.data())
def test_nothing_after_the_training_window_changes_its_rows(case: Case, data: st.DataObject) -> None:
    raw, chosen = case
    other = data.draw(with_another_future(raw, chosen.val_from, keep=False))
    assume(any(event["interaction_time"] < chosen.val_from for event in raw.interactions))
    settings = settings_of(chosen)
    one, changed = (run(gather(tables), settings) for tables in (raw, other))
    as_bytes = [arrow_ipc.dumps(in_window(found.exposures, "train")) for found in (one, changed)]
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


def test_a_training_window_at_one_instant_is_refused() -> None:
    event = {"user_id": 1, "video_id": 1, "interaction_time": 60_000_000, "interaction_type": "click"}
    raw = RawTables([{"user_id": 1}], [{"video_id": 1}], [event], [{"channel_id": 1}], long=True)
    with pytest.raises(InputError, match="share one instant, 1970-01-01 00:01:00 UTC"):
        gather(raw).cuts(parse({}, "the test"))
