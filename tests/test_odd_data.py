"""Data that is odd but legal: one warning each, with its count."""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from workspace import START, TYPES, Fails, Row, Workspace, event, good_rows, table_of

from recsys_tft.cli import main
from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import odd_data
from recsys_tft.labelling import labels
from recsys_tft.labelling.exposures import event_columns, sort_events
from recsys_tft.tables.entities import known_durations
from recsys_tft.titles import embedding_cache

SETTINGS = Settings()
DAY = 86_400_000_000
SPAN = (0, 9 * DAY)


def said(odd: dict[str, int], **split: object) -> list[str]:
    """The warnings about data whose splits are as they should be."""
    splits = {"train": 8, "val": 1, "test": 1}
    return odd_data.warnings(odd, splits, SPAN, (7 * DAY, 8 * DAY), Settings(split=split).split)


# --- Counting


def videos(**columns: Sequence[object]) -> pa.Table:
    types = {"video_duration": pa.float32(), "popularity": pa.binary()}
    names = ("video_duration", "view_count", "like_count", "popularity")
    size = len(next(iter(columns.values())))
    return pa.table({n: pa.array(columns.get(n, [None] * size), types.get(n, pa.int64())) for n in names})


def test_usual_videos_leave_no_trace() -> None:
    usual = videos(video_duration=[60, None, 86_399], view_count=[3, 0, None], like_count=[1, 0, None])
    assert said(odd_data.of_videos(usual, (), SETTINGS)) == []


def test_durations_of_a_day_are_counted() -> None:
    (sentence,) = said(odd_data.of_videos(videos(video_duration=[60, 86_400, 1e6]), (), SETTINGS))
    assert sentence.startswith("2 rows of videos have a video_duration of a day or more; it is read as seconds")


def test_durations_of_hours_in_most_videos_are_told_of_once_with_the_likely_unit() -> None:
    (sentence,) = said(odd_data.of_videos(videos(video_duration=[15_000, 20_000, 60, 0, None]), (), SETTINGS))
    assert sentence == (
        "2 of 3 videos have a video_duration above 3 hours; it is read as seconds, so divide it by 1,000 if yours is "
        "in milliseconds"
    )
    assert said(odd_data.of_videos(videos(video_duration=[15_000, 60, None]), (), SETTINGS)) == []
    (sentence,) = said(odd_data.of_videos(videos(video_duration=[15_000, 20_000, 90_000]), (), SETTINGS))
    assert sentence.startswith("1 row of videos has a video_duration of a day or more")


@pytest.mark.parametrize("likes", [[0, 5, 9, 2], [0, 5, 9, None]])
def test_counts_that_are_equal_for_all_videos_are_told_of(likes: list[int | None]) -> None:
    told = odd_data.of_videos(videos(view_count=[0, 5, 9, 2], like_count=likes), (), SETTINGS)
    number = sum(like is not None and like > 0 for like in likes)
    assert said(told)[0].startswith(f"view_count equals like_count for all {number} videos that have both")
    other = odd_data.of_videos(videos(view_count=[0, 5, 10, 2], like_count=likes), (), SETTINGS)
    assert said(other) == said(odd_data.of_videos(videos(view_count=[0, 1], like_count=[0, 1]), (), SETTINGS)) == []


KION = ["Тактическая сила", "Голые перцы", "The Office", None, "Dune 2", "進撃の巨人", "الاختيار"]


def test_titles_in_scripts_that_the_encoder_does_not_know_are_told_of() -> None:
    known = ["Amélie", "Đi tìm", "2001", "", None, "Łódź 4"]
    counted = odd_data.of_videos(titled(KION), (), SETTINGS)
    assert counted["titles"] == 6
    (sentence,) = said(counted)
    assert sentence.startswith("4 of 6 titles are mostly in other scripts than Latin, which the encoder minilm")
    assert said(odd_data.of_videos(titled([*known, *KION]), (), SETTINGS)) == []  # 4 of 9
    assert said(odd_data.of_videos(titled(known), (), SETTINGS)) == []
    assert said(odd_data.of_videos(titled(KION), (), SETTINGS.replace({"title_encoder": "none"}))) == []


def test_titles_in_scripts_that_not_even_the_multilingual_encoder_knows_are_told_of() -> None:
    settings = SETTINGS.replace({"title_encoder": "multilingual"})
    assert said(odd_data.of_videos(titled(KION), (), settings)) == []
    (sentence,) = said(odd_data.of_videos(titled([*KION[:2], "שלום", "দিন ও রাত", "வணக்கம்"]), (), settings))
    assert sentence.startswith("3 of 5 titles are mostly in other scripts than Latin, Cyrillic, Arabic, Han, ")
    assert "which the encoder multilingual does not know" in sentence


def titled(titles: Sequence[str | None]) -> pa.Table:
    encoded = pa.array([title and title.encode() for title in titles], pa.binary())
    return videos(view_count=[None] * len(titles)).append_column("title", encoded)


