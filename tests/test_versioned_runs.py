"""Whole runs on tables with versions, row by row against plain Python, and byte by byte against themselves."""

import json
import math
import pathlib
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import oracle_counters
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from compared_outputs import FITTED, assert_same_bytes, divided_tables, files_below, manifest_of
from conftest import SMALL_CONFIG, Ran
from counter_cases import DAY, HOUR
from hashed_titles import HashedTitles
from joined_rows import cuts_of, engineered, flat, lines_of
from labelled_cases import plain
from oracle import Row

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.beam_pipelines import staging
from recsys_tft.cli import main
from recsys_tft.columns import KEYS, TABLES, UPDATED
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.default_table import DEFAULT
from recsys_tft.exporting import stored_entities
from recsys_tft.features import Entity
from recsys_tft.point_in_time import counters
from recsys_tft.raw_replay import raw_counters, raw_rows
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.tables import synthetic
from recsys_tft.verifying.verification import verify

pytestmark = pytest.mark.slow

# --- Whole runs

MORE = """counters: {source: as_of, delay: 1h}
output: {users_per_shard: 70, videos_per_shard: 700, inline_title_embedding: true}
"""
Run = Callable[..., Ran]
ROWS = ("processed_data", "rejected")
# What was fitted, for people: a graph that holds an encoder is never saved twice in the same bytes.
DESCRIBED = tuple(f"artifacts/{name}" for name in ("embeddings", "vocabularies", "normalizers", "buckets"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs on tables, with titles in each row and counters as of each exposure."""
    titles = str(tmp_path_factory.mktemp("titles"))
    tf.saved_model.save(HashedTitles(), titles)
    base = re.sub("output: .*\n", MORE, SMALL_CONFIG).replace("title_encoder: none", f"title_encoder: {titles}")

    def run_on(raw: pathlib.Path, more: str = "", **options: Any) -> Ran:
        root = tmp_path_factory.mktemp("versions")
        (root / "config.yaml").write_text(base + more)
        config = PipelineConfig(output_dir=str(root / "out"), config=str(root / "config.yaml"), **options)
        pipeline = ProcessingPipeline(config)
        return Ran(pipeline.run(str(raw)), pipeline, raw, root / "out", root / "config.yaml", [])

    return run_on


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Synthetic tables; the last version of every third user and video begins at an event of theirs."""
    folder = tmp_path_factory.mktemp("versioned")
    synthetic.write_tables(folder, users=200, videos=800, interactions=2500, versioned=True)
    events = pl.read_parquet(folder / "interactions.parquet").sort("interaction_time", "user_id", "video_id")
    for table, key in (("users", "user_id"), ("videos", "video_id")):
        rows = pl.read_parquet(folder / f"{table}.parquet")
        middle = events.group_by(key).agg(pl.col("interaction_time").get(pl.len() // 2).alias("event"))
        chosen = (
            (pl.col(key) % 3 == 0)
            & pl.col("event").is_not_null()
            & (pl.col(key).cum_count().over(key) == pl.len().over(key))
        )
        rows = rows.join(middle, on=key, how="left", maintain_order="left")
        rows = rows.with_columns(pl.when(chosen).then("event").otherwise(UPDATED).alias(UPDATED)).drop("event")
        pq.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()), folder / f"{table}.parquet")
    return folder


@pytest.fixture(scope="module")
def ran(run: Run, tables: pathlib.Path) -> Ran:
    return run(tables)


@pytest.fixture(scope="module")
def raw(tables: pathlib.Path) -> dict[str, list[Row]]:
    """The rows of the tables, times in microseconds."""
    found = {}
    for name in TABLES:
        table = pq.read_table(tables / f"{name}.parquet")
        times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
        for column in times:
            table = table.set_column(
                table.column_names.index(column), column, table[column].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            )
        found[name] = table.to_pylist()
    return found


def known_rows(
    raw: dict[str, list[Row]], keys: dict[str, np.ndarray], counts: Callable[[int, float], oracle_counters.Counts]
) -> pd.DataFrame:
    """The raw columns of the user and the video, with its channel and counters, as of each row."""
    by_key: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for table, key in KEYS.items():
        for row in raw[table]:
            by_key[table, row[key]].append(row)
    found = []
    for k, time in enumerate(keys["time"].tolist()):
        row: Row = {}
        if "user_id" in keys:
            user = keys["user_id"][k].item()
            row |= oracle.row_at(by_key["users", user], "user_id", user, time)
        if "video_id" in keys:
            video = keys["video_id"][k].item()
            row |= oracle.row_at(by_key["videos", video], "video_id", video, time)
            channel = row["channel_id"]
            row |= oracle.row_at(by_key["channels", channel], "channel_id", channel, time) or {
                "channel_subscriber_count": None
            }
            row |= dict(zip(counters.COUNTERS, counts(video, time), strict=True)) | {"popularity": None}
        found.append(row)
    return pd.DataFrame(found, dtype=object)


@pytest.mark.parametrize("name", ["ranker_train", "ranker_test", "two_tower_train", "two_tower_val", "users", "videos"])
def test_rows_have_what_was_known_at_their_exposure_and_folders_the_latest(
    ran: Ran, raw: dict[str, list[Row]], name: str
) -> None:
    rows = ran.result[name].pandas()
    rows = rows.iloc[:: max(len(rows) // 300, 1)].reset_index(drop=True)
    increments = oracle_counters.increments(raw["interactions"])
    val_from = cuts_of(ran.result.manifest)[0]

    def counts(video: int, time: float) -> oracle_counters.Counts:
        if time == math.inf:
            return oracle_counters.counts_before(increments, video, val_from)
        (shown,) = oracle_counters.shown_counts(own[video], [(video, int(time) - HOUR)], "0.1", DAY)
        return shown

    own: dict[int, list] = defaultdict(list)
    for increment in increments:
        own[increment[0]].append(increment)
    keys = {key: rows[key].to_numpy() for key in ("user_id", "video_id") if key in rows}
    keys["time"] = rows["interaction_time"].to_numpy() if "interaction_time" in rows else np.full(len(rows), math.inf)
    known = known_rows(raw, keys, counts)
    chosen = [f for f in DEFAULT.features if f.name in rows and f.entity is not Entity.EXPOSURE and f.option is None]
    assert chosen
    computed = engineered(ran.root, {source: known[source] for f in chosen for source in f.sources})
    for feature in chosen:
        sizes, values = flat(computed[feature.name])
        assert [np.size(value) for value in rows[feature.name]] == sizes.tolist(), feature.name
        on_disk = np.concatenate([np.ravel(value) for value in rows[feature.name]])
        np.testing.assert_allclose(on_disk, values.ravel(), rtol=1e-5, atol=1e-5, err_msg=feature.name)


def test_rows_differ_from_the_latest_and_some_are_earlier_than_any_version(ran: Ran, raw: dict[str, list[Row]]) -> None:
    rows, latest = ran.result["ranker_train"].pandas(), ran.result["videos"].pandas()
    joined = rows.merge(latest, on="video_id", suffixes=("", "_latest"))
    for name in ("category_token", "channel_subscriber_count_log_z"):
        assert 0.02 < (joined[name] != joined[f"{name}_latest"]).mean() < 0.98
    counts = ran.result.manifest["counts"]
    for table, key in KEYS.items():
        assert counts[f"versions/{table}/keys"] == len({row[key] for row in raw[table]})
        assert counts[f"rows/{table}/used"] == len(raw[table]) > counts[f"versions/{table}/keys"]
    assert counts["versions/users/early"] > 10
    assert counts["versions/videos/early"] > 10


def test_the_vocabulary_of_countries_has_each_country_once_for_each_user(ran: Ran, raw: dict[str, list[Row]]) -> None:
    val_from = cuts_of(ran.result.manifest)[0]
    last: dict[int, int] = {}
    for event in (event for event in raw["interactions"] if event["interaction_time"] < val_from):
        last[event["user_id"]] = max(last.get(event["user_id"], 0), event["interaction_time"])
    pairs = set()
    for user in last:
        own = oracle.versions_of(raw["users"], "user_id", user)
        pairs |= {(user, row["country"]) for row in own if row[UPDATED] < val_from} or {(user, own[0]["country"])}
    most = Counter(country for _, country in pairs if country)
    found = [line for line in lines_of(ran, "country") if not line.startswith("[")]
    assert set(found) <= set(most)
    assert len(found) > 5


@pytest.mark.usefixtures("loaded_once")
def test_verify_finds_all_rows_equal_and_other_moments_unequal(ran: Ran, tmp_path: pathlib.Path) -> None:
    online = verify(str(ran.root), str(ran.raw), rows=15, online=True)
    assert online.is_equal, "\n".join(map(str, online.differences))
    found = verify(str(ran.root), str(ran.raw), rows=None)
    assert found.is_equal, "\n".join(map(str, found.differences))
    assert set(found.lines) == {feature.name for feature in DEFAULT.switched_on(Settings())}
    for table in TABLES:
        rows = pl.read_parquet(ran.raw / f"{table}.parquet")
        later = rows.with_columns(pl.col(UPDATED) + pl.duration(days=9)) if table == "users" else rows
        pq.write_table(later.to_arrow(compat_level=pl.CompatLevel.oldest()), tmp_path / f"{table}.parquet")
    wrong = {difference.feature for difference in verify(str(ran.root), str(tmp_path), rows=500).differences}
    assert "country_token" in wrong
    assert all(DEFAULT.by_name[name].entity is not Entity.VIDEO for name in wrong)


def test_what_is_served_is_the_latest(ran: Ran, raw: dict[str, list[Row]], tmp_path: pathlib.Path) -> None:
    of_run = parse(ran.result.manifest["settings"], "the manifest")
    rows, cuts = raw_rows.read(str(ran.raw), of_run), raw_rows.cuts_of(ran.result.manifest)
    dated = raw_counters.dated_videos(rows, cuts, of_run)
    videos = stored_entities.current_videos(rows, dated)
    stored_entities.write(tmp_path / "store", rows, videos, dated.counts, cuts, of_run)
    store = EntityStore(tmp_path / "store")
    latest = {}
    for table, key in KEYS.items():
        latest[table] = {row[key]: row for row in sorted(raw[table], key=lambda row: row[UPDATED])}
    (found,) = plain(store.user(5))
    assert UPDATED not in found
    assert [found[name] for name in ("country", "age")] == [latest["users"][5][name] for name in ("country", "age")]
    ids = np.array(sorted(latest["videos"]))
    assert store.video_ids.tolist() == ids.tolist()
    for row in plain(store.videos(ids)):
        own = latest["videos"][row["video_id"]]
        channel = latest["channels"].get(own["channel_id"], {})
        assert [row[name] for name in ("title", "category", "tags")] == [
            own[name] for name in ("title", "category", "tags")
        ]
        assert row["channel_subscriber_count"] == channel.get("channel_subscriber_count")
    for user in latest["users"]:
        (row,) = plain(store.user(user))
        watched = [latest["videos"][video]["category"] for video in row["history_video_ids"] or ()]
        assert (row["history_categories"] or []) == watched


def test_order_workers_and_where_tables_wait_change_nothing(
    ran: Ran, run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_SMALLEST", 0)
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for table in TABLES:
        rows = pl.read_parquet(ran.raw / f"{table}.parquet").sample(fraction=1, shuffle=True, seed=1)
        pq.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()), shuffled / f"{table}.parquet")
    other = run(divided_tables(shuffled, tmp_path / "raw"), workers=4)
    assert_same_bytes(*(files_below(root, *ROWS, *DESCRIBED) for root in (ran.root, other.root)))
    assert manifest_of(ran.root, "inputs", "counts") == manifest_of(other.root, "inputs", "counts")
    counts = [found.result.manifest["counts"] for found in (ran, other)]
    assert differing(*counts) <= {"texts/cached", "texts/encoded"}


def differing(one: dict[str, int], other: dict[str, int]) -> set[str]:
    return {name for name, _ in one.items() ^ other.items()}


def test_versions_after_the_training_split_change_nothing_of_it(ran: Ran, run: Run, tmp_path: pathlib.Path) -> None:
    splits = {name: value.removesuffix(" UTC") for name, value in ran.result.manifest["splits"].items()}
    val_from = pl.lit(splits["val_from"]).str.to_datetime(time_unit="us", time_zone="UTC")
    shutil.copyfile(ran.raw / "interactions.parquet", tmp_path / "interactions.parquet")
    names = {"users": "country", "videos": "title", "channels": "channel_subscriber_count"}
    for table, key in KEYS.items():
        rows = pl.read_parquet(ran.raw / f"{table}.parquet")
        is_future = (pl.col(UPDATED) >= val_from) & (pl.col(UPDATED) > pl.col(UPDATED).min().over(key))
        future, other = rows.filter(is_future), names[table]
        altered = future[::2].with_columns(pl.col(other).reverse(), pl.col(UPDATED).dt.offset_by("1h"))
        changed = pl.concat([rows.filter(~is_future), altered])
        assert future.height > 10
        pq.write_table(changed.to_arrow(compat_level=pl.CompatLevel.oldest()), tmp_path / f"{table}.parquet")
    other_run = run(tmp_path, f"split: {json.dumps(splits)}\n")
    untouched = (*DESCRIBED[1:], "processed_data/two_tower/train", "processed_data/ranker/train")
    assert_same_bytes(*(files_below(root, *untouched) for root in (ran.root, other_run.root)))
    assert files_below(ran.root, "processed_data/ranker/test") != files_below(
        other_run.root, "processed_data/ranker/test"
    )


def test_one_version_of_each_row_makes_the_bytes_of_a_table_without(synthetic_run: Ran, tmp_path: pathlib.Path) -> None:
    (tmp_path / "raw").mkdir()
    shutil.copyfile(synthetic_run.raw / "interactions.parquet", tmp_path / "raw/interactions.parquet")
    for table in KEYS:
        rows = pq.read_table(synthetic_run.raw / f"{table}.parquet")
        dates = pa.array(np.arange(len(rows)) * DAY // 7 + 1_736_000_000_000_000).cast(pa.timestamp("us", "UTC"))
        pq.write_table(rows.append_column("changed", dates), tmp_path / f"raw/{table}.parquet")
    names = ", ".join(f"{table}: {{changed: {UPDATED}}}" for table in KEYS)
    (tmp_path / "config.yaml").write_text(f"{SMALL_CONFIG}columns: {{{names}}}\n")
    config = PipelineConfig(output_dir=str(tmp_path / "out"), config=str(tmp_path / "config.yaml"))
    result = ProcessingPipeline(config).run(str(tmp_path / "raw"))
    parts = ("processed_data", *FITTED)
    assert_same_bytes(*(files_below(root, *parts) for root in (synthetic_run.root, tmp_path / "out")))
    assert result.manifest["counts"]["versions/users/early"] > 0
    assert not [name for name in synthetic_run.result.manifest["counts"] if name.startswith("versions/")]
    assert UPDATED not in json.dumps(synthetic_run.result.manifest)


# --- What is refused


@pytest.mark.usefixtures("unfitted")
def test_updated_at_of_another_type_is_refused_and_bad_ones_are_rejected(
    tables: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(tables, raw)
    users = pq.read_table(tables / "users.parquet")
    place = users.column_names.index(UPDATED)
    arguments = ["run", "--data-dir", str(raw), "--output-dir", str(tmp_path / "out"), "--title-encoder", "none"]
    pq.write_table(users.set_column(place, UPDATED, pa.array(["today"] * len(users))), raw / "users.parquet")
    assert main(arguments) == 1
    assert "users.parquet: column 'updated_at' is string, expected timestamp[us, tz=UTC]" in capsys.readouterr().err
    pq.write_table(users.set_column(place, UPDATED, pa.nulls(len(users), pa.timestamp("ms"))), raw / "users.parquet")
    assert main(arguments) == 1
    assert (
        f"{len(users)} of {len(users)} rows of users are unusable, mostly because updated_at is null"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()
