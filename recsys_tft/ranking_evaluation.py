"""Scores of the ranker's rows judged: for the model and for baselines alike, with intervals over users."""

import dataclasses
from typing import Any

import numpy as np

from recsys_tft import bootstrap, ranking_metrics

_SAMPLES = 200  # of users for the metrics of all rows, which take a pass over the rows each


@dataclasses.dataclass(frozen=True)
class Judged:
    """The rows that are judged.

    Attributes:
        owners: [n] int64, the number of each row's user.
        users: how many there are.
        labels: [n] 0 or 1.
        cold_users: [n] bool, whether the row's user has no training row.
        cold_videos: [n] bool, whether the row's video has none.
    """

    owners: np.ndarray
    users: int
    labels: np.ndarray
    cold_users: np.ndarray
    cold_videos: np.ndarray

    def slices(self) -> dict[str, np.ndarray]:
        """Which rows are in each slice."""
        every = np.ones(len(self.owners), bool)
        masks = (every, ~self.cold_users, self.cold_users, self.cold_videos)
        return dict(zip(ranking_metrics.SLICES, masks, strict=True))


def table(judged: Judged, scores: np.ndarray, are_probabilities: bool, seed: int) -> dict[str, Any]:
    """The metrics of [n] scores with their confidence intervals, by slice.

    Log loss is the mean over rows; calibration the mean probability over the share of positives, so 1 is right. Both
    are left out where scores are no probabilities.
    """
    found = {}
    order = np.random.default_rng(seed).permutation(
        len(scores)
    )  # of equal scores: rows themselves are in order of time
    for name, mask in judged.slices().items():
        rows = order[mask[order]]
        users, owners = np.unique(judged.owners[rows], return_inverse=True)
        values = _metrics(owners, len(users), judged.labels[rows], scores[rows], are_probabilities, seed)
        found[name] = {metric: dataclasses.asdict(estimate) for metric, estimate in values.items()}
    return found


def _metrics(
    owners: np.ndarray, users: int, labels: np.ndarray, scores: np.ndarray, are_probabilities: bool, seed: int
) -> dict[str, bootstrap.Estimate]:
    per_user = ranking_metrics.auc_per_user(owners, labels, scores, users)
    found = {"auc": _auc(owners, users, labels, scores, seed), "auc per user": bootstrap.mean(per_user, seed=seed)}
    nothing = bootstrap.Estimate(None, None, None, users)
    rows = np.bincount(owners, minlength=users).astype(np.float64)
    losses = ranking_metrics.log_loss(labels, scores) if are_probabilities else None
    shares = (_sum(owners, values, users) for values in (losses, scores, labels) if values is not None)
    if are_probabilities and users:
        loss, predicted, positive = shares
        found["log loss"] = bootstrap.ratio(loss, rows, seed=seed)
        found["calibration"] = bootstrap.ratio(predicted, positive, seed=seed)
    else:
        found |= {"log loss": nothing, "calibration": nothing}
    found["ndcg@10"] = bootstrap.mean(ranking_metrics.ndcg_per_user(owners, labels, scores, users), seed=seed)
    return found


def _sum(owners: np.ndarray, values: np.ndarray, users: int) -> np.ndarray:
    return np.bincount(owners, values.astype(np.float64), minlength=users)


def _auc(owners: np.ndarray, users: int, labels: np.ndarray, scores: np.ndarray, seed: int) -> bootstrap.Estimate:
    """AUC over all rows; the interval is over users."""
    weighted = ranking_metrics.Auc(labels, scores)
    value = weighted(np.ones(len(labels)))
    if np.isnan(value):
        return bootstrap.Estimate(None, None, None, users)
    samples = np.array([weighted(times[owners]) for times in bootstrap.draws(users, _SAMPLES, seed)])
    low, high = np.nanquantile(samples, [0.025, 0.975])
    return bootstrap.Estimate(value, float(low), float(high), users)
