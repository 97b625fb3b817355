"""Retrieval metrics, baselines and judgements against slow, plain Python."""

import math
import random

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.retrieval import retrieval_baselines, retrieval_evaluation, retrieval_metrics
from recsys_tft.training import bootstrap

quick = settings(deadline=None, derandomize=True, max_examples=100)
INF = float("inf")


def oracle(scores: list[float], relevant: set[int], seen: set[int]) -> dict[str, float]:
    """One user's metrics: sort, look, count."""
    order = sorted((c for c in range(len(scores)) if c not in seen), key=lambda c: (-scores[c], c))
    hits = [c in relevant for c in order]
    best = sum(1 / math.log2(rank + 2) for rank in range(min(len(relevant), 10)))
    return {
        "recall@10": sum(hits[:10]) / len(relevant),
        "recall@100": sum(hits[:100]) / len(relevant),
        "ndcg@10": sum(1 / math.log2(rank + 2) for rank, hit in enumerate(hits[:10]) if hit) / best,
        "mrr": 1 / (1 + hits.index(True)),
        "hit@10": float(any(hits[:10])),
    }


@st.composite
def users(draw: st.DrawFn) -> tuple[np.ndarray, list[set[int]], list[set[int]]]:
    """Scores with ties, relevant (one at least) and seen candidates of some users."""
    candidates, chance = draw(st.integers(2, 150)), random.Random(draw(st.integers(0, 10**6)))
    scores, relevant, seen = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        scores.append([chance.randint(0, draw(st.sampled_from((1, 5, 1000)))) for _ in range(candidates)])
        places = list(range(candidates))
        chance.shuffle(places)
        size = chance.randint(1, min(15, candidates))
        relevant.append(set(places[:size]))
        seen.append(set(places[size : size + chance.randint(0, 20)]))
    return np.array(scores, np.float32), relevant, seen


