"""Metrics of the ranker's rows, for the model and for baselines, with confidence intervals over users."""

import dataclasses
from typing import Any

import numpy as np

from recsys_tft.ranking import ranking_metrics
from recsys_tft.training import bootstrap
from recsys_tft.training.bootstrap import Estimate

_ERRORS = 1.96  # standard errors of a 95 % interval


@dataclasses.dataclass(frozen=True)
class Judged:
    """The rows that are evaluated.

    Attributes:
        owners: [n] int64, the number of each row's user.
        users: the number of users.
        labels: [n] 0 or 1.
        weights: [n] weights in the log loss and the calibration, as in training.
        cold_users: [n] bool, whether the row's user has no training row.
        cold_videos: [n] bool, whether the row's video has none.
        shown: [n] bool, whether the row's video was shown to the user; else it is a sampled negative.
    """

    owners: np.ndarray
    users: int
    labels: np.ndarray
    weights: np.ndarray
    cold_users: np.ndarray
    cold_videos: np.ndarray
    shown: np.ndarray

    def slices(self) -> dict[str, np.ndarray]:
        """The mask of the rows of each slice."""
        every = np.ones(len(self.owners), bool)
        masks = (every, ~self.cold_users, self.cold_users, self.cold_videos)
        of_users = dict(zip(ranking_metrics.SLICES, masks, strict=True))
        return of_users | dict(zip(ranking_metrics.PARTS, (self.shown, ~self.shown | (self.labels == 1)), strict=True))


def table(judged: Judged, scores: np.ndarray, are_probabilities: bool, seed: int) -> dict[str, Any]:
    """The metrics of [n] scores with their confidence intervals, by slice.

    Log loss is the weighted mean over rows; calibration is the weighted sum of probabilities divided by that of
    positives, ideally 1. Both are left out if scores are not probabilities, and for the slices of shown and of sampled
    rows, since probabilities are of all rows.
    """
    found = {}
    order = np.random.default_rng(seed).permutation(
        len(scores)
    )  # orders equal scores at random: rows are in order of time
    for name, mask in judged.slices().items():
        rows = order[mask[order]]
        users, owners = np.unique(judged.owners[rows], return_inverse=True)
        values = _orders(owners, len(users), judged.labels[rows], scores[rows], seed)
        if are_probabilities and len(users) and name not in ranking_metrics.PARTS:
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
        "auc": _auc(owners, users, labels, scores),
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


def _auc(owners: np.ndarray, users: int, labels: np.ndarray, scores: np.ndarray) -> Estimate:
    """AUC over all rows; the interval is over users."""
    value, error = ranking_metrics.auc_and_error(owners, labels, scores, users)
    if np.isnan(value):
        return Estimate(None, None, None, users)
    return Estimate(value, max(value - _ERRORS * error, 0.0), min(value + _ERRORS * error, 1.0), users)