def test_columns_that_are_not_read_are_not_looked_at() -> None:
    odd = videos(view_count=[5, 9], like_count=[5, 9], popularity=[b"x", b"y"])
    assert said(odd_data.of_videos(odd, ("view_count", "like_count", "popularity"), SETTINGS)) == []


def test_popularity_that_is_no_level_is_counted_and_some_is_named() -> None:
    values = [b"HIGH", b"low", None, b"hot", b"hot", b"cold", b"\xff", b"x", b"y"]
    (sentence,) = said(odd_data.of_videos(videos(popularity=values), (), SETTINGS))
    assert sentence == (
        "6 rows of videos have a popularity that is none of popularity.levels, such as 'hot', 'cold', 'x'; "
        "no popularity is taken from it"
    )


def test_a_duration_of_0_becomes_null_and_is_counted_alone() -> None:
    known, zeros = known_durations(videos(video_duration=[0.0, 5.0, None, -0.0], view_count=[0, 0, 0, 1]))
    assert (known["video_duration"].to_pylist(), zeros) == ([None, 5.0, None, None], 2)


def test_no_watch_time_is_enough_for_a_duration_of_0() -> None:
    duration = np.array([0.0, np.nan, 10.0], np.float32)
    found = labels.rules_that_hold(np.zeros(3, np.uint8), np.full(3, 5.0), duration, SETTINGS)
    assert found["watch"].tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        (500.0, ", so divide watch_time by 1,000 if yours is in milliseconds"),
        (30.0, ", so multiply video_duration by 60 if yours is in minutes"),
        (1.5, ", and a video that is watched repeatedly in one exposure adds up"),
    ],
)
def test_watch_times_above_most_durations_name_the_likely_unit(times: float, unit: str) -> None:
    duration = np.array([10, 20, 40, 80, np.nan, 10], np.float32)
    watched = np.array([10, 20, 40, 8, 9, 0]) * times
    (sentence,) = said(odd_data.of_watch_times(watched, duration))
    number = 4 if times > 10 else 3
    assert sentence == (
        f"{number} of 4 exposures have a watch_time above the video_duration; both are read as seconds{unit}"
    )
    assert said(odd_data.of_watch_times(watched / times, duration)) == []


def test_watch_times_of_which_none_is_above_a_second_may_be_shares() -> None:
    duration = np.full(20, 60, np.float32)
    (sentence,) = said(odd_data.of_watch_times(np.linspace(0, 1, 20), duration))
    assert sentence == (
        "none of 19 watch times is above 1 second; watch_time is read as seconds, so multiply it by video_duration if "
        "yours is a share"
    )
    assert said(odd_data.of_watch_times(np.linspace(0, 1.1, 20), duration)) == []
    assert said(odd_data.of_watch_times(np.linspace(0, 1, 20), duration / 60)) == []
    assert said(odd_data.of_watch_times(np.linspace(0, 1, 10), duration[:10])) == []


def events(*rows: Row) -> pa.Table:
    types = (pa.int64(), pa.int64(), pa.int64(), pa.uint8(), pa.float32(), pa.binary())
    schema = pa.schema(list(zip(event_columns(SETTINGS), types, strict=True)))
    return sort_events(pa.Table.from_pylist([dict.fromkeys(schema.names, 1) | row for row in rows], schema), SETTINGS)


def test_events_are_repeated_if_they_are_equal_in_every_column() -> None:
    plain = {"device": b"tv"}
    nothing = {"device": None, "watch_time": None}
    assert odd_data.repeated(events(plain, plain, plain, nothing, nothing)) == 3
    others = ({"user_id": 2}, {"video_id": 2}, {"interaction_time": 2}, {"signals": 2}, {"watch_time": 2})
    assert odd_data.repeated(events(plain, *(plain | other for other in others), {"device": b"TV"}, nothing)) == 0
    assert odd_data.repeated(events()) == 0


def test_only_likes_make_counters_that_are_equal() -> None:
    counted = odd_data.of_counted(pa.table({"counter": pa.array([0, 1, 0, 1, 2], pa.int8())}))
    (sentence,) = said(counted)
    assert sentence.startswith("each of the 2 views that are counted has a like, so that like_count equals view_count")
    assert said(odd_data.of_counted(pa.table({"counter": pa.array([0, 0, 1], pa.int8())}))) == []


# --- Splits


def splits(split: dict[str, object], cuts: tuple[int, int | None] | None, **sizes: int) -> list[str]:
    return odd_data.warnings({}, {"train": 5, "val": 0, "test": 0} | sizes, SPAN, cuts, Settings(split=split).split)


