"""The gate of bench.quality: what is scored by hand, and when the ranker passes."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import by_hand, quality

quick = settings(deadline=None, derandomize=True, max_examples=50)
EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9), st.integers(0, 1)), min_size=1)


def frame(events: list[tuple[int, int, int, int]]) -> pd.DataFrame:
    found = pd.DataFrame(events, columns=["user_id", "video_id", "time", "label"])
    return found.assign(split=np.where(found["time"] < 6, "train", np.where(found["time"] < 8, "val", "test")))


@quick
@given(EVENTS)
def test_what_is_as_of_a_row_is_counted_from_earlier_rows_alone(events: list[tuple[int, int, int, int]]) -> None:
    rows = frame(events)
    positives, counts = by_hand.before(rows, rows, ["video_id", "user_id"])
    for place, (user, video, time, _) in enumerate(events):
        earlier = [label for u, v, t, label in events if (u, v) == (user, video) and t < time]
        assert (positives[place], counts[place]) == (sum(earlier), len(earlier))


@quick
@given(EVENTS)
def test_means_of_training_know_no_other_split(events: list[tuple[int, int, int, int]]) -> None:
    rows = frame([*events, (0, 0, 0, 1)])
    found = by_hand.baselines(rows)
    changed = rows.assign(label=np.where(rows["split"] == "train", rows["label"], 1 - rows["label"]))
    for name in ("item mean + user mean", "popularity"):
        np.testing.assert_array_equal(found[name], by_hand.baselines(changed)[name])
    training = rows[rows["split"] == "train"]
    for place, (user, video) in enumerate(zip(rows["user_id"], rows["video_id"], strict=True)):
        own = [training[training[key] == value]["label"] for key, value in (("user_id", user), ("video_id", video))]
        mean = training["label"].mean()
        expected = sum((part.sum() + 5 * mean) / (len(part) + 5) for part in own)
        assert found["item mean + user mean"][place] == pytest.approx(expected)
        assert found["popularity"][place] == own[1].sum()


def test_columns_that_are_missing_throughout_are_left_out() -> None:
    rows = frame([(user, video, user + video, (user + video) % 2) for user in range(4) for video in range(4)])
    users = pd.DataFrame({"user_id": range(4), "age": [None] * 4, "country": ["DE", None, "FR", "DE"]})
    videos = pd.DataFrame({"video_id": range(4), "category": ["a", "b", "a", None], "tags": [None] * 4})
    full = videos.assign(tags=[["x", "y"], ["x"], [], None], published_at=[0, 1, 2, 3])
    found, more = (by_hand.features(rows, users, table) for table in (videos.assign(published_at=None), full))
    assert list(found["country"][:8:4]) == ["DE", ""]
    assert not {"age", "mean user_id tags", "days since published"} & set(found)
    assert {"mean user_id category", "count video_id", "hour"} <= set(found)
    assert {"mean user_id tags", "days since published"} <= set(more)
    assert more["seen user_id tags"].isna().tolist() == [video > 1 for video in rows["video_id"]]


def test_a_better_ranker_passes_and_one_that_is_equal_passes_the_peer_alone() -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"user_id": np.repeat(range(40), 20), "split": "val", "label": random.integers(0, 2, 800)})
    good = rows["label"].to_numpy() + random.normal(0, 0.5, 800)
    bad = random.normal(size=800)
    found = quality.compare(rows, [good], {"likes so far": [bad], quality.PEER: [bad, bad]})
    assert np.stack(found["passed"]).all()
    assert (np.stack(found["low"]) > 0).all()
    found = quality.compare(rows, [good, good], {"likes so far": [good], quality.PEER: [good]})
    assert np.stack(found["passed"]).tolist() == [[False, False], [True, True]]
    assert not np.stack(quality.compare(rows, [bad], {quality.PEER: [good]})["passed"]).any()
    assert "FAIL" in quality.markdown(found, "rows")


def test_users_without_both_labels_count_in_auc_and_not_per_user() -> None:
    rows = pd.DataFrame({"user_id": [0, 0, 1, 1], "label": [1, 0, 1, 1]})
    scores = np.array([2.0, 1.0, 0.0, 3.0])
    found = quality.resampled(rows, [scores], np.array([[1, 1], [1, 0], [2, 1]]))
    assert found[:, 1].tolist() == [1, 1, 1]
    assert found[:2, 0].tolist() == [pytest.approx(2 / 3), 1]
    assert found[2, 0] == pytest.approx(3 / 4)


def test_wide_rows_say_by_a_flag_alone_what_was_liked(tmp_path) -> None:
    for name in ("users", "videos", "channels"):
        pd.DataFrame({"x": [1]}).to_parquet(tmp_path / f"{name}.parquet")
    times = pd.to_datetime([1_000_000, 2_000_000], unit="us", utc=True)
    events = {"user_id": [1, 2], "video_id": [3, 4], "interaction_time": times, "interaction_type": ["like", "watch"]}
    pd.DataFrame(events | {"watch_time": None}).to_parquet(tmp_path / "interactions.parquet")
    found = pd.read_parquet(quality.wide(tmp_path, tmp_path / "wide") / "interactions.parquet")
    assert found.to_dict("list") == {
        "user_id": [1, 2],
        "video_id": [3, 4],
        "rated_at": [1_000_000, 2_000_000],
        "liked": [True, False],
    }
