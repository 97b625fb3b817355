"""Ranking metrics: pure functions over arrays of labels and scores. NaN where a metric is not defined."""

import numpy as np

from recsys_tft.retrieval.retrieval_metrics import gain

NAMES = ("auc", "auc per user", "log loss", "calibration", "ndcg@10")
SLICES = ("all", "warm users", "cold users", "cold videos")
PARTS = ("shown", "sampled")  # positives among the shown negatives, and among those that were drawn
PART_TITLES = {"shown": "shown rows alone", "sampled": "positives and sampled negatives alone"}
_SMALLEST = 1e-7  # at which probabilities are clipped in the log loss


def auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The probability that a positive has a higher score than a negative, ties counted half.

    Args:
        labels: [n] 0 or 1.
        scores: [n] float.
        weights: [n] of rows; 1 by default.
    """
    return Auc(labels, scores)(np.ones(len(labels)) if weights is None else weights)


class Auc:
    """AUC of the same rows for any weights, sorted once.

    Args:
        labels: [n] 0 or 1.
        scores: [n] float.
    """

    def __init__(self, labels: np.ndarray, scores: np.ndarray):
        self._order = np.argsort(scores, kind="stable")
        ordered = scores[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])
        self._positive = labels[self._order] == 1

    def __call__(self, weights: np.ndarray) -> float:
        """With [n] weights; NaN where one class has none."""
        weight = weights[self._order].astype(np.float64)
        if not len(weight):
            return float("nan")
        positive = np.add.reduceat(np.where(self._positive, weight, 0), self._starts)
        negative = np.add.reduceat(np.where(self._positive, 0, weight), self._starts)
        pairs = positive.sum() * negative.sum()
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")


def auc_and_error(owners: np.ndarray, labels: np.ndarray, scores: np.ndarray, users: int) -> tuple[float, float]:
    """AUC over all rows, and its standard error with the rows of a user as a cluster; NaN if one class is missing.

    The component of a row is the share of rows of the other class that are in the right order with it (ties count
    half), minus the AUC; the variance is that of the sums over each user's rows (Obuchowski, Nonparametric analysis of
    clustered ROC curve data, Biometrics 1997), to first order the same as by the bootstrap over users.

    Args:
        owners: [n] int64 user of each row, 0 to users - 1.
        labels: [n] 0 or 1.
        scores: [n] float.
        users: how many there are.
    """
    positive = labels == 1
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(above) or not len(below):
        return float("nan"), float("nan")
    right = np.empty(len(scores))
    right[positive] = _share_below(below, scores[positive])
    right[~positive] = 1 - _share_below(above, scores[~positive])
    value = right[positive].mean()
    sums = np.bincount(owners, (right - value) / np.where(positive, len(above), len(below)), users)
    return float(value), float(np.sqrt(users / max(users - 1, 1) * (sums**2).sum()))


def _share_below(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[n] float64: the share of ordered numbers that are less than each value; equal ones count half."""
    below, up_to = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (below + up_to) / (2 * len(ordered))


def auc_per_user(owners: np.ndarray, labels: np.ndarray, scores: np.ndarray, users: int) -> np.ndarray:
    """[users] float64: the AUC among each user's rows; NaN for a user without both classes.

    By the mean rank of positives (Mann and Whitney): (sum of ranks - P (P + 1) / 2) / (P N), ties at their mean rank.

    Args:
        owners: [n] int64 user of each row, 0 to users - 1.
        labels: [n] 0 or 1.
        scores: [n] float.
        users: how many there are.
    """
    order = np.lexsort((scores, owners))
    owner, score, label = owners[order], scores[order], labels[order]
    begins = np.concatenate([[True], (owner[1:] != owner[:-1]) | (score[1:] != score[:-1])])[: len(owner)]
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(owner))
    first = np.searchsorted(owner, owner)  # the user's first row
    rank = np.repeat((starts + ends + 1) / 2, ends - starts) - first
    positives = np.bincount(owner, label, minlength=users)
    negatives = np.bincount(owner, 1 - label, minlength=users)
    sums = np.bincount(owner, rank * label, minlength=users)
    pairs = positives * negatives
    return np.divide(sums - positives * (positives + 1) / 2, pairs, out=np.full(users, np.nan), where=pairs > 0)


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """[n] float64: minus the log of the probability of each row's label, clipped at 1e-7."""
    right = np.where(labels == 1, probabilities, 1 - probabilities)
    return -np.log(np.clip(right, _SMALLEST, 1))


def ndcg_per_user(owners: np.ndarray, labels: np.ndarray, scores: np.ndarray, users: int, k: int = 10) -> np.ndarray:
    """[users] float64: NDCG@k of each user's rows by score, ties in the order of rows; NaN without a positive.

    The sum of 1 / log2(r + 1) over positives at ranks r <= k, divided by the same sum with all positives first.
    """
    gained = np.bincount(owners, gain(_ranks(owners, -scores), k) * labels, minlength=users)
    best = np.bincount(owners, gain(_ranks(owners, -labels), k) * labels, minlength=users)
    return np.divide(gained, best, out=np.full(users, np.nan), where=best > 0)


def _ranks(owners: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """[n] int64 from 1: the rank of each row among its user's rows by increasing key."""
    order = np.lexsort((keys, owners))
    owner = owners[order]
    ranks = np.empty(len(owners), np.int64)
    ranks[order] = np.arange(len(owners)) - np.searchsorted(owner, owner) + 1
    return ranks
