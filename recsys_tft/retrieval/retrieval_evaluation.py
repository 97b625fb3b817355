"""Evaluation of retrieval on a split: models and baselines rank every candidate for every user."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse

from recsys_tft.retrieval import retrieval_metrics
from recsys_tft.retrieval.retrieval_baselines import Scorer
from recsys_tft.training import bootstrap

SLICES = ("all", "warm users", "cold users", "cold videos")
WARM = "warm alone"  # as in protocols without cold users and cold videos
NDCG = "ndcg@10"
HISTORY_LENGTHS = (0, 1, 5, 20)  # lower bounds of groups of users
POPULARITY = {"first tenth": 0.0, "up to the middle": 0.1, "other half": 0.5}  # lower bounds of groups of videos
BY_HISTORY_LENGTH, BY_POPULARITY = "by history length", "by popularity"
_CELLS = 1 << 23  # scores in memory at a time


@dataclasses.dataclass(frozen=True)
class Judgements:
    """The relevant videos of the users of a split.

    Attributes:
        users: [n] int64 ids of the users with a relevant video, increasing.
        relevant: [n, candidates] the videos that the user is positive on in the split, and was not before.
        seen: [n, candidates] the videos that the user is positive on in an earlier split, which are not ranked.
        cold_users: [n] bool, whether the user has no training positive.
        positives: [candidates] int64, training positives of each video.
    """

    users: np.ndarray
    relevant: scipy.sparse.csr_matrix
    seen: scipy.sparse.csr_matrix
    cold_users: np.ndarray
    positives: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    @property
    def cold_videos(self) -> np.ndarray:
        """[candidates] bool, whether the video has no training positive."""
        return self.positives == 0

    @property
    def owners(self) -> np.ndarray:
        """[p] int64 users of the relevant pairs, by number."""
        return np.repeat(np.arange(len(self)), np.diff(self.relevant.indptr))

    def by_history_length(self) -> dict[str, np.ndarray]:
        """[p] bool for each group of users by the number of videos that they were positive on before the split."""
        lengths, ends = np.diff(self.seen.indptr)[self.owners], (*HISTORY_LENGTHS[1:], np.inf)
        return {
            _range(low, end): (lengths >= low) & (lengths < end) for low, end in zip(HISTORY_LENGTHS, ends, strict=True)
        }

    def by_popularity(self) -> dict[str, np.ndarray]:
        """[p] bool for each group of relevant videos by their popularity rank, by training positives."""
        place = np.empty(len(self.positives), np.int64)
        place[np.argsort(-self.positives, kind="stable")] = np.arange(len(place))
        shares, ends = (place / len(place))[self.relevant.indices], (*list(POPULARITY.values())[1:], 1)
        begun = zip(POPULARITY.items(), ends, strict=True)
        return {name: (shares >= low) & (shares < end) for (name, low), end in begun}


def _range(low: int, end: float) -> str:
    if end == np.inf:
        return f"{low} and more"
    return str(low) if end == low + 1 else f"{low} to {end - 1}"


def pairs_matrix(users: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], candidates: int) -> scipy.sparse.csr_matrix:
    """[users, candidates] 1 for each pair of a user id and a candidate; pairs of other users are dropped.

    Args:
        users: [n] int64 ids, increasing.
        pairs: [p] int64 user ids, and [p] int64 candidates.
        candidates: number of candidates.
    """
    place = np.searchsorted(users, pairs[0])
    known = place < len(users)
    known[known] = users[place[known]] == pairs[0][known]
    codes = np.unique(place[known] * candidates + pairs[1][known])
    ones = np.ones(len(codes), np.float32)
    return scipy.sparse.csr_matrix((ones, divmod(codes, candidates)), shape=(len(users), candidates))


def judge(
    split: tuple[np.ndarray, np.ndarray],
    earlier: tuple[np.ndarray, np.ndarray],
    training: tuple[np.ndarray, np.ndarray],
    candidates: int,
    most: int,
    seed: int,
) -> Judgements:
    """Judgements from pairs of user ids and candidates: of the split, of all earlier splits, and of training.

    At most `most` users are evaluated, drawn by the seed.
    """
    users = np.unique(split[0])
    relevant, seen = (pairs_matrix(users, pairs, candidates) for pairs in (split, earlier))
    relevant = relevant - relevant.multiply(seen)
    relevant.eliminate_zeros()
    kept = np.flatnonzero(np.diff(relevant.tocsr().indptr) > 0)
    if len(kept) > most:
        kept = np.sort(np.random.default_rng(seed).choice(kept, most, replace=False))
    positives = np.bincount(training[1], minlength=candidates)
    cold_users = ~np.isin(users[kept], training[0])
    return Judgements(users[kept], relevant.tocsr()[kept], seen[kept], cold_users, positives)


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The ranks of relevant videos by one scorer.

    Attributes:
        ranks: [p] int64 from 1, of the relevant pairs in the order of `Judgements.relevant`.
        coverage: the share of candidates that are among the first ten of some user.
    """

    ranks: np.ndarray
    coverage: float


