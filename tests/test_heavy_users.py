"""Partitions in which a user did very much: sorted in chunks, labelled at once, and divided into parts."""

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import labelled_cases as of
import numpy as np
import pyarrow as pa
import pytest
import random_tables
from changed_futures import with_another_future
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from oracle import Row

from recsys_tft.columns import HISTORY
from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import event_chunks, examples, heavy_users, ranker_examples
from recsys_tft.labelling.exposures import chunk_bounds, event_columns
from recsys_tft.point_in_time import history
from recsys_tft.storage import arrow_ipc
from recsys_tft.tables.entities import VideoLookup

SIZES = st.integers(1, 3)
few = hypothesis_settings(deadline=None, derandomize=True, max_examples=25)


def divided(case: of.Case, size: int) -> tuple[of.Run, list[heavy_users.Part], Settings]:
    """A run whose exposures are in one partition, and the parts of these."""
    raw, chosen = case
    settings = of.settings_of(chosen)
    whole = of.run(of.gather(raw), settings)
    return whole, list(heavy_users.divide(whole.labelled[0], size, settings)), settings


def exposures_of(part: heavy_users.Part) -> pa.Table:
    names = [name for name in part.exposures.column_names if name != ranker_examples.DRAWS]
    return part.exposures.select(names)


def counted(rows: Iterable[Row]) -> Counter[str]:
    return Counter(map(repr, rows))


@few
@given(of.CASES, SIZES)
def test_the_parts_hold_the_exposures_of_the_whole_and_no_more_of_a_user_than_their_size(
    case: of.Case, size: int
) -> None:
    of.oracles_cuts(*case)
    whole, parts, _ = divided(case, size)
    assert parts[0].number == 0
    assert [part.number for part in parts] == sorted({part.number for part in parts})
    rows = [of.plain(exposures_of(part)) for part in parts]
    assert counted(itertools.chain.from_iterable(rows)) == counted(of.plain(whole.exposures))
    for part, own in zip(parts, rows, strict=True):
        assert own == sorted(own, key=lambda row: (row["user_id"], row["interaction_time"], row["video_id"]))
        assert all(n <= size for n in Counter(row["user_id"] for row in own).values())
        assert own or not part.number
    # A user's exposures in a part are all before those in the next one.
    last: dict[int, tuple[int, int]] = {}
    for own in rows:
        for row in own:
            moment = row["interaction_time"], row["video_id"]
            assert last.get(row["user_id"], moment) <= moment
            last[row["user_id"]] = moment


@few
@given(of.CASES, SIZES)
def test_the_parts_make_the_rankers_rows_of_the_whole(case: of.Case, size: int) -> None:
    of.oracles_cuts(*case)
    whole, parts, settings = divided(case, size)
    assume(len(whole.catalogue))
    made = [ranker_examples.ranker_rows(part.exposures, whole.catalogue, settings, part.pairs) for part in parts]
    rows = [
        of.with_context(own, exposures_of(part), whole.catalogue).to_pylist()
        for part, (own, _) in zip(parts, made, strict=True)
    ]
    assert counted(itertools.chain.from_iterable(rows)) == counted(whole.ranker_table().to_pylist())
    assert sum(short for _, short in made) == whole.short


@few
@given(of.explicit_cases(), SIZES, st.data())
def test_no_later_event_moves_a_training_row_into_another_part(case: of.Case, size: int, data: st.DataObject) -> None:
    raw, chosen = case
    other = data.draw(with_another_future(raw, chosen.val_from, keep=False))
    assume(any(event["interaction_time"] < chosen.val_from for event in raw.interactions))

    def training(tables: random_tables.RawTables) -> dict[int, list[Row]]:
        whole, parts, settings = divided((tables, chosen), size)
        if not len(whole.catalogue):
            return {}
        found = {}
        for part in parts:
            rows, _ = ranker_examples.ranker_rows(part.exposures, whole.catalogue, settings, part.pairs)
            rows = of.with_context(rows, exposures_of(part), whole.catalogue)
            found[part.number] = of.in_split(rows, "train").to_pylist()
        return {number: rows for number, rows in found.items() if rows}

    assert training(raw) == training(other)


