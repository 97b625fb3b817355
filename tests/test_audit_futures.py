"""What the audit compares: whole users, cuts where something is in the making, other futures, and rows bit by bit."""

import dataclasses
import functools
import pathlib
import uuid

import numpy as np
import odd_ids
import polars as pl
import pyarrow as pa
import pytest
from compared_outputs import divided_tables
from conftest import Ran

from recsys_tft.auditing import audit_cuts, audit_sample, futures
from recsys_tft.auditing.futures import FUTURES, Cut
from recsys_tft.auditing.row_differences import KEY, compare, differ
from recsys_tft.columns import KEYS, IdKind
from recsys_tft.configuration import settings
from recsys_tft.configuration.job_settings import LabelSettings
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.labelling import exposures
from recsys_tft.tables import raw_tables
from recsys_tft.tables.raw_tables import RawTable

# --- The sample


def tables_in(folder: pathlib.Path) -> dict[str, list[RawTable]]:
    return {name: [table] for name, table in raw_tables.find(str(folder), {}).items()}


def test_users_are_drawn_whole_whatever_the_order_of_the_rows(synthetic_run: Ran, tmp_path: pathlib.Path) -> None:
    divided = divided_tables(synthetic_run.raw, tmp_path / "raw")
    sample, other = (audit_sample.draw(tables_in(folder), 40, seed=3) for folder in (synthetic_run.raw, divided))
    for name, rows in sample.items():
        assert rows.sort(rows.columns).equals(other[name].sort(rows.columns))
    events = pl.read_parquet(synthetic_run.raw / "interactions.parquet")
    assert len(sample["users"]) == 40
    assert len(sample["interactions"]) == events.filter(pl.col("user_id").is_in(sample["users"]["user_id"])).height
    assert set(sample["videos"]["video_id"]) == set(sample["interactions"]["video_id"])
    assert set(sample["channels"]["channel_id"]) == set(sample["videos"]["channel_id"].drop_nulls())
    audit_sample.write(sample, str(tmp_path))
    again = audit_sample.draw(tables_in(tmp_path), 1000, seed=0)
    for name, rows in sample.items():
        assert rows.sort(rows.columns).equals(again[name].sort(rows.columns))


# --- Cuts and futures


def labels_of(**positive: float) -> LabelSettings:
    """With a gap of 30 microseconds, which is shorter than settings may be."""
    return LabelSettings.model_construct(positive=positive, exposure_gap_minutes=30 / 60e6)


CUT = Cut(time=1000, delay=50, labels=labels_of(like=1.0, share=1.0, click=0.5), table=DEFAULT, ends_training=False)


KINDS = (IdKind.INTEGER, IdKind.STRING, IdKind.UUID, IdKind.UINT64)


def with_ids(rows: dict[str, object], kind: IdKind) -> pl.DataFrame:
    """Rows whose ids of users, videos and channels are of a kind, as the audit has them."""
    if kind is not IdKind.INTEGER:
        for name, key in odd_ids.KEYS.items():
            if name in rows:
                rows = rows | {name: [_other(value, kind, key) for value in rows[name]]}
    return pl.DataFrame(rows)


def _other(value: object, kind: IdKind, key: str) -> object:
    if value is None or isinstance(value, list):
        return value and [_other(one, kind, key) for one in value]
    return odd_ids.text(int(value), kind, key).encode()


def small_tables(users: int = 40, kind: IdKind = IdKind.INTEGER) -> audit_sample.Tables:
    """Interactions around CUT, and users with versions."""
    random = np.random.default_rng(1)
    n = users * 12
    events = {
        "user_id": np.repeat(np.arange(users), 12),
        "video_id": random.integers(0, 15, n),
        "interaction_time": random.integers(900, 1100, n),
        "interaction_type": random.choice([b"impression", b"like", b"watch"], n),
        "watch_time": random.choice([0.5, 7.0], n).astype(np.float32),
        "device": random.choice([b"tv", b"phone"], n),
    }
    versions = {
        "user_id": np.repeat(np.arange(users), 4),
        "updated_at": [time for user in range(users) for time in (None, 980 + user, 990 + user, 1040)],
        "age": np.arange(users * 4),
        "country": [b"DE", b"FR", None, b"PL"] * users,
        "history_video_ids": [[1, 2], [], None, [3]] * users,
    }
    empty = {"videos": with_ids({"video_id": [1]}, kind), "channels": with_ids({"channel_id": [1]}, kind)}
    return {"users": with_ids(versions, kind), **empty, "interactions": with_ids(events, kind)}