def test_splits_that_are_empty_name_the_cuts_and_the_times_of_the_data() -> None:
    fixed = {"val_from": "2030-01-01", "test_from": "2031-01-01"}
    later = Settings(split=fixed).split.fixed_cuts
    assert splits(fixed, later) == [
        "the val and test splits are empty: val_from is 2030-01-01 00:00:00 UTC and test_from is 2031-01-01 00:00:00 "
        "UTC, and exposures are from 1970-01-01 00:00:00 UTC to 1970-01-10 00:00:00 UTC"
    ]
    assert splits(fixed, later, val=1)[0].startswith("the test split is empty: ")
    assert splits({"kind": "time_per_user"}, None) == [
        "the val and test splits are empty: no user has enough exposures for a split of kind time_per_user"
    ]


def test_a_split_that_nobody_asked_for_may_be_empty() -> None:
    assert splits({"val_from": "1970-01-05"}, (4 * DAY, None), val=3) == []
    assert splits({"train": 0.9, "val": 0.1}, (8 * DAY, None), val=3) == []
    assert splits({"train": 0.9, "val": 0}, (8 * DAY, 8 * DAY), test=3) == []
    assert splits({"train": 1.0, "val": 0}, (8 * DAY, None)) == []


# --- Runs


def warnings_of(workspace: Workspace, capfd: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The warnings of a run that ends well, of odd data alone; as said and as the manifest has them."""
    capfd.readouterr()
    assert main(workspace.arguments("--overwrite", *options)) == 0
    found = [line.removeprefix("warning: ") for line in capfd.readouterr().out.splitlines() if "warning: " in line]
    found = [line for line in found if "has no column" not in line and "which is not read" not in line]
    manifest = json.loads((workspace.out / "artifacts/manifest.json").read_text())
    assert manifest.get("warnings", []) == found
    assert found or "warnings" not in manifest
    return found


@pytest.mark.slow
def test_a_run_says_each_oddity_once(
    workspace: Workspace, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TYPES, "popularity", pa.string())
    rows = good_rows()
    durations = [0.0, 0.0, 900_000.0, *[60.0] * (len(rows["videos"]) - 3)]
    rows["videos"] = [
        row | {"video_duration": duration, "popularity": "hot"}
        for row, duration in zip(rows["videos"], durations, strict=True)
    ]
    rows["interactions"] = [row | {"watch_time": 30_000.0, "interaction_type": "like"} for row in rows["interactions"]]
    lasting = [durations[row["video_id"] - 1] for row in rows["interactions"]]  # each of them is an exposure
    watched, above = sum(one > 0 for one in lasting), lasting.count(60.0)
    rows["interactions"] += rows["interactions"][:7]
    rows["users"].append({"user_id": 500, "age": 40, "country": "FR"})  # without interactions, which is legal
    for name, table in rows.items():
        workspace.write(name, table)
    config = workspace.config(
        "split: {val_from: 2030-01-01}\noutput: {users_per_shard: 3, videos_per_shard: 3}\n"
        "counters: {source: as_of}\nlabels: {positive: {like: 1.0, watch: 1.0}}"
    )
    found = warnings_of(workspace, capfd, "--config", config)
    starts = [
        "2 rows of videos have a video_duration of 0, which counts as missing: ",
        "1 row of videos has a video_duration of a day or more; ",
        f"{above} of {watched} exposures have a watch_time above the video_duration; both are read as seconds, so ",
        "each of the 120 views that are counted has a like, ",
        "7 rows of interactions are equal to another one in every column; ",
        "the val split is empty: val_from is 2030-01-01 00:00:00 UTC, and exposures are from 2025-03-01 00:01:00 UTC ",
    ]
    assert len(found) == len(starts)
    for sentence, start in zip(found, starts, strict=True):
        assert sentence.startswith(start)
    counts = json.loads((workspace.out / "artifacts/manifest.json").read_text())["counts"]
    assert counts["positives/watch/train"] == above
    assert counts["features/video_duration_bucket/missing"] == 2


@pytest.mark.slow
def test_usual_data_is_told_nothing_of_nor_what_an_earlier_run_of_the_process_noticed(
    workspace: Workspace, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_cache, "NOTICED", {"elsewhere.parquet": "damaged"})
    assert warnings_of(workspace, capfd) == []


@pytest.mark.usefixtures("unfitted")
def test_a_val_from_before_all_data_says_when_the_data_is(workspace: Workspace, fails: Fails) -> None:
    assert fails("--config", workspace.config("split: {val_from: 2020-01-01, test_from: 2025-03-04}")) == (
        "split.val_from is 2020-01-01 00:00:00 UTC, and no interaction is before it to train on: they are from "
        "2025-03-01 00:01:00 UTC to 2025-03-10 00:12:00 UTC."
    )


@pytest.mark.slow
def test_all_interactions_at_one_time_are_told_of(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    good = good_rows()["interactions"]
    rows = [event(row["user_id"], row["video_id"], 0) | {"interaction_time": START} for row in good]
    workspace.write("interactions", table_of(rows))
    found = warnings_of(workspace, capfd, "--config", workspace.config("split: {val_from: 2025-03-02}"))
    assert "all interactions are at one time, 2025-03-01 00:00:00 UTC, so that nothing is before another" in found
