"""The baselines of the ranker, drifts of labels, and AUC's standard error, against plain Python."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.ranking import ranking_baselines, ranking_judgement, ranking_metrics
from recsys_tft.ranking.ranker_rows import RankerRows
from recsys_tft.training import bootstrap

quick = settings(deadline=None, derandomize=True, max_examples=60)
DAY = 86_400_000_000
Row = tuple[int, int, int, int, bool]  # user, video, hours, label, shown
ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 1000), st.integers(0, 1), st.booleans()), max_size=30
)
KEYS = ("user_id", "video_id", "interaction_time", "label", "shown")


def keys_of(rows: list[Row]) -> dict[str, np.ndarray]:
    columns = dict(zip(KEYS, np.array(rows, np.int64).reshape(-1, 5).T, strict=True))
    columns["interaction_time"] = columns["interaction_time"] * (DAY // 24)
    return columns | {"shown": columns["shown"].astype(bool), "weight": np.ones(len(rows))}


@quick
@given(ROWS, ROWS, st.sampled_from([None, *ranking_baselines.RECENT_DAYS]))
def test_likes_so_far_are_those_strictly_before(train: list[Row], val: list[Row], days: int | None) -> None:
    splits = [keys_of([*train, (0, 0, 5, 1, True)]), keys_of(val)]
    likes = ranking_baselines.LikesSoFar(*splits)
    every = [*train, (0, 0, 5, 1, True), *val]
    for keys, rows in zip(splits, (every[: len(train) + 1], val), strict=True):
        expected = [
            sum(v == video and label and hours - (days or 10_000) * 24 <= h < hours for _, v, h, label, _ in every)
            for _, video, hours, _, _ in rows
        ]
        assert likes(keys, days).tolist() == expected


@quick
@given(ROWS, ROWS)
def test_means_and_popularity_are_of_training_rows(train: list[Row], asked: list[Row]) -> None:
    train = [*train, (0, 0, 0, 1, True)]
    training, keys = keys_of(train), keys_of(asked)
    shown = [row for row in train if row[4]]
    told = shown if {row[3] for row in shown} == {0, 1} else train
    mean = np.mean([row[3] for row in told])
    found = ranking_baselines.item_and_user_means(training, keys)
    popularity = ranking_baselines.popularity(training, keys)
    for place, row in enumerate(asked):
        own = [[other[3] for other in told if other[of] == row[of]] for of in (0, 1)]
        assert found[place] == pytest.approx(sum((sum(labels) + 5 * mean) / (len(labels) + 5) for labels in own))
        assert popularity[place] == sum(label for _, video, _, label, _ in train if video == row[1])


def test_the_days_are_those_that_tell_most_on_val() -> None:
    def rows(day: int, video: int, label: int, times: int) -> list[Row]:
        return [(user, video, 24 * day, label, True) for user in range(times)]

    earlier = [*rows(0, 1, 1, 9), *rows(25, 2, 1, 5), *rows(29, 3, 1, 2)]
    for liked, days in ((1, 30), (2, 7), (3, 1)):
        val = keys_of([row for video in (1, 2, 3) for row in rows(30, video, int(video == liked), 3)])
        likes = ranking_baselines.LikesSoFar(keys_of(earlier))
        assert ranking_baselines.best_days(likes, val) == days


def test_the_standard_error_of_auc_is_that_of_the_bootstrap_over_users() -> None:
    random = np.random.default_rng(3)
    owners = np.repeat(np.arange(150), random.integers(1, 30, 150))
    taste = random.normal(size=150)[owners]
    labels = (random.normal(size=len(owners)) + taste > 0).astype(np.int64)
    scores = np.round(labels * 0.7 + taste * 0.5 + random.normal(size=len(owners)), 1)
    value, error = ranking_metrics.auc_and_error(owners, labels, scores, 150)
    weighted = ranking_metrics.Auc(labels, scores)
    assert value == pytest.approx(weighted(np.ones(len(owners))))
    drawn = [np.bincount(own, minlength=150)[owners] for own in bootstrap.draws(150, 1000, 0)]
    assert error == pytest.approx(np.std([weighted(times) for times in drawn]), rel=0.1)


def splits(rates: dict[str, float], sampled: bool = False) -> dict[str, RankerRows]:
    """200 users of 20 shown rows each; and as many sampled ones."""
    found = {}
    for number, (split, rate) in enumerate(rates.items()):
        labels = (np.random.default_rng(number).random(4000) < rate).astype(np.int64)
        rows = [(row % 200, 0, 0, int(label), True) for row, label in enumerate(labels)]
        rows += [(row % 200, 0, 0, 0, False) for row in range(4000)] if sampled else []
        found[split] = RankerRows(keys_of(rows), pd.DataFrame(index=range(len(rows))))
    return found


@pytest.mark.parametrize("sampled", [False, True])
def test_a_drift_of_labels_is_told_and_noise_is_not(sampled: bool) -> None:
    assert ranking_judgement.drifts(splits({"train": 0.3, "val": 0.3, "test": 0.3}, sampled)) == []
    rows = splits({"train": 0.3, "val": 0.3, "test": 0.4}, sampled)
    found = ranking_judgement.drifts(rows)
    assert len(found) == 1 + sampled
    assert all(text.startswith("test: ") and "in training" in text for text in found)
    now, before = (rows[split].keys["label"][:4000].mean() for split in ("test", "train"))
    assert f"{now:.1%}" in found[-1]
    assert f"{before:.1%}" in found[-1]
    assert ("shown rows" in found[-1]) == sampled


def test_labels_that_follow_users_are_no_drift() -> None:
    """Two users differ by all their rows, of which each split has other ones."""
    users = np.random.default_rng(0).random(30)

    def part(chosen: range) -> RankerRows:
        rows = [(user, 0, 0, int(users[user] > 0.5), True) for user in chosen for _ in range(100)]
        return RankerRows(keys_of(rows), pd.DataFrame(index=range(len(rows))))

    rows = {"train": part(range(20)), "val": part(range(20, 30)), "test": part(range(0))}
    assert ranking_judgement.drifts(rows) == []
