"""Tables that change from day to day without `updated_at`: events are labelled by what was known on their day."""

import json
import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import pipeline_in
from days import delay, moments, write_days

import recsys_tft
from recsys_tft.configuration.settings import from_manifest
from recsys_tft.exporting import stored_entities
from recsys_tft.online.opening import open_live
from recsys_tft.raw_replay import raw_counters, raw_rows
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.recommending.live_store import LiveStore
from recsys_tft.recommending.ranker_inputs import Candidates
from recsys_tft.run_layout import run_folders
from recsys_tft.tables import synthetic
from recsys_tft.verifying.verification import verify

CONFIG = """
title_encoder: none
output: {users_per_shard: 60, videos_per_shard: 120}
statistics: {enabled: false}
labels: {positive: {like: 1.0, watch: 0.8}}
recent: {enabled: true}
counters: {delay: 90m, every: 6h}
split: {train: 0.7, val: 0.2}
max_rejected_fraction: 0.4
"""
Change = Callable[[pathlib.Path, list[pathlib.Path]], None]


def scaled(table: pa.Table, name: str, factors: np.ndarray) -> pa.Table:
    """A column of numbers times factors."""
    values = table[name].to_numpy(zero_copy_only=False) * factors
    return table.set_column(table.column_names.index(name), name, pa.array(values.astype(np.float32)))


def rolled(table: pa.Table, *names: str) -> pa.Table:
    """Columns whose values went to the next row."""
    for name in names:
        values = table[name].take(pa.array(np.roll(np.arange(len(table)), 1)))
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def change(raw: pathlib.Path, days: list[pathlib.Path]) -> None:
    """Has rows change on each day, videos come later, and others be told of no more."""
    rows = {name: pq.read_table(raw / f"{name}.parquet") for name in ("users", "videos", "channels")}
    videos, random = rows["videos"], np.random.default_rng(0)
    pq.write_table(videos.slice(0, len(videos) - 20), days[0] / "videos.parquet")  # 20 come on the second day
    pq.write_table(rows["users"].slice(5), days[0] / "users.parquet")  # and 5 users on the third
    for number, folder in enumerate(days[1:], 1):
        factors = np.exp2(random.integers(-3, 4, len(videos)))
        changed = rolled(scaled(videos, "video_duration", factors), *(["category"] if number == 2 else []))
        pq.write_table(changed.slice(10 * number), folder / "videos.parquet")  # the first ones are gone
        if number == 2:
            pq.write_table(rolled(rows["users"], "country", "age"), folder / "users.parquet")
            pq.write_table(rolled(rows["channels"], "channel_subscriber_count"), folder / "channels.parquet")


@pytest.mark.slow
@pytest.mark.parametrize("late", ["", "late: 20d\n"])
def test_each_day_is_labelled_by_what_was_known_then(tmp_path: pathlib.Path, late: str) -> None:
    raw = tmp_path / "raw"
    synthetic.write_tables(raw, users=100, videos=200, interactions=2500)
    days = write_days(raw, tmp_path / "days", moments(raw, 3), whole=(0,))
    change(raw, days)
    if late:
        assert delay(days, every=3) > 20
    pipeline, _ = pipeline_in(tmp_path, CONFIG + late, workers=2)
    pipeline.run(str(days[0]))
    out, folders = tmp_path / "out", [str(day) for day in days]
    for number, day in enumerate(days[1:], 2):
        recsys_tft.refresh(str(out), str(day), workers=2)
        for online in (False, True):
            found = verify(str(out / "periods" / day.name), folders[:number], rows=None, online=online)
            assert found.is_equal, "\n".join(map(str, found.differences))
            assert found.rows["ranker/train"] > 50
            assert {"history_video_ids_tokens", "user_excess"} <= set(found.lines)
    check_export(out, out / "periods" / days[-1].name, folders, tmp_path / "store")


def check_export(out: pathlib.Path, last: pathlib.Path, days: list[str], store: pathlib.Path) -> None:
    """What an export stores of users and videos is what the state of the last period knows."""
    manifest = json.loads((last / "artifacts/manifest.json").read_text())
    settings = from_manifest(manifest, "the run")
    rows, cuts = raw_rows.read_days(days, manifest, settings), raw_rows.cuts_of(manifest)
    dated = raw_counters.dated_videos(rows, cuts, settings)
    stored_entities.write(store, rows, stored_entities.current_videos(rows, dated), dated.counts, cuts, settings)
    entities = EntityStore(store)
    opened = open_live(str(out), run_folders.fingerprint(str(last)))
    live = LiveStore(opened.state, opened.rules, entities)
    every = Candidates.of_rows(entities.all_videos)
    assert live.videos(every, opened.until).table().equals(every.table())
    for user in rows.latest_users["user_id"].to_pylist():
        stored = entities.user(user)
        assert live.user(stored, user, opened.until).select(stored.column_names).to_pylist() == stored.to_pylist()
