"""`check`: what a run would make of raw tables, without running it. What stops a run: `workspace.fails`."""

import datetime
import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import Ran
from workspace import Workspace, event, good_rows, table_of

import recsys_tft
from recsys_tft.checking.preview import Preview
from recsys_tft.cli import main
from recsys_tft.run_layout.data_sets import DATA_SETS

FORETOLD = ("exposures/", "positives/", "rejected/", "versions/")


def of_a_run(counts: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number and name.startswith(FORETOLD)}


@pytest.fixture
def checked(ran: Ran) -> Preview:
    return recsys_tft.check(str(ran.raw), str(ran.config))


def test_small_tables_are_counted_as_a_run_counts_them(ran: Ran, checked: Preview) -> None:
    assert checked.stops == ()
    kept = {name: number for name, number in ran.result.manifest["counts"].items() if not name.endswith("/keys")}
    assert of_a_run(checked.counts) == of_a_run(kept)
    assert checked.splits == ran.result.manifest["splits"]
    assert {*ran.result.manifest.get("warnings", ())} <= {*checked.warnings}


def test_what_is_estimated_is_near_to_what_is_written(ran: Ran, checked: Preview) -> None:
    for data_set in DATA_SETS:
        folders = [ran.root / "processed_data" / folder for folder in data_set.folders]
        size = sum(file.stat().st_size for folder in folders for file in folder.glob("part-*"))
        rows = sum(ran.result.manifest["counts"].get(f"written/{folder}", 0) for folder in data_set.folders)
        assert checked.estimate.rows[data_set.name] == pytest.approx(rows, rel=0.03)
        assert checked.estimate.bytes[data_set.name] == pytest.approx(size, rel=0.4)


def test_of_large_tables_a_part_is_read(synthetic_run: Ran, tmp_path: pathlib.Path) -> None:
    for name in ("users", "videos", "channels"):
        (tmp_path / f"{name}.parquet").hardlink_to(synthetic_run.raw / f"{name}.parquet")
    events = pq.read_table(synthetic_run.raw / "interactions.parquet")
    events = events.take(np.random.default_rng(0).permutation(len(events)))
    (tmp_path / "interactions").mkdir()
    for part in range(10):
        rows = events.slice(part * 300, 300)
        watched = pc.if_else(pa.array(np.arange(len(rows)) < 9), -1.0, rows["watch_time"])  # three in a hundred are bad
        rows = rows.set_column(rows.column_names.index("watch_time"), "watch_time", watched)
        pq.write_table(rows, tmp_path / "interactions" / f"{part}.parquet")
    found = recsys_tft.check(str(tmp_path), sizes=(1000, 10_000))
    assert found.counts["rows/interactions/in"] == 900
    assert found.whole == {"users", "videos", "channels"}
    assert found.scale("interactions") == pytest.approx(10 / 3)
    assert found.counts["rejected/interactions/watch_time is negative"] == 27
    assert found.stops == ()
    few = recsys_tft.check(str(tmp_path), sizes=(1000, 10))
    assert few.whole == {"users", "videos", "channels"}  # which are one part each


def test_events_of_users_that_were_not_read_are_no_fault(workspace: Workspace) -> None:
    rows = good_rows()["users"]
    (workspace.data / "users.parquet").unlink()
    (workspace.data / "users").mkdir()
    for number in range(4):
        pq.write_table(table_of(rows[number::4]), workspace.data / "users" / f"{number}.parquet")
    found = recsys_tft.check(str(workspace.data), sizes=(1000, 3))
    assert "users" not in found.whole
    assert not any(name.startswith("rejected/") for name in found.counts)
    assert found.counts["rows/interactions/in"] == 30
    assert found.scale("interactions") == 4


def spoilt(change: Callable[[dict[str, list]], None]) -> dict[str, list]:
    rows = good_rows()
    change(rows)
    return rows


def long_ago(rows: dict[str, list]) -> None:
    for row in rows["interactions"]:
        row["interaction_time"] = datetime.datetime(1970, 1, 21, tzinfo=datetime.UTC) + (
            row["interaction_time"] - datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)
        )


def in_the_future(rows: dict[str, list]) -> None:
    rows["interactions"].append(event(1, 1, 30_000))


def years_of_birth(rows: dict[str, list]) -> None:
    for row in rows["users"]:
        row["age"] += 1950


def milliseconds(rows: dict[str, list]) -> None:
    for row in rows["videos"]:
        row["video_duration"] *= 1000


def no_country(rows: dict[str, list]) -> None:
    for row in rows["users"]:
        row["country"] = None


def watched_milliseconds(rows: dict[str, list]) -> None:
    for row in rows["interactions"]:
        row["watch_time"] = 30_000.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (long_ago, "interaction_time of interactions is before 1990 in 120 of 120 rows, such as 1970-01-21 00:01:00"),
        (in_the_future, "interaction_time of interactions is in the future in 1 of 121 rows, such as 2107-"),
        (years_of_birth, "age of users is above 120 in 12 of 12 rows; are these years of birth?"),
        (
            milliseconds,
            "8 of 8 videos have a video_duration above 3 hours; it is read as seconds, so divide it by 1,000",
        ),
        (no_country, "country of users is missing in all 12 rows that were read"),
        (watched_milliseconds, "120 of 120 exposures have a watch_time above the video_duration"),
    ],
)
def test_what_is_legal_and_hardly_meant_is_told(workspace: Workspace, change: Callable, sentence: str) -> None:
    assert not any(sentence in warning for warning in recsys_tft.check(str(workspace.data)).warnings)
    for name, rows in spoilt(change).items():
        workspace.write(name, rows)
    found = recsys_tft.check(str(workspace.data))
    assert [warning for warning in found.warnings if sentence in warning], found.warnings
    assert found.stops == ()


def test_views_before_the_publication_are_told(workspace: Workspace) -> None:
    videos = table_of(good_rows()["videos"])
    late = pa.array([datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * len(videos), pa.timestamp("us", "UTC"))
    workspace.write("videos", videos.append_column("published_at", late))
    found = recsys_tft.check(str(workspace.data), workspace.config("recent: {enabled: true}"))
    assert "120 of 120 interactions are before published_at of their video" in found.warnings


def test_all_that_would_stop_a_run_is_told_at_once(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    rows = good_rows()["interactions"]
    workspace.write(
        "interactions", [row | {"interaction_type": "impression", "video_id": 99} for row in rows[:20]] + rows
    )
    config = workspace.config("labels: {positive: {share: 1.0}}")
    assert main(["check", "--data-dir", str(workspace.data), "--config", config]) == 1
    printed, error = capfd.readouterr()
    assert error == ""
    lines = [line for line in printed.splitlines() if line.startswith("A run would stop: ")]
    assert len(lines) == 2
    assert "20 of 140 rows of interactions are unusable" in lines[0]
    assert "No exposure in the training split is positive by the rules of labels.positive (share)." in lines[1]
    assert "interactions: video_id is not in videos" in printed


def test_good_tables_end_with_0_and_nothing_is_written(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    before = workspace.state(), sorted(workspace.folder.rglob("*"))
    assert main(["check", "--data-dir", str(workspace.data)]) == 0
    printed, error = capfd.readouterr()
    assert (workspace.state(), sorted(workspace.folder.rglob("*"))) == before
    assert error == ""
    assert "A run would take these tables." in printed
    assert "users: user_id, country, age; absent: user_language" in printed


def test_tables_elsewhere_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--data-dir", "gs://bucket/raw"]) == 2
    assert "check reads tables on this machine" in capfd.readouterr().err