def rank(scorer: Scorer, judged: Judgements, seed: int) -> Ranked:
    """Rank all candidates for all users; ties are in a random order that is equal for all scorers.

    Args:
        scorer: scores of all candidates for numbers of users.
        judged: the relevant videos.
        seed: of the order of ties.
    """
    candidates = judged.relevant.shape[1]
    order = np.random.default_rng(seed).permutation(candidates)
    place = np.argsort(order)
    size = max(1, _CELLS // candidates)
    covered = np.zeros(candidates, bool)
    found = []
    for start in range(0, len(judged), size):
        users = np.arange(start, min(start + size, len(judged)))
        seen, relevant = (_placed(matrix[users], place) for matrix in (judged.seen, judged.relevant))
        scores = retrieval_metrics.without_seen(scorer(users)[:, order], seen)
        found.append(retrieval_metrics.ranks(scores, relevant))
        covered |= retrieval_metrics.in_top(scores)
    return Ranked(np.concatenate([np.zeros(0, np.int64), *found]), float(covered.mean()))


def _placed(matrix: scipy.sparse.csr_matrix, place: np.ndarray) -> retrieval_metrics.Pairs:
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return rows, place[matrix.indices]


def ndcg(ranked: Ranked, judged: Judgements) -> float:
    """The mean NDCG@10 over users; 0 without any."""
    values = retrieval_metrics.per_user(ranked.ranks, judged.owners, len(judged))[NDCG]
    return float(np.nanmean(values)) if len(values) else 0.0


def table(ranked: Ranked, judged: Judgements, seed: int) -> dict[str, Any]:
    """The metrics with their confidence intervals, by slice; NDCG by groups; and the coverage."""
    owners = judged.owners
    chosen = {
        "all": np.ones(len(owners), bool),
        "warm users": ~judged.cold_users[owners],
        "cold users": judged.cold_users[owners],
        "cold videos": judged.cold_videos[judged.relevant.indices],
    }
    found: dict[str, Any] = {"coverage": ranked.coverage}
    for name, rows in chosen.items():
        values = retrieval_metrics.per_user(ranked.ranks[rows], owners[rows], len(judged))
        found[name] = _estimates(values, seed)
    groups = {BY_HISTORY_LENGTH: judged.by_history_length(), BY_POPULARITY: judged.by_popularity()}
    for name, masks in groups.items():
        found[name] = {}
        for group, rows in masks.items():
            values = retrieval_metrics.per_user(ranked.ranks[rows], owners[rows], len(judged))
            found[name][group] = _estimates({NDCG: values[NDCG]}, seed)
    return found


def warm_alone(scorer: Scorer, judged: Judgements, seed: int) -> dict[str, Any]:
    """The metrics over users and videos with a training positive, ranked among such videos alone."""
    rows, columns = judged.relevant.nonzero()
    kept = ~judged.cold_users[rows] & ~judged.cold_videos[columns]
    owners, ones = rows[kept], np.ones(kept.sum(), np.float32)
    relevant = scipy.sparse.csr_matrix((ones, (owners, columns[kept])), shape=judged.relevant.shape)
    unranked = np.where(judged.cold_videos, -np.inf, 0).astype(np.float32)
    ranked = rank(lambda users: scorer(users) + unranked, dataclasses.replace(judged, relevant=relevant), seed)
    return _estimates(retrieval_metrics.per_user(ranked.ranks, owners, len(judged)), seed)


def _estimates(values: Mapping[str, np.ndarray], seed: int) -> dict[str, Any]:
    return {name: dataclasses.asdict(bootstrap.mean(of_users, seed=seed)) for name, of_users in values.items()}
