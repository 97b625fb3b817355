"""Metrics of retrieval over a full candidate set: pure functions over arrays.

Rankings are by descending score, ties by column. Videos that a user has seen are not ranked.
"""

from collections.abc import Mapping

import numpy as np

NAMES = ("recall@10", "recall@100", "ndcg@10", "mrr", "hit@10")
COVERED = 10  # the length of the lists whose union is the coverage
_CELLS = 1 << 22  # scores compared at a time

Pairs = tuple[np.ndarray, np.ndarray]  # [p] int64 rows (users), [p] int64 columns (candidates)


def without_seen(scores: np.ndarray, seen: Pairs) -> np.ndarray:
    """A copy of [users, candidates] scores with minus infinity for seen pairs."""
    left = np.array(scores, np.float64 if scores.dtype == np.float64 else np.float32)
    left[seen] = -np.inf
    return left


def ranks(scores: np.ndarray, relevant: Pairs) -> np.ndarray:
    """[p] int64: the rank, from 1, of each relevant pair among all candidates of its user.

    Args:
        scores: [users, candidates] float, minus infinity for candidates that are not ranked.
        relevant: pairs whose scores are finite.
    """
    rows, columns = relevant
    found = np.empty(len(rows), np.int64)
    size = max(1, _CELLS // max(scores.shape[1], 1))
    for start in range(0, len(rows), size):
        row, column = rows[start : start + size], columns[start : start + size]
        own = scores[row, column][:, None]
        others = scores[row]
        before = np.arange(scores.shape[1]) < column[:, None]
        found[start : start + size] = 1 + (others > own).sum(axis=1) + ((others == own) & before).sum(axis=1)
    return found


def in_top(scores: np.ndarray, k: int = COVERED) -> np.ndarray:
    """[candidates] bool: whether a candidate is among the first k of some user."""
    candidates = scores.shape[1]
    if candidates <= k:
        return np.isfinite(scores).any(axis=0)
    least = np.partition(scores, candidates - k, axis=1)[:, candidates - k, None]
    above, equal = scores > least, scores == least
    room = k - above.sum(axis=1, keepdims=True)
    listed = above | (equal & (np.cumsum(equal, axis=1) <= room))
    return (listed & np.isfinite(scores)).any(axis=0)


def per_user(ranks: np.ndarray, owners: np.ndarray, users: int) -> Mapping[str, np.ndarray]:
    """The metrics of NAMES for each user, [users] float64; NaN for a user without a relevant candidate.

    With R relevant candidates of a user at ranks r:

        recall@k  those with r <= k, over R
        ndcg@k    sum of 1 / log2(r + 1) over r <= k, over the same sum if they had the ranks 1 .. min(R, k)
        mrr       1 / the smallest r
        hit@10    1 if the smallest r <= 10, else 0

    Args:
        ranks: [p] int64 from 1.
        owners: [p] int64, the user of each, 0 to users - 1.
        users: number of users.
    """
    relevant = np.bincount(owners, minlength=users).astype(np.float64)
    relevant[relevant == 0] = np.nan
    first = np.full(users, np.inf)
    np.minimum.at(first, owners, ranks)
    return {
        "recall@10": _sums(ranks <= 10, owners, users) / relevant,
        "recall@100": _sums(ranks <= 100, owners, users) / relevant,
        "ndcg@10": _sums(gain(ranks, 10), owners, users) / _ideal(relevant, 10),
        "mrr": np.where(np.isnan(relevant), np.nan, 1 / first),
        "hit@10": np.where(np.isnan(relevant), np.nan, first <= 10),
    }


def gain(ranks: np.ndarray, k: int) -> np.ndarray:
    """[p] float64: 1 / log2(r + 1) up to rank k, 0 beyond."""
    return np.where(ranks <= k, 1 / np.log2(ranks + 1.0), 0.0)


def _ideal(relevant: np.ndarray, k: int) -> np.ndarray:
    best = np.cumsum(gain(np.arange(1, k + 1), k))
    size = np.nan_to_num(np.minimum(relevant, k), nan=1).astype(np.int64)
    return np.where(np.isnan(relevant), np.nan, best[size - 1])


def _sums(values: np.ndarray, owners: np.ndarray, users: int) -> np.ndarray:
    return np.bincount(owners, values.astype(np.float64), minlength=users)
