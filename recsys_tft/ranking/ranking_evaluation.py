"""Scores of the ranker's rows judged: for the model and for baselines alike, with intervals over users."""

import dataclasses
from typing import Any

import numpy as np

from recsys_tft.ranking import ranking_metrics
from recsys_tft.training import bootstrap
from recsys_tft.training.bootstrap import Estimate

_SAMPLES = 200  # of users for the metrics of all rows, which take a pass over the rows each


@dataclasses.dataclass(frozen=True)
class Judged:
    """The rows that are judged.

    Attributes:
        owners: [n] int64, the number of each row's user.
        users: how many there are.
        labels: [n] 0 or 1.
        weights: [n] of the rows in the log loss and the calibration, as in training.
        cold_users: [n] bool, whether the row's user has no training row.
        cold_videos: [n] bool, whether the row's video has none.
    """

    owners: np.ndarray
    users: int
    labels: np.ndarray
    weights: np.ndarray
    cold_users: np.ndarray
    cold_videos: np.ndarray

    def slices(self) -> dict[str, np.ndarray]:
        """Which rows are in each slice."""
        every = np.ones(len(self.owners), bool)
        masks = (every, ~self.cold_users, self.cold_users, self.cold_videos)
        return dict(zip(ranking_metrics.SLICES, masks, strict=True))


def table(judged: Judged, scores: np.ndarray, are_probabilities: bool, seed: int) -> dict[str, Any]:
    """The metrics of [n] scores with their confidence intervals, by slice.

    Log loss is the weighted mean over rows; calibration the sum of weighted probabilities over that of positives, so 1
    is right. Both are left out where scores are no probabilities.
    """
    found = {}
    order = np.random.default_rng(seed).permutation(
        len(scores)
    )  # of equal scores: rows themselves are in order of time
    for name, mask in judged.slices().items():
        rows = order[mask[order]]
        users, owners = np.unique(judged.owners[rows], return_inverse=True)
        values = _orders(owners, len(users), judged.labels[rows], scores[rows], seed)
        if are_probabilities and len(users):
            weights = judged.weights[rows].astype(np.float64)
            values |= _probabilities(owners, len(users), judged.labels[rows], scores[rows], weights, seed)
        else:
            values |= dict.fromkeys(("log loss", "calibration"), Estimate(None, None, None, len(users)))
        found[name] = {metric: dataclasses.asdict(estimate) for metric, estimate in values.items()}
    return found


def _orders(owners: np.ndarray, users: int, labels: np.ndarray, scores: np.ndarray, seed: int) -> dict[str, Estimate]:
    aucs = ranking_metrics.auc_per_user(owners, labels, scores, users)
    ndcgs = ranking_metrics.ndcg_per_user(owners, labels, scores, users)
    return {
        "auc": _auc(owners, users, labels, scores, seed),
        "auc per user": bootstrap.mean(aucs, seed=seed),
        "ndcg@10": bootstrap.mean(ndcgs, seed=seed),
    }


def _probabilities(
    owners: np.ndarray, users: int, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, seed: int
) -> dict[str, Estimate]:
    sums = (weights * ranking_metrics.log_loss(labels, scores), weights, weights * scores, weights * labels)
    loss, total, predicted, positive = (np.bincount(owners, values, minlength=users) for values in sums)
    return {
        "log loss": bootstrap.ratio(loss, total, seed=seed),
        "calibration": bootstrap.ratio(predicted, positive, seed=seed),
    }


def _auc(owners: np.ndarray, users: int, labels: np.ndarray, scores: np.ndarray, seed: int) -> Estimate:
    """AUC over all rows; the interval is over users."""
    weighted = ranking_metrics.Auc(labels, scores)
    value = weighted(np.ones(len(labels)))
    if np.isnan(value):
        return Estimate(None, None, None, users)
    times = (np.bincount(drawn, minlength=users) for drawn in bootstrap.draws(users, _SAMPLES, seed))
    samples = np.array([weighted(own[owners]) for own in times])
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return Estimate(value, float(low), float(high), users)
