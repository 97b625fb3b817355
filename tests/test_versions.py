"""Tables with versions, against plain Python: pure functions on random tables."""

from collections import Counter, defaultdict

import numpy as np
import oracle
import oracle_negatives
import pyarrow as pa
import random_tables
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from labelled_cases import Case, gather, oracles_cuts, oracles_exposures, plain, settings_of
from labelled_cases import run as label
from oracle import Row

from recsys_tft import time_lookups
from recsys_tft.columns import UPDATED, IdKind
from recsys_tft.default_table import DEFAULT
from recsys_tft.examples import fitting_rows
from recsys_tft.features import Entity
from recsys_tft.tables import versions
from recsys_tft.tables.entities import add_channels, drop_duplicates
from recsys_tft.tables.raw_tables import ROW
from recsys_tft.time_lookups import rows_at

quick = settings(deadline=None, derandomize=True, max_examples=60)
CASES = random_tables.cases(least=1, versions=True)
CASES_OF_INTEGERS = random_tables.cases(least=1, versions=True, kinds=(IdKind.INTEGER,))
MOMENTS = st.sampled_from((0, 1, 5, 6, 7, 10**15))
CHANGES = st.lists(st.tuples(st.sampled_from((-3, 2, 9)), MOMENTS), min_size=1, unique=True)


# --- Random tables


def table_of(changes: list[tuple[int, int]], key: str, values: str) -> pa.Table:
    """A row for each (key, moment), with its own number as a value."""
    ids, moments = np.array(changes, np.int64).T
    numbers = np.arange(len(ids))
    return pa.table({key: ids, UPDATED: moments, values: numbers, ROW: numbers})


