"""Runs whose counters are counted as of each exposure: against the oracle, and byte by byte against themselves."""

import json
import pathlib
import shutil
from collections import Counter
from collections.abc import Callable

import numpy as np
import oracle_counters
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from compared_outputs import (
    UNTOUCHED,
    assert_same_bytes,
    assert_same_output,
    divided_tables,
    files_below,
    graph_text,
    tables_with_another_future,
)
from conftest import SMALL_CONFIG, Ran
from counter_cases import DAY
from joined_rows import engineered, history_before, raw_frames
from leaking_history import history_with_the_exposure_itself, only

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.auditing import leak_audit
from recsys_tft.beam_pipelines import job, staging
from recsys_tft.default_table import DEFAULT
from recsys_tft.point_in_time import counters, recent, user_context
from recsys_tft.point_in_time.counters import COUNTERS
from recsys_tft.verifying.verification import verify

pytestmark = pytest.mark.slow

AS_OF = "counters: {source: as_of, delay: 1h}\nrecent: {enabled: true}\ncooccurrence: {enabled: true}\n"
HOUR = 3_600_000_000
Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def run(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs on the synthetic tables or on others, with counters as of each exposure."""

    def run_on(raw: pathlib.Path = synthetic_run.raw, more: str = "", **options: object) -> Ran:
        root = tmp_path_factory.mktemp("as-of")
        (root / "config.yaml").write_text(f"{SMALL_CONFIG}{AS_OF}{more}")
        said: list[str] = []
        config = PipelineConfig(output_dir=str(root / "out"), config=str(root / "config.yaml"), **options)
        pipeline = ProcessingPipeline(config, said.append)
        return Ran(pipeline.run(str(raw)), pipeline, raw, root / "out", root / "config.yaml", said)

    return run_on


@pytest.fixture(scope="module")
def as_of_run(run: Run) -> Ran:
    return run()


@pytest.mark.parametrize("name", ["ranker_train", "ranker_test", "two_tower_val"])
def test_rows_have_the_counters_that_the_oracle_shows(as_of_run: Ran, name: str) -> None:
    rows = as_of_run.result[name].pandas()
    rows = rows.iloc[:: max(len(rows) // 400, 1)].reset_index(drop=True)
    events = raw_frames(as_of_run.raw)["interactions"]
    increments = oracle_counters.increments(events.astype(object).where(events.notna(), None).to_dict("records"))
    keys = zip(rows["video_id"], rows["interaction_time"] - HOUR, strict=True)
    shown = oracle_counters.shown_values(increments, keys, "0.1", DAY, 24, True)
    assert len(set(shown)) > 10
    columns = (*COUNTERS, *recent.VIDEO_COLUMNS)
    raw = {name: pd.Series([counts[k] for counts in shown]) for k, name in enumerate(columns)}
    computed = engineered(as_of_run.root, {**raw, "popularity": pd.Series([None] * len(rows), dtype=object)})
    known = [DEFAULT.by_name[column] for column in rows if column in DEFAULT.by_name]
    names = [feature.name for feature in known if feature.is_counted or feature.option == "recent"]
    names = [name for name in names if {*DEFAULT.by_name[name].sources} <= {*columns, "popularity"}]
    assert len(names) == (1 if name == "two_tower_val" else 12)
    for column in names:
        np.testing.assert_array_equal(np.stack(rows[column]), computed[column].numpy(), column)


@pytest.mark.parametrize("name", ["ranker_train", "ranker_test"])
def test_rows_have_what_users_did_lately_and_the_ages_of_videos(as_of_run: Ran, name: str) -> None:
    rows = as_of_run.result[name].pandas()
    rows = rows.iloc[:: max(len(rows) // 400, 1)].reset_index(drop=True)
    frame = raw_frames(as_of_run.raw)["interactions"].astype(object)
    events = frame.where(frame.notna(), None).to_dict("records")
    table = pq.read_table(as_of_run.raw / "videos.parquet", columns=["video_id", "published_at"])
    published = table["published_at"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    videos = {row["video_id"]: row for row in table.set_column(1, "published_at", published).to_pylist()}
    moments = list(zip(rows["user_id"], rows["video_id"], rows["interaction_time"], strict=True))
    did = [oracle_counters.user_before(events, user, time - HOUR) for user, _, time in moments]
    hours = [oracle_counters.hours_of(videos[video], events, time, HOUR) for _, video, time in moments]
    assert min(len(set(hours)), len({tuple(found.values()) for found in did})) > 10
    ages = {"interaction_time": pd.Series(hours) * HOUR, "published_at": pd.Series([0] * len(rows))}
    computed = engineered(as_of_run.root, {**pd.DataFrame(did).to_dict("series"), **ages})
    for column in ("user_events_1d_log", "user_events_30d_log", "user_like_rate", "video_age_log"):
        np.testing.assert_array_equal(rows[column], computed[column].numpy(), column)


@pytest.mark.parametrize("name", ["ranker_train", "ranker_test"])
def test_rows_know_what_their_video_has_in_common_with_the_history(as_of_run: Ran, name: str) -> None:
    counted = as_of_run.result["two_tower_train"].pandas()
    pairs = [(h, None, v) for h, v in zip(history_before(as_of_run, counted), counted["video_id"], strict=True)]
    rows = as_of_run.result[name].pandas()
    # What is drawn follows its positive, which was counted where it is of the training split.
    shown = rows["video_id"].where(rows["source"] != "sampled").ffill()
    own = shown.where((rows["label"] == 1) & (name == "ranker_train"))
    asked = zip(history_before(as_of_run, rows), rows["video_id"], own, strict=True)
    expected = oracle_counters.cooccurrences(pairs, asked)
    np.testing.assert_allclose(rows["history_cooccurrence"], expected, atol=1e-6)
    assert sum(value > 0 for value in expected) > 10


@pytest.mark.usefixtures("loaded_once")
def test_verify_finds_all_rows_equal_and_another_delay_unequal(as_of_run: Ran, tmp_path: pathlib.Path) -> None:
    found = verify(str(as_of_run.root), str(as_of_run.raw), rows=None)
    assert found.is_equal, "\n".join(map(str, found.differences))
    assert set(found.lines) == {feature.name for feature in DEFAULT.features if feature.name != "title_embedding"}
    shutil.copytree(as_of_run.root, tmp_path / "out")
    path = tmp_path / "out/artifacts/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["settings"]["counters"]["delay"] = "0s"
    path.write_text(json.dumps(manifest))
    wrong = {difference.feature for difference in verify(str(tmp_path / "out"), str(as_of_run.raw)).differences}
    assert {name for name in wrong if DEFAULT.by_name[name].is_counted}
    assert {"views_1d_log", "user_events_1d_log"} <= wrong
    assert {"positive_rate", "user_positive_rate", "user_category_affinity"} <= wrong
    options = ("recent", "positive_rates")
    assert all(DEFAULT.by_name[name].is_counted or DEFAULT.by_name[name].option in options for name in wrong)


def counted_in_all_splits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(user_context, "_counted", lambda exposures: {user_context.COUNTED_VIDEO: exposures["video_id"]})


@pytest.mark.parametrize(
    ("plant", "ends_training", "future", "shows_in"),
    [
        (None, False, "altered", set()),
        (history_with_the_exposure_itself, False, "altered", {"history_cooccurrence"}),
        (counted_in_all_splits, True, "removed", {"row"}),
    ],
    ids=["none", "tied", "fitted"],
)
def test_the_audit_finds_what_leaks_into_what_is_liked_together(
    as_of_run: Ran,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable | None,
    ends_training: bool,
    future: str,
    shows_in: set[str],
) -> None:
    only(monkeypatch, ends_training, future)
    if plant:
        plant(monkeypatch)
    found = leak_audit.audit(str(as_of_run.root), str(as_of_run.raw))
    assert shows_in <= set(found.leaks)
    assert bool(found.leaks) == bool(plant)


def test_the_columns_that_are_not_read_are_named(as_of_run: Ran) -> None:
    ignored = [text for text in as_of_run.said if "which is not read" in text]
    assert [text.split("'")[1] for text in ignored] == [*COUNTERS, "popularity"]
    counts = as_of_run.result.manifest["counts"]
    assert counts["counters/increments"] > 500
    assert counts["rows/videos/used"] < counts["counters/versions"]


def test_processes_of_beam_write_the_same_bytes(as_of_run: Ran, run: Run) -> None:
    other = run(beam_args=("--direct_running_mode=multi_processing", "--direct_num_workers=2"))
    assert_same_output(as_of_run.root, other.root, "processed_data", "artifacts", "rejected")


def test_the_order_of_rows_workers_slices_and_where_tables_wait_change_nothing(
    as_of_run: Ran, run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, later_versions = [], counters.later_versions

    def watched(base: pa.Table, changes: pa.Table, *rest: object) -> pa.Table:
        calls.append([set(column.to_pylist()) for column in (changes["video_id"], pc.divide(changes["time"], DAY))])
        return later_versions(base, changes, *rest)

    monkeypatch.setattr(counters, "later_versions", watched)
    monkeypatch.setattr(job, "_SLICE", 1)  # as if there were very many interactions
    monkeypatch.setattr(staging, "_SMALLEST", 0)
    other = run(divided_tables(as_of_run.raw, tmp_path / "raw"), workers=4)
    assert_same_output(as_of_run.root, other.root, "processed_data", "artifacts", "rejected", without=["inputs"])
    assert {len(days) for _, days in calls} == {1}
    (_, calls_of_hottest), *_ = Counter(video for videos, _ in calls for video in videos).most_common()
    assert calls_of_hottest > 20


def test_what_happens_after_the_training_split_changes_nothing_of_it(
    as_of_run: Ran, run: Run, tmp_path: pathlib.Path
) -> None:
    raw, split = tables_with_another_future(as_of_run, tmp_path / "raw")
    other = run(raw, split)
    assert_same_bytes(*(files_below(ran.root, *UNTOUCHED) for ran in (as_of_run, other)))
    assert graph_text(as_of_run.root) == graph_text(other.root)