def sorted_rows(rows: pl.DataFrame) -> list[tuple]:
    return sorted(map(repr, rows.sort(rows.columns[:2], maintain_order=True).rows()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["crowded", *FUTURES])
def test_no_future_touches_the_past(name: str, kind: IdKind) -> None:
    tables = small_tables(kind=kind)
    other = getattr(futures, name)(tables, CUT, 0)
    for table, time in (("interactions", "interaction_time"), ("users", "updated_at")):
        past = pl.col(time).fill_null(0) < CUT.time
        assert sorted_rows(other[table].filter(past)) == sorted_rows(tables[table].filter(past))
        assert other[table].schema == tables[table].schema
        assert sorted_rows(other[table]) != sorted_rows(tables[table])
    assert other["videos"] is tables["videos"]


@pytest.mark.parametrize("kind", KINDS)
def test_futures_do_what_they_are_called(kind: IdKind) -> None:
    tables = futures.crowded(small_tables(kind=kind), CUT, 0)
    later = pl.col("interaction_time") >= CUT.time
    events, users = tables["interactions"].filter(later), tables["users"].filter(pl.col("updated_at") >= CUT.time)
    at_cut = events.filter(pl.col("interaction_time") == CUT.time)
    assert set(at_cut["user_id"]) == set(events["user_id"])
    assert set(at_cut["interaction_type"]) == {b"like"}
    assert at_cut.group_by("user_id").agg(pl.col("video_id").n_unique())["video_id"].mean() > 1.9
    assert (users.group_by("user_id").agg(pl.col("updated_at").min())["updated_at"] == CUT.time).all()
    removed = futures.removed(tables, CUT, 0)
    assert not removed["interactions"].filter(later).height
    assert not removed["users"].filter(pl.col("updated_at") >= CUT.time).height
    shuffled = futures.shuffled(tables, CUT, 0)["interactions"].filter(later)
    assert shuffled["interaction_time"].sort().equals(events["interaction_time"].sort())
    assert sorted_rows(shuffled.drop("interaction_time")) == sorted_rows(events.drop("interaction_time"))
    delayed = futures.delayed(tables, CUT, 0)
    for table, time in (("interactions", "interaction_time"), ("users", "updated_at")):
        rows, there = delayed[table], tables[table]
        assert rows.drop(time).equals(there.drop(time))
        gaps = rows.filter(there[time].fill_null(0) >= CUT.time)[time] - there.filter(pl.col(time) >= CUT.time)[time]
        assert gaps.min() > 0
        assert gaps.n_unique() > 10
    altered = futures.altered(tables, CUT, 0)
    both = events.sort("user_id", "interaction_time", maintain_order=True)
    changed = altered["interactions"].filter(later).sort("user_id", "interaction_time", maintain_order=True)
    assert changed.select("user_id", "interaction_time").equals(both.select("user_id", "interaction_time"))
    values = ("video_id", "interaction_type", "watch_time", "device")
    different = np.stack([(changed[name] != both[name]).to_numpy() for name in values])
    assert 0.5 < different.all(axis=0).mean() < 1  # but for watchers
    assert not different.any(axis=0)[~different.all(axis=0)].any()
    new = altered["users"].filter(pl.col("updated_at") >= CUT.time)
    assert (new["age"] == users["age"] * 2 + 1).all()
    assert set(new["country"]) <= {None, b"FR altered", b"PL altered", b"DE altered"}


@pytest.mark.parametrize("kind", KINDS)
def test_altered_ids_are_others_of_their_kind(kind: IdKind, tmp_path: pathlib.Path) -> None:
    numbers = range(1, 60)
    versions = {
        "video_id": [video for video in numbers for _ in range(2)],
        "updated_at": [time for _ in numbers for time in (5, 2000)],
        "channel_id": [channel for channel in numbers for _ in range(2)],
    }
    most = {IdKind.UINT64: str(2**64 - 1), IdKind.STRING: "é0", IdKind.UUID: str(uuid.UUID(int=2**128 - 1))}
    videos = with_ids(versions, kind)
    if kind is not IdKind.INTEGER:  # the largest, which may not grow
        is_last = pl.int_range(pl.len()) >= len(videos) - 2
        last = pl.when(is_last).then(pl.lit(most[kind].encode())).otherwise("channel_id")
        videos = videos.with_columns(channel_id=last)
    tables = {**small_tables(kind=kind), "videos": videos}
    found = futures.altered(tables, CUT, 0)["videos"]
    later = (pl.col("updated_at") >= CUT.time) & (pl.col("video_id").is_duplicated())
    assert (found.filter(later)["channel_id"] != videos.filter(later)["channel_id"]).all()
    assert found.drop("channel_id").equals(videos.drop("channel_id"))
    table = DEFAULT.with_ids(dict.fromkeys(KEYS.values(), kind))
    audit_sample.write({**tables, "videos": found}, str(tmp_path), table)
    written = raw_tables.find(str(tmp_path), {}, table)
    usable, rejected = raw_tables.read(written["videos"], written["videos"].sources[0], ["video_id", "channel_id"])
    assert (len(usable), len(rejected)) == (2 * len(numbers), 0)


def test_versions_of_which_none_is_before_the_cut_stay_as_they_are() -> None:
    users = pl.DataFrame({"user_id": [1, 1, 2, 3, 3], "updated_at": [2000, 3000, 4000, 5, 6000], "age": range(5)})
    tables = {**small_tables(3), "users": users}
    assert futures.removed(tables, CUT, 0)["users"].rows() == users.rows()[:4]
    for name in ("crowded", *FUTURES):
        assert getattr(futures, name)(tables, CUT, 0)["users"].rows()[:4] == users.rows()[:4]


def test_wide_interactions_are_altered_too() -> None:
    tables = small_tables()
    flags = {
        "clicked": pl.lit(False),
        "liked": pl.col("interaction_type") == b"like",
        "shared": pl.lit(None, pl.Boolean),
    }
    wide = tables["interactions"].with_columns(**flags).drop("interaction_type", "device")
    found = futures.altered({**tables, "interactions": wide}, CUT, 0)["interactions"]
    assert found.columns == wide.columns
    assert found.filter(pl.col("interaction_time") >= CUT.time)["clicked"].any()
    only_watched = dataclasses.replace(CUT, labels=labels_of(watch=1.0))
    crowd = futures.crowded({**tables, "interactions": wide}, only_watched, 0)["interactions"]
    assert (crowd.filter(pl.col("interaction_time") == CUT.time)["watch_time"] > 1000).all()


def events_of(*rows: tuple[int, int, int, str]) -> pa.Table:
    """Sorted events: user, video, time and signal."""
    users, videos, times, kinds = zip(*rows, strict=True)
    columns = {"user_id": users, "video_id": videos, "interaction_time": times}
    columns |= {"signals": [DEFAULT.bits.mask(kind) for kind in kinds], "watch_time": 1.0}
    columns = {n: [v] * len(rows) if not isinstance(v, list | tuple) else v for n, v in columns.items()}
    columns["device"] = pa.nulls(len(rows), pa.binary())
    return exposures.sort_events(pa.table(columns), Settings())


def test_cuts_fall_where_a_label_is_in_the_making() -> None:
    chosen = settings.parse({"labels": {"positive": {"like": 1.0, "click": 0.5}}}, "the test")
    others = [(2, 1, time, "impression") for time in range(0, 1000, 10)]
    turning = [(1, 1, 301, "impression"), (1, 1, 303, "like"), (3, 1, 800, "impression"), (3, 1, 805, "click")]
    growing = [(1, 2, 200, "click"), (1, 2, 220, "like")]
    find = functools.partial(audit_cuts.choose, splits=(600, 900), settings=chosen)
    assert find(events_of(*others, *growing, *turning)) == [(303, False), (805, False), (805, True)]
    assert find(events_of(*others, *growing)) == [(220, False), (220, True)]
    assert find(events_of(*others)) == [(300, False), (600, True), (800, False)]
    assert audit_cuts.choose(events_of(*others), None, chosen)[1] == (790, True)
    with pytest.raises(InputError, match="All interactions of the sample are at the same instant"):
        find(events_of((1, 1, 5, "like"), (2, 1, 5, "like")))


def test_exposures_are_settled_when_no_later_event_can_belong_to_them() -> None:
    rows = [(1, 5, 900), (1, 5, 960), (1, 6, 960), (1, 6, 971), (2, 5, 970), (2, 6, 999), (3, 1, 1000)]
    events = pa.table(
        {name: pa.array(values, pa.int64()) for name, values in zip(KEY, zip(*rows, strict=True), strict=True)}
    )
    settled = audit_cuts.settled_exposures(events, CUT, (5000, None))
    assert settled.rows() == [(1, 5, 900), (1, 5, 960), (2, 5, 970)]
    assert len(audit_cuts.settled_exposures(events, CUT, (1000, None))) == 5  # the split ends there
    assert audit_cuts.settled_exposures(events, CUT, (971, 5000)).rows() == [
        (1, 5, 900), (1, 5, 960), (1, 6, 960), (2, 5, 970),
    ]  # fmt: skip


# --- Differences


def test_values_differ_bit_by_bit() -> None:
    floats = (
        pa.chunked_array([[0.0, float("nan"), 1.0, None, None]]),
        pa.chunked_array([[-0.0, float("nan"), 1.0, None, 1]]),
    )
    assert differ(*floats).tolist() == [True, False, False, False, True]
    lists = [[[1, 2], [], None, None, [3], [4, 5], [6]], [[1, 2], [], None, [], [3, 3], [4, 6], [6]]]
    one, other = (pa.chunked_array([values], pa.list_(pa.int64())) for values in lists)
    assert differ(one, other).tolist() == [False, False, False, True, True, True, False]
    vectors = [pa.FixedSizeListArray.from_arrays(pa.array(v, pa.float32()), 2) for v in ([1, 2, 3, 4], [1, 2, 3, 5])]
    assert differ(*(pa.chunked_array([v]) for v in vectors)).tolist() == [False, True]
    assert differ(one.slice(4, 2), other.slice(5, 2)).tolist() == [True, True]


def test_rows_are_matched_by_their_keys_and_missing_ones_are_named() -> None:
    one = pa.table({"user_id": [1, 2, 2, 3], "label": [0, 1, 0, 1]})
    other = pa.table({"user_id": [2, 2, 1, 4], "label": [1, 1, 0, 1]})
    found = compare("ranker/train", one, other, ["user_id"], ["label"], all_there=True)
    assert len(found) == 3
    assert found.unequal == {"label": 1, "row": 2}
    assert [(d.feature, d.key, d.values) for d in found.differences] == [
        ("label", {"user_id": 2}, (0, 1)),
        ("row", {"user_id": 3}, ("there", "not there")),
        ("row", {"user_id": 4}, ("not there", "there")),
    ]
    assert compare("ranker/train", one, other, ["user_id"], ["label"], all_there=False).unequal == {"label": 1}
    missing = pa.table({"country": pa.array([None, b"DE", None])})
    assert len(compare("fit/users_country", missing, missing, ["country"], [], all_there=True)) == 3
    tags = [pa.table({"tags": pa.array(values, pa.list_(pa.binary()))}) for values in ([[b"a", b"b"]], [[b"ab"]])]
    assert compare("fit/videos_tags", *tags, ["tags"], [], all_there=True).unequal == {"row": 2}
