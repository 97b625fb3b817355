"""Signals and context columns of a user's own table: exposures, negatives, histories and counters by the oracle."""

import dataclasses
import pathlib
import tempfile
from collections import Counter
from typing import Any

import numpy as np
import oracle
import oracle_counters
import oracle_negatives
import own_signals
import pyarrow as pa
import pytest
import random_tables
from changed_futures import key, oracles_history, with_another_future
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from labelled_cases import (
    Case,
    Gathered,
    gather,
    given_ids,
    kinds_of,
    oracles_cuts,
    oracles_exposures,
    plain,
    run,
    settings_of,
)
from oracle import MINUTE, Row
from random_tables import RawTables

from recsys_tft.columns import HISTORY, IdKind
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.errors import InputError
from recsys_tft.examples import event_chunks, examples, odd_data
from recsys_tft.labelling import exposures, split_times
from recsys_tft.point_in_time import counters, history, outcomes
from recsys_tft.storage import arrow_ipc
from recsys_tft.tables import event_signals, raw_tables, rejects
from recsys_tft.tables.needed_columns import needed_columns

CASES = random_tables.cases(least=1, table=own_signals.TABLE)
CASES_OF_INTEGERS = random_tables.cases(least=1, table=own_signals.TABLE, kinds=(IdKind.INTEGER,))
BAD = random_tables.cases(table=own_signals.TABLE, bad_rows=True).filter(lambda case: bool(case[0].interactions))
several = hypothesis_settings(deadline=None, derandomize=True, max_examples=40)


# --- Against the oracle


@several
@given(BAD, st.sampled_from((1, 3)))
def test_exposures_counts_increments_and_ranker_rows_are_the_oracles(case: Case, partitions: int) -> None:
    raw, chosen = case
    expected = oracles_exposures(raw, chosen, oracles_cuts(raw, chosen))
    gathered = gather(raw, partitions=partitions)
    _, _, _, rejected = oracle.usable(raw.users, raw.videos, raw.interactions, kinds_of(raw.table))
    assert gathered.rejected == {**rejected, "channels": []}
    found = run(gathered, settings_of(chosen))
    of_oracle = [
        {name: getattr(e, name) for name in ("user_id", "video_id", "interaction_time")}
        | e.context
        | {"previously_watched_category": e.previously_watched_category}
        | {"split": split_times.SPLITS.index(e.split), "label": e.label, "weight": np.float32(e.weight)}
        | {"disliked": e.disliked, **oracles_history(raw, chosen, expected, e)}
        for e in expected
        if e.label is not None
    ]
    own = found.exposures.drop_columns(outcomes.USER_COLUMNS)  # which test_positive_rates compares
    assert sorted(plain(own), key=key) == sorted(of_oracle, key=key)
    kinds: Counter[str] = Counter()
    for e in expected:
        kind = "disliked" if e.disliked else {1: "positive", 0: "exposed", None: "contradicted"}[e.label]
        kinds[f"exposures/{e.split}/{kind}"] += 1
    assert {n: count for n, count in found.counts.items() if count and n.startswith("exposures/")} == kinds
    assert_increments(case, gathered)
    assume(any(e.label == 1 and e.split == "train" for e in expected))
    catalogue = oracle_negatives.catalogue(expected)
    for split in split_times.SPLITS:
        rows = plain(found.ranker_table(split))
        ratio, alpha = chosen.negative_ratio, chosen.popularity_alpha
        oracle_negatives.check_ranker(rows, expected, ratio, catalogue, alpha, split=split)


def assert_increments(case: Case, gathered: Gathered) -> None:
    raw, chosen = case
    cuts, settings, kinds = oracles_cuts(raw, chosen), settings_of(chosen), kinds_of(raw.table)
    found = pa.concat_tables(
        counters.increments(part.events, examples.splits_of(part.events, cuts, settings), settings)
        for part in gathered.partitions
    )
    _, _, events, _ = oracle.usable(raw.users, raw.videos, raw.interactions, kinds)
    columns = [given_ids(found["video_id"].to_pylist()), *(found[name].to_pylist() for name in ("time", "counter"))]
    triples = zip(*columns, strict=True)
    assert sorted(triples) == sorted(oracle_counters.increments(events, chosen.gap_minutes, kinds))


@several
@given(CASES, st.data())
def test_later_events_change_no_earlier_history(case: Case, data: st.DataObject) -> None:
    raw, chosen = case
    oracles_cuts(raw, chosen)
    chosen = dataclasses.replace(chosen, kind="time", train=None, val=None, val_from=2**50, test_from=None)
    moment = data.draw(st.sampled_from([event["interaction_time"] for event in raw.interactions]))
    more = data.draw(with_another_future(raw, moment, keep=True))
    before, after = (
        {key(row): row for row in run(gather(tables), settings_of(chosen)).exposures.to_pylist()}
        for tables in (raw, more)
    )
    for found, row in before.items():
        if found in after and row["interaction_time"] <= moment:
            for name in ("previously_watched_category", *HISTORY):
                assert after[found].get(name) == row.get(name)