@quick
@given(CHANGES, st.lists(st.tuples(st.sampled_from((-3, 2, 9, 10)), MOMENTS | st.just(4)), max_size=20))
def test_a_lookup_finds_the_last_version_strictly_before_or_the_first(
    changes: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    table, _ = drop_duplicates(table_of(changes, "id", "value"), "id")
    rows = table.to_pylist()
    keys, times = np.array(asked, np.int64).reshape(-1, 2).T
    found = rows_at(table, "id", keys, times)
    expected = [oracle.row_at(rows, "id", *pair) for pair in asked]
    assert [None if row < 0 else rows[row] for row in found.tolist()] == expected


@quick
@given(CHANGES, CHANGES | st.just([]), st.data())
def test_a_video_changes_when_its_channel_does(
    of_videos: list[tuple[int, int]], of_channels: list[tuple[int, int]], data: st.DataObject
) -> None:
    videos, _ = drop_duplicates(table_of(of_videos, "video_id", "value"), "video_id")
    channel = data.draw(st.lists(st.sampled_from((-3, 2, 9, 77, None)), min_size=len(videos), max_size=len(videos)))
    videos = videos.append_column("channel_id", pa.array(channel, pa.int64()))
    is_versioned = data.draw(st.booleans())
    if not is_versioned:
        videos = videos.filter(pa.array(videos[time_lookups.SINCE].to_numpy() == versions.ALWAYS))
        videos = videos.drop_columns([UPDATED, time_lookups.SINCE])
    channels = table_of(of_channels, "channel_id", "channel_subscriber_count") if of_channels else empty_channels()
    channels, _ = drop_duplicates(channels, "channel_id")
    merged = add_channels(videos, channels)
    for video, time in [(video, time) for video in (-3, 2, 9) for time in (0, 1, 2, 5, 6, 7, 8, 10**15, 10**15 + 1)]:
        (row,) = rows_at(merged, "video_id", np.array([video]), np.array([time])).tolist()
        known = oracle.row_at(videos.to_pylist(), "video_id", video, time)
        if known is None:
            assert row == -1
            continue
        own = oracle.row_at(channels.to_pylist(), "channel_id", known["channel_id"], time)
        found = merged.slice(row, 1).to_pylist()[0]
        assert (found["value"], found["channel_id"]) == (known["value"], known["channel_id"])
        assert found["channel_subscriber_count"] == (own and own["channel_subscriber_count"])
    assert_sorted(merged)


def empty_channels() -> pa.Table:
    return table_of([(0, 0)], "channel_id", "channel_subscriber_count").slice(0, 0)


def assert_sorted(table: pa.Table) -> None:
    keys = list(zip(*(table[name].to_pylist() for name in ("video_id", time_lookups.SINCE)), strict=True))
    assert keys == sorted(set(keys))


@quick
@given(CHANGES, CHANGES)
def test_a_change_of_a_video_and_one_of_its_counters_are_seen_together(
    of_videos: list[tuple[int, int]], of_counts: list[tuple[int, int]]
) -> None:
    videos, _ = drop_duplicates(table_of([*of_videos, (-3, 77), (2, 77), (9, 77)], "video_id", "value"), "video_id")
    counts, _ = drop_duplicates(table_of([*of_counts, (-3, 77), (2, 77), (9, 77)], "video_id", "count"), "video_id")
    ids = videos["video_id"].to_numpy()
    own, other, since = versions.together(videos, "video_id", counts, "video_id", ids, np.ones(len(ids), bool))
    both = versions.dated(
        videos.take(pa.array(own)).append_column("count", counts["count"].take(pa.array(other))), since
    )
    assert_sorted(both)
    for video, time in [(video, time) for video in (-3, 2, 9) for time in (0, 1, 2, 5, 6, 7, 8, 77, 78, 10**16)]:
        (row,) = rows_at(both, "video_id", np.array([video]), np.array([time])).tolist()
        for name, table in (("value", videos), ("count", counts)):
            assert both[name][row].as_py() == oracle.row_at(table.to_pylist(), "video_id", video, time)[name]


@quick
@given(CASES_OF_INTEGERS)
def test_what_is_fitted_are_the_rows_that_training_exposures_took_last_and_the_values_before(case: Case) -> None:
    raw, chosen = case
    expected = oracles_exposures(raw, chosen, oracles_cuts(raw, chosen))
    users, videos, _, _ = oracle.usable(raw.users, raw.videos, raw.interactions)
    training = [e for e in expected if e.split == "train" and e.label is not None]
    assume(training)
    gathered, found = gather(raw), label(gather(raw), settings_of(chosen))
    rows = found.exposures.filter(pa.array(found.exposures["split"].to_numpy() == 0))
    own, fitted = gathered.partitions[0].users, found.labelled[0].training_users
    of_users = list(fitting_rows.of_users(own, fitted, rows, DEFAULT))
    last = {e.user_id: max(o.interaction_time for o in training if o.user_id == e.user_id) for e in training}
    assert_fitted(of_users, users, "user_id", last, Entity.USER)
    until = max(last.values())
    table = pa.Table.from_pylist(videos).sort_by([(n, "ascending") for n in ("video_id", UPDATED) if n in videos[0]])
    of_videos = list(fitting_rows.of_videos(versions.of_rows(table, "video_id"), found.catalogue, until, DEFAULT))
    in_catalogue = dict.fromkeys(oracle_negatives.catalogue(expected), until)
    assert_fitted(of_videos, videos, "video_id", in_catalogue, Entity.VIDEO)


def assert_fitted(tables: list[pa.Table], rows: list[Row], key: str, moments: dict[int, int], entity: Entity) -> None:
    """The first table has the row of each key as of its moment; all together each value that a key had until then."""
    main = {row[key]: row for row in plain(tables[0])}
    assert len(main) == len(tables[0]) == len(moments)
    for value, moment in moments.items():
        known = oracle.row_at(rows, key, value, moment)
        assert {name: main[value].get(name) for name in known} == known
    names = {
        source for feature in DEFAULT.select(entity=entity) if feature.vocabulary for source in feature.sources
    } - {key}
    for name in names & set(tables[0].column_names):
        counted = Counter(repr(row[name]) for table in tables if name in table.column_names for row in plain(table))
        had: dict[int, set[str]] = defaultdict(set)
        for value, moment in moments.items():
            own = [r for r in oracle.versions_of(rows, key, value) if r.get(UPDATED, -1) < moment]
            for row in own or [oracle.row_at(rows, key, value, moment)]:
                had[value].add(repr(row.get(name)))
        assert counted == Counter(value for values in had.values() for value in values)


@quick
@given(CASES, st.data())
def test_versions_from_a_moment_on_change_no_exposure_until_then(case: Case, data: st.DataObject) -> None:
    raw, chosen = case
    cuts = oracles_cuts(raw, chosen)
    assume(cuts is not None)
    moment = data.draw(st.sampled_from([event["interaction_time"] for event in raw.interactions]))
    changed = {}
    for table, key, name in (("users", "user_id", "previously_watched_category"), ("videos", "video_id", "category")):
        rows = getattr(raw, table)
        first = {id(oracle.versions_of(rows, key, row[key])[0]) for row in rows}
        changed[table] = [
            row if row.get(UPDATED, 0) < moment or id(row) in first else row | {name: "of the future"}
            for row in rows
            if row.get(UPDATED, 0) < moment or id(row) in first or data.draw(st.booleans())
        ]
    of_run = settings_of(chosen)
    one, other = (
        label(gather(tables), of_run).exposures.to_pylist() for tables in (raw, type(raw)(**{**vars(raw), **changed}))
    )
    until = [[row for row in rows if row["interaction_time"] <= moment] for rows in (one, other)]
    names = ("user_id", "video_id", "interaction_time", "previously_watched_category", "history_categories")
    left_out = {(row["user_id"], row["video_id"]) for rows in (one, other) for row in rows if row["label"] == 1}
    assert [[row.get(n) for n in names] for row in until[0] if key_of(row) not in left_out] == [
        [row.get(n) for n in names] for row in until[1] if key_of(row) not in left_out
    ]


def key_of(row: Row) -> tuple[int, int]:
    return row["user_id"], row["video_id"]
