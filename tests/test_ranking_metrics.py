"""Ranking metrics against slow, plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.ranking import ranking_evaluation, ranking_metrics

quick = settings(deadline=None, derandomize=True, max_examples=100)
Row = tuple[int, int, int]  # user, label, score
ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=60)


def slow_auc(rows: list[Row]) -> float:
    won = [
        1.0 if one > other else 0.5 if one == other else 0.0
        for _, label, one in rows
        if label
        for _, second, other in rows
        if not second
    ]
    return sum(won) / len(won) if won else math.nan


def slow_ndcg(rows: list[Row]) -> float:
    gains = [label / math.log2(rank + 2) for rank, (_, label, _) in enumerate(sorted(rows, key=lambda r: -r[2])[:10])]
    best = [1 / math.log2(rank + 2) for rank in range(min(10, sum(label for _, label, _ in rows)))]
    return sum(gains) / sum(best) if best else math.nan


@quick
@given(ROWS)
def test_auc_and_ndcg_are_the_oracles(rows: list[Row]) -> None:
    owners, labels, scores = np.array(rows).T
    assert ranking_metrics.auc(labels, scores) == pytest.approx(slow_auc(rows), nan_ok=True)
    aucs = ranking_metrics.auc_per_user(owners, labels, scores, 5)
    ndcgs = ranking_metrics.ndcg_per_user(owners, labels, scores, 5)
    for user in range(5):
        own = [row for row in rows if row[0] == user]
        assert aucs[user] == pytest.approx(slow_auc(own), nan_ok=True)
        assert ndcgs[user] == pytest.approx(slow_ndcg(own), nan_ok=True)


@quick
@given(ROWS, st.data())
def test_weighted_auc_counts_rows_as_often_as_their_weight(rows: list[Row], data: st.DataObject) -> None:
    _, labels, scores = np.array(rows).T
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    repeated = [row for row, weight in zip(rows, weights, strict=True) for _ in range(weight)]
    assert ranking_metrics.auc(labels, scores, weights) == pytest.approx(slow_auc(repeated), nan_ok=True)


def test_log_loss_is_finite_and_right() -> None:
    found = ranking_metrics.log_loss(np.array([1, 0, 1]), np.array([0.5, 0.2, 0.0]))
    assert found.tolist() == pytest.approx([-math.log(0.5), -math.log(0.8), -math.log(1e-7)])


def judged(rows: list[Row], weighted: bool = False, drawn: list[int] | None = None) -> ranking_evaluation.Judged:
    owners, labels, _ = np.array(rows).T
    weights = np.where(labels == 1, 0.5, 1) if weighted else np.ones(len(rows))
    cold_videos, shown = np.zeros(len(rows), bool), np.ones(len(rows), bool)
    shown[drawn or []] = False
    return ranking_evaluation.Judged(owners, int(owners.max()) + 1, labels, weights, owners == 0, cold_videos, shown)


def test_log_loss_and_calibration_are_weighted_as_training_is() -> None:
    rows = [(0, 1, 0), (0, 0, 0), (1, 1, 0), (1, 0, 0)]
    found = ranking_evaluation.table(judged(rows, weighted=True), np.array([0.2, 0.4, 0.2, 0.4]), True, 0)["all"]
    expected = (0.5 * -math.log(0.2) - math.log(0.6)) / 1.5
    assert found["log loss"]["value"] == pytest.approx(expected)
    assert found["calibration"]["value"] == pytest.approx((0.5 * 0.2 + 0.4) / 0.5)


def test_calibration_is_predicted_over_seen_and_slices_are_apart() -> None:
    rows = [(0, 1, 1), (0, 0, 0), (1, 1, 1), (1, 0, 2), (1, 0, 0), (1, 0, 0)]
    found = ranking_evaluation.table(judged(rows), np.array([0.8, 0.2, 0.5, 0.5, 0.5, 0.5]), True, 0)
    assert found["all"]["calibration"]["value"] == pytest.approx(3 / 2)
    assert found["cold users"]["calibration"]["value"] == pytest.approx(1)
    assert found["warm users"]["calibration"]["value"] == pytest.approx(2)
    assert found["cold users"]["auc"]["value"] == 1
    assert found["warm users"]["auc"]["value"] == 0.5
    assert found["all"]["auc per user"]["value"] == 0.75
    assert found["cold videos"]["auc"]["value"] is None


def test_shown_and_sampled_negatives_are_judged_apart() -> None:
    rows = [(0, 1, 2), (0, 0, 3), (0, 0, 1), (0, 1, 5), (0, 0, 4)]
    scores = np.array([0.2, 0.3, 0.1, 0.5, 0.4])
    found = ranking_evaluation.table(judged(rows, drawn=[2, 4]), scores, True, 0)
    assert found["shown"]["auc"]["value"] == found["shown"]["auc per user"]["value"] == 0.5
    assert found["sampled"]["auc"]["value"] == 0.75
    assert found["all"]["auc"]["value"] == pytest.approx(4 / 6)
    assert {found[part]["log loss"]["value"] for part in ("shown", "sampled")} == {None}
    alone = ranking_evaluation.table(judged(rows), scores, True, 0)
    assert alone["shown"]["auc"] == alone["all"]["auc"]
    assert alone["sampled"]["auc"]["value"] is None


def test_what_is_no_probability_has_no_log_loss() -> None:
    found = ranking_evaluation.table(judged([(0, 1, 1), (0, 0, 0)]), np.array([7.0, -1.0]), False, 0)
    assert found["all"]["log loss"]["value"] is None
    assert found["all"]["auc"]["value"] == 1


def test_equal_scores_earn_nothing_by_the_order_of_rows() -> None:
    rows = [(user, int(row < 5), 0) for user in range(200) for row in range(50)]  # positives first
    found = ranking_evaluation.table(judged(rows), np.zeros(len(rows)), False, 0)
    assert found["all"]["ndcg@10"]["value"] < 0.25
