"""The share of a video that was watched, which the ranker's rows have where it is asked for."""

import collections
import math
import pathlib

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from conftest import pipeline_in
from hypothesis import given
from hypothesis import strategies as st

from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import labels
from recsys_tft.ranking import ranker_rows
from recsys_tft.ranking.dcn_fit import Fit
from recsys_tft.ranking.ranker_interface import Task
from recsys_tft.run_layout import data_sets
from recsys_tft.training.model_folders import ModelFolder, settings_for

SECONDS = st.sampled_from([0.0, 0.5, 59.0, 60.0, 1e9])


@given(st.lists(st.tuples(SECONDS, SECONDS | st.just(math.nan)), max_size=20))
def test_it_is_of_the_duration_and_at_most_one(rows: list[tuple[float, float]]) -> None:
    watched = np.array([w for w, _ in rows], np.float64)
    duration = np.array([d for _, d in rows], np.float32)
    expected = [min(w / d, 1.0) if w > 0 and d > 0 else -1.0 for w, d in rows]
    assert labels.watch_shares(watched, duration).tolist() == [float(np.float32(value)) for value in expected]


def test_rows_have_it_only_where_it_is_asked_for() -> None:
    usual = Settings()
    wanted = usual.replace({"ranker": {"watch_share": True}})
    assert "watch_share" not in data_sets.RANKER_ROWS.columns(data_sets.OUTCOME, usual)
    assert data_sets.RANKER_ROWS.columns(data_sets.OUTCOME, wanted)[-1] == "watch_share"
    assert "watch_share" not in data_sets.TWO_TOWER.columns(data_sets.OUTCOME, wanted)


@pytest.mark.slow
def test_a_run_writes_it_and_the_neural_ranker_learns_it(tmp_path: pathlib.Path) -> None:
    config = "{title_encoder: none, labels: {positive: {like: 1.0}}, ranker: {watch_share: true, model: dcn}}"
    pipeline, _ = pipeline_in(tmp_path, config)
    result = pipeline.run_synthetic(num_users=150, num_videos=80, num_interactions=2500)
    raw, out = tmp_path / "out" / "raw", str(tmp_path / "out")
    events, videos = (pl.read_parquet(raw / f"{name}.parquet") for name in ("interactions", "videos"))
    duration = dict(zip(videos["video_id"].to_list(), videos["video_duration"].to_list(), strict=True))
    watched = collections.defaultdict(list)
    for user, video, moment, seconds in events.select(
        "user_id", "video_id", pl.col("interaction_time").dt.epoch("s"), "watch_time"
    ).iter_rows():
        watched[user, video].append((moment, seconds or 0.0))
    seen = collections.Counter()
    for split in ("train", "val", "test"):
        for row in result[f"ranker_{split}"].pandas().to_dict("records"):
            own = watched[row["user_id"], row["video_id"]]
            if row["source"] == b"sampled":
                assert row["watch_share"] == -1
            elif max(own)[0] - min(own)[0] < 1800:  # of which one exposure is made
                total, length = sum(seconds for _, seconds in own), duration[row["video_id"]]
                known = total > 0 and length
                expected = min(total / length, 1) if known else -1
                assert row["watch_share"] == pytest.approx(expected, rel=1e-6)
                seen[bool(known)] += 1
    assert min(seen[True], seen[False]) > 50
    chosen = settings_for(out, None, None)
    features = ranker_rows.features_for(chosen)
    rows = ranker_rows.read(out, "train", features, ranker_rows.columns_of(features, chosen))
    folder = ModelFolder(out, "ranker")
    folder.begin(False, {})
    fit = Fit(Task(rows, None, 1, chosen, folder, lambda _: None))
    assert fit.network.shape.heads == ("label", "watch_share")
    assert (fit._targets[:, 1] == rows.keys["watch_share"]).all()
    assert pa.types.is_float32(data_sets.key_type("watch_share", chosen))