@few
@given(of.CASES_OF_INTEGERS, st.integers(1, 6), st.integers(1, 4), st.randoms(use_true_random=False))
def test_chunks_follow_one_another_in_the_order_of_the_whole(case: of.Case, size: int, files: int, chance: Any) -> None:
    gathered = of.gather(case[0])
    events = pa.concat_tables(
        [gathered.partitions[0].events, gathered.partitions[0].unknown.select(event_columns(Settings()))]
    )
    users = gathered.partitions[0].users
    owner = np.array([chance.randrange(files) for _ in range(len(events))], np.int64)
    tables = [arrow_ipc.dumps(events.filter(pa.array(owner == file))) for file in range(files)]
    found = event_chunks.Gathered(tables, users, gathered.lookup, Settings(), size)
    chunks = list(found.chunks())
    assert pa.concat_tables(chunks).equals(gathered.partitions[0].events.combine_chunks())
    pairs = [{(row["user_id"], row["video_id"]) for row in chunk.to_pylist()} for chunk in chunks]
    assert sum(map(len, pairs)) == len(set().union(*pairs))
    assert len(found.unknown) == len(gathered.partitions[0].unknown)
    assert all(len(chunk) < size + max(Counter(pairs_of(events)).values()) for chunk in chunks if len(chunk))


def pairs_of(events: pa.Table) -> list[tuple[int, int]]:
    return list(zip(*(events[name].to_pylist() for name in ("user_id", "video_id")), strict=True))


@few
@given(of.CASES, st.integers(1, 6))
def test_labels_made_in_chunks_are_those_of_the_whole(case: of.Case, size: int) -> None:
    of.oracles_cuts(*case)
    raw, chosen = case
    gathered, settings = of.gather(raw), of.settings_of(chosen)
    whole = of.run(gathered, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "CHUNK", size)
        chunks = of.run(gathered, settings)
    assert chunks.exposures.equals(whole.exposures)
    assert chunks.counts == whole.counts


def test_chunks_begin_where_another_pair_does() -> None:
    events = pa.table({"user_id": [1] * 6 + [2], "video_id": [1, 2, 2, 2, 2, 3, 3]})
    assert chunk_bounds(events, 2) == [0, 1, 6, 7]
    assert chunk_bounds(events, 10) == [0, 7]
    assert chunk_bounds(events.slice(0, 0), 10) == [0, 0]


def test_a_walk_goes_on_where_it_was() -> None:
    """The last different videos after each positive, asked for at once and in three parts; by a plain loop."""
    chance = np.random.default_rng(0)
    user = np.sort(chance.integers(0, 5, 200))
    video = chance.integers(0, 9, 200)
    lookup = VideoLookup(pa.table({"video_id": np.arange(9), "video_duration": pa.nulls(9, pa.float32()),
                                   "category": pa.array([b"c"] * 9)}))  # fmt: skip
    users = pa.table({"user_id": np.arange(5), **{name: pa.nulls(5, pa.list_(kind)) for name, kind in
                      zip(HISTORY, (pa.int64(), pa.binary()), strict=True)}})  # fmt: skip
    time = np.arange(200)
    found = history.Histories(history.Positives(user, video, time), users, lookup, user, time + 1, 3)
    rank = np.concatenate([np.arange(n) for n in np.bincount(user)])
    parts = [np.flatnonzero(rank // 20 == number) for number in range(3)]
    ids = np.full(200, None)
    for rows, columns in zip(parts, found.of_parts(parts), strict=True):
        ids[rows] = columns["history_video_ids"].to_pylist()
    for row in np.concatenate(parts):
        past = video[(user == user[row]) & (time <= row)][::-1].tolist()
        assert ids[row] == list(dict.fromkeys(past))[:3]