def pairs(sets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    flat = [(row, column) for row, columns in enumerate(sets) for column in sorted(columns)]
    rows, columns = np.array(flat, np.int64).reshape(-1, 2).T
    return rows, columns


@quick
@given(users())
def test_metrics_are_the_oracles(case: tuple[np.ndarray, list[set[int]], list[set[int]]]) -> None:
    scores, relevant, seen = case
    left = retrieval_metrics.without_seen(scores, pairs(seen))
    ranks = retrieval_metrics.ranks(left, pairs(relevant))
    found = retrieval_metrics.per_user(ranks, pairs(relevant)[0], len(scores))
    assert set(found) == set(retrieval_metrics.NAMES)
    for user in range(len(scores)):
        expected = oracle(scores[user].tolist(), relevant[user], seen[user])
        assert {name: values[user] for name, values in found.items()} == pytest.approx(expected)


@quick
@given(users(), st.integers(1, 12))
def test_listed_are_the_first_k_of_each_user(case: tuple[np.ndarray, list[set[int]], list[set[int]]], k: int) -> None:
    scores, _, seen = case
    left = retrieval_metrics.without_seen(scores, pairs(seen))
    listed: set[int] = set()
    for user in range(len(scores)):
        order = sorted((c for c in range(scores.shape[1]) if c not in seen[user]), key=lambda c: (-scores[user, c], c))
        listed.update(order[:k])
    assert set(np.flatnonzero(retrieval_metrics.in_top(left, k))) == listed


def test_a_user_without_anything_relevant_does_not_count() -> None:
    found = retrieval_metrics.per_user(np.array([1]), np.array([1]), 3)
    for values in found.values():
        assert values[1] == 1
        assert np.isnan(values[[0, 2]]).all()


def test_intervals_hold_the_mean_and_narrow_with_users() -> None:
    values = np.random.default_rng(0).random(400)
    many, few = bootstrap.mean(values), bootstrap.mean(values[:50])
    assert many.low < many.value < many.high
    assert many.value == pytest.approx(values.mean())
    deviation = values.std() / math.sqrt(400)
    assert many.high - many.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert few.high - few.low > many.high - many.low
    assert bootstrap.mean(np.array([np.nan, 2.0])).users == 1
    assert bootstrap.mean(np.array([np.nan])) == bootstrap.Estimate(None, None, None, 0)


def test_judgements_leave_out_what_was_seen_and_know_who_is_new() -> None:
    split = np.array([7, 7, 9, 8]), np.array([0, 1, 2, 3])
    earlier = np.array([7, 8, 5]), np.array([1, 3, 2])
    judged = retrieval_evaluation.judge(split, earlier, (np.array([7]), np.array([1])), 5, 100, 0)
    assert judged.users.tolist() == [7, 9]  # of user 8 everything was seen
    assert judged.relevant.toarray().tolist() == [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert judged.seen.toarray().tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    assert judged.cold_users.tolist() == [False, True]
    assert judged.cold_videos.tolist() == [True, False, True, True, True]


def test_ndcg_by_groups_is_that_of_the_users_and_videos_in_them() -> None:
    lengths, positives = np.array([0, 1, 4, 5, 20]), np.arange(40)[::-1]
    seen, relevant = np.zeros((5, 40), np.float32), np.zeros((5, 40), np.float32)
    for user, length in enumerate(lengths):
        seen[user, 20 : 20 + length] = 1
        relevant[user, [0, 5 + user, 19]] = 1  # of the first tenth, up to the middle twice
    relevant[1, 39] = 1  # of the other half
    judged = retrieval_evaluation.Judgements(
        np.arange(5), scipy.sparse.csr_matrix(relevant), scipy.sparse.csr_matrix(seen), lengths == 0, positives
    )
    scores = np.random.default_rng(0).random((5, 40))
    ranked = retrieval_evaluation.rank(lambda users: scores[users], judged, 0)
    found = retrieval_evaluation.table(ranked, judged, 0)
    users = {name: own["ndcg@10"]["users"] for name, own in found["by history length"].items()}
    assert users == {"0": 1, "1 to 4": 2, "5 to 19": 1, "20 and more": 1}
    videos = {name: own["ndcg@10"]["users"] for name, own in found["by popularity"].items()}
    assert videos == {"first tenth": 5, "up to the middle": 5, "other half": 1}

    def ndcg(user: int, wanted: list[int]) -> float:
        hidden = np.where(seen[user] > 0, -np.inf, scores[user])
        ranks = [1 + int((hidden > hidden[video]).sum()) for video in wanted]
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, len(wanted) + 1))
        return sum(1 / math.log2(rank + 1) for rank in ranks if rank <= 10) / ideal

    whole = [ndcg(user, np.flatnonzero(relevant[user]).tolist()) for user in (1, 2)]
    assert found["by history length"]["1 to 4"]["ndcg@10"]["value"] == pytest.approx(np.mean(whole))
    first = [ndcg(user, [0]) for user in range(5)]
    assert found["by popularity"]["first tenth"]["ndcg@10"]["value"] == pytest.approx(np.mean(first))


def test_a_perfect_scorer_is_perfect_and_equal_scores_are_in_a_random_order() -> None:
    rng = np.random.default_rng(1)
    matrix = scipy.sparse.csr_matrix((rng.random((300, 40)) < 0.1).astype(np.float32))
    kept = np.flatnonzero(np.diff(matrix.indptr))
    nothing = scipy.sparse.csr_matrix((len(kept), 40), dtype=np.float32)
    cold = np.zeros(len(kept), bool)
    judged = retrieval_evaluation.Judgements(kept, matrix[kept], nothing, cold, np.ones(40, np.int64))
    truth = matrix[kept].toarray()
    perfect = retrieval_evaluation.rank(lambda users: truth[users], judged, 0)
    assert retrieval_evaluation.ndcg(perfect, judged) == 1
    flat = retrieval_evaluation.rank(lambda users: np.zeros((len(users), 40)), judged, 0)
    assert flat.coverage == 10 / 40
    assert 0.15 < retrieval_evaluation.table(flat, judged, 0)["all"]["recall@10"]["value"] < 0.35