@several
@given(CASES_OF_INTEGERS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_chunks_in_any_order_make_the_events_and_labels_of_the_whole(case: Case, size: int, chance: Any) -> None:
    oracles_cuts(*case)
    raw, chosen = case
    settings = settings_of(chosen)
    gathered = gather(raw)
    (part,) = gathered.partitions
    owner = np.array([chance.randrange(3) for _ in range(len(part.events))], np.int64)
    tables = [arrow_ipc.dumps(part.events.filter(pa.array(owner == file))) for file in range(3)]
    chunks = event_chunks.Gathered(tables, part.users, gathered.lookup, settings, size).chunks()
    assert pa.concat_tables(chunks).equals(part.events.combine_chunks())
    whole = run(gathered, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "CHUNK", size)
        assert run(gathered, settings).exposures.equals(whole.exposures)
    rows = [tuple(sorted(row.items(), key=repr)) for row in part.events.to_pylist()]
    assert odd_data.repeated(part.events) == len(rows) - len({repr(row) for row in rows})


# --- Negative signals


def events_of(*rows: tuple[int, float, str], user: int = 1) -> list[Row]:
    """Interactions: video, minute and type."""
    return [
        {"user_id": user, "video_id": v, "interaction_time": int(t * MINUTE), "interaction_type": kind}
        for v, t, kind in rows
    ]


def exposures_of(rows: list[Row], **labels: object) -> list[Row]:
    videos = [{"video_id": v, "category": str(v)} for v in sorted({row["video_id"] for row in rows})]
    raw = RawTables([{"user_id": 1}, {"user_id": 2}], videos, rows, [{"channel_id": 1}], True, own_signals.TABLE)
    given = {"features": own_signals.NAME, "labels": {"positive": {"like": 1.0, "follow": 0.5}, **labels}}
    settings = parse({**given, "split": {"val_from": "2020-01-01"}, "history": {"length": 2}}, "the test")
    return plain(run(gather(raw), settings).exposures)


def histories_of(rows: list[Row], **labels: object) -> dict[float, list[int] | None]:
    """By minute what stands in the history of the exposures of video 99, which are there to ask."""
    found = exposures_of(rows, **labels)
    return {r["interaction_time"] / MINUTE: r["history_video_ids"] for r in found if r["video_id"] == 99}


def asked(*minutes: float) -> list[Row]:
    return events_of(*((99, minute, "impression") for minute in minutes))


LIKED_THEN_NOT = events_of((1, 0, "impression"), (1, 10, "like"), (1, 20, "not_interested"))
NOT_THEN_LIKED = events_of((1, 0, "not_interested"), (1, 10, "like"))


@pytest.mark.parametrize(
    ("rows", "conflict", "expected"),
    [
        (LIKED_THEN_NOT, "negative", (0, 1.0, True)),
        (NOT_THEN_LIKED, "negative", (0, 1.0, True)),
        (LIKED_THEN_NOT, "positive", (1, 1.0, False)),
        (NOT_THEN_LIKED, "positive", (1, 1.0, False)),
        (events_of((1, 0, "report")), "positive", (0, 1.0, True)),
        (events_of((1, 0, "hover"), (1, 1, "follow")), "negative", (1, 0.5, False)),
        (events_of((1, 0, "hover")), "negative", (0, 1.0, False)),
    ],
)
def test_a_negative_signal_makes_an_exposure_negative_unless_the_positive_wins(
    rows: list[Row], conflict: str, expected: tuple[int, float, bool]
) -> None:
    (found,) = exposures_of(rows, conflict=conflict)
    assert (found["label"], found["weight"], found["disliked"]) == expected


def test_a_disliked_exposure_stays_where_an_exposed_one_is_contradicted() -> None:
    later = events_of((1, 100, "impression"), (1, 200, "not_interested"))
    found = exposures_of(events_of((1, 0, "like")) + later)
    assert [(row["interaction_time"] // MINUTE, row["disliked"]) for row in found] == [(0, False), (200, True)]


def test_a_history_holds_a_video_until_it_is_known_that_it_is_not_wanted() -> None:
    for wins, expected in (("negative", {10.1, 15, 20}), ("positive", {10.1, 15, 20, 20.1, 60})):
        for minute in (10, 10.1, 15, 20, 20.1, 60):
            found = histories_of(LIKED_THEN_NOT + asked(minute), conflict=wins)
            assert found == {minute: [1] if minute in expected else None}


def test_a_video_that_was_not_wanted_first_enters_a_history_only_where_the_positive_wins() -> None:
    for minute in (0.1, 10.1, 60):
        rows = NOT_THEN_LIKED + asked(minute)
        assert histories_of(rows) == {minute: None}
        assert histories_of(rows, conflict="positive") == {minute: [1] if minute > 10 else None}


def test_signals_of_one_instant_are_never_in_a_history() -> None:
    assert histories_of(events_of((1, 0, "like"), (1, 0, "not_interested")) + asked(0.1)) == {0.1: None}


def test_what_a_disliked_video_had_pushed_out_of_a_history_comes_back() -> None:
    """Histories are 2 long; videos 3 and 4 stand before 1 and 2 for a while."""
    liked = events_of((1, 0, "like"), (2, 1, "like"), (3, 2, "like"), (4, 3, "like"))
    gone = events_of((3, 10, "report"), (4, 12, "not_interested"))
    for minute, expected in {5: [4, 3], 10: [4, 3], 11: [4, 2], 12: [4, 2], 13: [2, 1]}.items():
        assert histories_of(liked + gone + asked(minute)) == {minute: expected}


def test_an_earlier_positive_of_the_same_video_stays_where_it_was() -> None:
    rows = events_of((1, 0, "like"), (2, 1, "like"), (1, 100, "like"), (1, 110, "report"))
    for minute, expected in {50: [2, 1], 105: [1, 2], 120: [2, 1]}.items():
        assert histories_of(rows + asked(minute)) == {minute: expected}


# --- What is refused, and how rejected rows look


def test_a_negative_signal_is_no_rule_and_neither_is_an_unknown_one() -> None:
    positive = {"follow": 0.5, "report": 1.0, "safe": 1.0}
    with pytest.raises(InputError) as error:
        parse({"features": own_signals.NAME, "labels": {"positive": positive}}, "my.yaml")
    assert "labels.positive has the rule 'report', which is a negative signal, so that nothing" in str(error.value)
    assert "labels.positive has the unknown rule 'safe'. Did you mean 'save'?" in str(error.value)
    with pytest.raises(InputError, match=r"labels\.conflict is 'last'; expected 'negative' or 'positive'"):
        parse({"labels": {"conflict": "last"}}, "my.yaml")
    with pytest.raises(InputError, match=r"labels\.positive has the unknown rule 'follow'"):
        parse({"labels": {"positive": {"follow": 1.0}}}, "my.yaml")


def test_the_rule_of_a_context_column_is_one_of_two() -> None:
    wrong = dataclasses.replace(own_signals.CONTEXT[0], at_exposure="first")
    with pytest.raises(InputError, match="the column 'surface' has at_exposure 'first', not first_present or first_ev"):
        own_signals.DEFAULT.extend(columns=[wrong])


def test_columns_that_no_feature_reads_do_not_travel() -> None:
    of_own = parse({"features": own_signals.NAME}, "the test")
    context = [column.name for column in own_signals.CONTEXT]
    assert exposures.event_columns(of_own)[5:] == ["device", *context]
    assert exposures.event_columns(Settings())[5:] == ["device"]


@several
@given(CASES)
def test_the_history_at_the_end_is_the_oracles(case: Case) -> None:
    """What an export's store holds of each user."""
    raw, chosen = case
    chosen = dataclasses.replace(chosen, history_length=2)
    cuts, settings = oracles_cuts(raw, chosen), settings_of(chosen)
    expected = oracles_exposures(raw, chosen, cuts)
    gathered = gather(raw)
    (part,) = gathered.partitions
    end = max(event["interaction_time"] for event in raw.interactions) + 1
    users = np.unique(part.events["user_id"].to_numpy())
    positives = examples.positives_of(
        examples.weighted_exposures(part.events, gathered.lookup, cuts, settings)[0], None
    )
    told = part.users.drop_columns([name for name in HISTORY])
    for name, kind in zip(HISTORY, (pa.int64(), pa.binary()), strict=True):
        told = told.append_column(name, pa.nulls(len(told), pa.list_(kind)))
    found = history.histories(positives, told, gathered.lookup, users, np.full(len(users), end), 2)
    histories = [oracle.history(expected, user, end, 2) or None for user in given_ids(users.tolist())]
    assert [told and given_ids(told) for told in found["history_video_ids"].to_pylist()] == histories


def test_rejected_events_have_the_signals_that_they_had() -> None:
    rows = [
        {"user_id": 1, "video_id": 7, "interaction_time": 5, "interaction_type": "hover", "reported": True},
        {"user_id": 1, "video_id": 8, "interaction_time": 5, "interaction_type": "report", "saved": True},
    ]
    raw = RawTables([{"user_id": 1}], [{"video_id": 1}], rows, [{"channel_id": 1}], True, own_signals.TABLE)
    with tempfile.TemporaryDirectory() as folder:
        random_tables.write_tables(raw, pathlib.Path(folder))
        table = raw_tables.find(folder, {}, raw.table)["interactions"]
        of_own = parse({"features": own_signals.NAME}, "the test")
        usable, _ = raw_tables.read(table, table.sources[0], needed_columns(table, of_own))
    events = event_signals.events_of(usable, True, raw.table.bits)
    rejected = rejects.rejected_rows(events.append_column("reason", pa.array(["x", "x"])), table)
    told = rejected.select(["interaction_type", "saved", "reported"]).to_pylist()
    assert told == [
        {"interaction_type": "hover", "saved": False, "reported": True},
        {"interaction_type": "save", "saved": True, "reported": True},
    ]