def test_warm_alone_is_what_is_left_without_cold_users_and_videos() -> None:
    rng = np.random.default_rng(2)
    scores = rng.random((60, 30)).astype(np.float32)  # and no ties
    relevant, seen = rng.random((60, 30)) < 0.2, rng.random((60, 30)) < 0.1
    relevant &= ~seen
    cold_users, cold_videos = rng.random(60) < 0.3, rng.random(30) < 0.3
    kept = np.flatnonzero(relevant.any(axis=1))
    matrices = (scipy.sparse.csr_matrix(of[kept].astype(np.float32)) for of in (relevant, seen))
    judged = retrieval_evaluation.Judgements(kept, *matrices, cold_users[kept], (~cold_videos).astype(np.int64))
    found = retrieval_evaluation.warm_alone(lambda users: scores[kept][users], judged, 0)
    warm = np.flatnonzero(~cold_videos)
    expected = [
        oracle(
            scores[user, warm].tolist(), {*np.flatnonzero(relevant[user, warm])}, {*np.flatnonzero(seen[user, warm])}
        )
        for user in kept
        if not cold_users[user] and relevant[user, warm].any()
    ]
    for name in retrieval_metrics.NAMES:
        assert found[name]["users"] == len(expected) > 20
        assert found[name]["value"] == pytest.approx(np.mean([of_user[name] for of_user in expected]))


def test_item_knn_is_the_sum_of_the_nearest_cosines() -> None:
    rng = np.random.default_rng(2)
    training = (rng.random((30, 12)) < 0.3).astype(np.float32)
    counts, k = training.sum(axis=0), 4
    scorer = retrieval_baselines.item_knn(*[scipy.sparse.csr_matrix(training)] * 2, counts, k)
    cosine = [
        [
            float(training[:, i] @ training[:, j] / math.sqrt(counts[i] * counts[j])) if counts[i] and counts[j] else 0
            for j in range(12)
        ]
        for i in range(12)
    ]
    expected = np.zeros((30, 12))
    for j in range(12):
        nearest = sorted((i for i in range(12) if i != j), key=lambda i: (-cosine[j][i], i))[:k]
        for user in range(30):
            expected[user, j] = sum(cosine[j][i] for i in nearest if training[user, i])
    assert scorer(np.arange(30)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("block", [1024, 4])
def test_ease_is_the_ridge_regression_of_each_video_on_the_others(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval_baselines, "_ROWS", block)  # of the matrix at a time
    rng = np.random.default_rng(3)
    training = (rng.random((40, 9)) < 0.3).astype(np.float32)
    training[:, 4] = 0  # nobody was positive on it
    l2, counts = 2.5, training.sum(axis=0)
    weights = retrieval_baselines.ease_weights(scipy.sparse.csr_matrix(training), l2)
    for video in range(9):
        others = [other for other in range(9) if other != video]
        features = training[:, others].astype(np.float64)
        expected = np.linalg.solve(features.T @ features + l2 * np.eye(8), features.T @ training[:, video])
        assert weights[others, video] == pytest.approx(expected, abs=1e-6)
        assert weights[video, video] == 0
    history = (rng.random((5, 9)) < 0.4).astype(np.float32)
    history[0] = 0
    scores = retrieval_baselines.ease(weights, scipy.sparse.csr_matrix(history), counts)(np.arange(5))
    assert scores == pytest.approx(history @ weights, abs=1e-5)
    assert (np.argsort(-scores[0], kind="stable") == np.argsort(-counts, kind="stable")).all()


@quick
@given(st.integers(0, 10**6), st.sampled_from((1, 7)))
def test_recent_popularity_counts_what_lies_before_each_query(seed: int, days: int) -> None:
    rng, candidates, hour = np.random.default_rng(seed), 6, 3600 * 10**6
    videos, counts = rng.integers(0, candidates - 1, 60), rng.integers(0, 5, candidates)
    times, moments = (rng.integers(0, 24 * 20, size) * hour for size in (60, 8))
    times[:2], moments[0] = [moments[0], moments[0] - days * 24 * hour], moments[0]  # both edges are met
    scorer = retrieval_baselines.recent_popularity(videos, times, moments, counts, days)
    users = np.array([0, 3, 4, 7])
    found = scorer(users)
    for row, user in zip(found, users, strict=True):
        expected = [
            int(((videos == video) & (times >= moments[user] - days * 24 * hour) & (times < moments[user])).sum())
            for video in range(candidates)
        ]
        assert row.astype(int).tolist() == expected
        assert np.lexsort((-counts, [-e for e in expected])).tolist() == np.argsort(-row, kind="stable").tolist()


def test_popularity_and_random_score_everyone() -> None:
    assert retrieval_baselines.popularity(np.array([3, 1]))(np.arange(2)).tolist() == [[3, 1], [3, 1]]
    first, again = (retrieval_baselines.random(50, 0)(np.arange(3)) for _ in range(2))
    assert (first == again).all()
    assert (first[0] != first[1]).any()
