"""Evaluation of a ranker and of baselines on val and test; and drift of the positive rate."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys_tft.ranking import ranking_baselines, ranking_evaluation
from recsys_tft.ranking.ranker_rows import SHOWN, RankerRows

RECENT = "recent popularity"
_DRIFT = 0.05  # relative to the positive rate; smaller drifts are not reported
_ERRORS = 2.576  # standard errors, 99 %


def judge(
    rows: Mapping[str, RankerRows],
    scores: Mapping[str, np.ndarray],
    are_probabilities: bool,
    likes_column: str | None,
    seed: int,
) -> dict[str, Any]:
    """By split, the metrics of the ranker and of baselines, empty without rows; `baselines` and `warnings`.

    Args:
        rows: train, val and test.
        scores: of the rows of val and test, [n] float64.
        are_probabilities: whether scores are probabilities.
        likes_column: the column with the likes of the video so far, if the ranker reads one.
        seed: of the intervals.
    """
    likes = ranking_baselines.LikesSoFar(*(part.keys for part in rows.values()))
    days = ranking_baselines.best_days(likes, rows["val"].keys)
    found: dict[str, Any] = {"val": {}, "test": {}}
    for split in (split for split in found if len(rows[split])):
        training, keys = rows["train"].keys, rows[split].keys
        so_far = likes(keys) if likes_column is None else rows[split].data[likes_column].to_numpy(np.float64)
        constant = np.full(len(rows[split]), np.average(training["label"], weights=training["weight"]))
        scored = {
            "ranker": (scores[split], are_probabilities),
            "item + user means": (ranking_baselines.item_and_user_means(training, keys), False),
            "likes so far": (so_far, False),
            RECENT: (likes(keys, days), False),
            "popularity": (ranking_baselines.popularity(training, keys), False),
            "constant": (constant, True),
        }
        judged = _judged(rows["train"], rows[split])
        found[split] = {name: ranking_evaluation.table(judged, *how, seed) for name, how in scored.items()}
    told = {RECENT: {"days": days}, "likes so far": {"column": likes_column}}
    return found | {"baselines": told, "warnings": drifts(rows)}


def _judged(train: RankerRows, part: RankerRows) -> ranking_evaluation.Judged:
    owners, users = part.owners()
    keys, training = part.keys, train.keys
    cold_users, cold_videos = (~np.isin(keys[name], training[name]) for name in ("user_id", "video_id"))
    return ranking_evaluation.Judged(owners, users, keys["label"], keys["weight"], cold_users, cold_videos, keys[SHOWN])


def drifts(rows: Mapping[str, RankerRows]) -> list[str]:
    """A sentence for each split whose positive rate differs significantly from that of training.

    Rates are weighted; their standard errors are over users. They are compared over all rows, and over the shown ones
    if some of them are negatives. Differences below 5 % of the rate are not reported.
    """
    found = []
    for split in ("val", "test"):
        for what, chosen in {"rows": _all, "shown rows": _shown}.items():
            masks = {w: chosen(rows[w].keys) for w in ("train", split)}
            if not all(mask.any() for mask in masks.values()):
                continue
            (before, before_error), (now, error) = (_rate(rows[w].keys, mask) for w, mask in masks.items())
            if abs(now - before) > max(_ERRORS * np.hypot(before_error, error), _DRIFT * before):
                found.append(
                    f"{split}: {now:.1%} of the {what} are positive, and {before:.1%} in training, which is more than "
                    "chance; probabilities are true of rows such as those of val, and less so where labels drift."
                )
    return found


def _all(keys: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.ones(len(keys["label"]), bool)


def _shown(keys: Mapping[str, np.ndarray]) -> np.ndarray:
    """The shown rows, if some are sampled and some of the shown ones negatives; else none."""
    shown = keys[SHOWN]
    return shown if not shown.all() and keys["label"][shown].min(initial=1) == 0 else np.zeros(len(shown), bool)


def _rate(keys: Mapping[str, np.ndarray], chosen: np.ndarray) -> tuple[float, float]:
    """The weighted positive rate of chosen rows, and its standard error over users."""
    users, owners = np.unique(keys["user_id"][chosen], return_inverse=True)
    weights, labels = keys["weight"][chosen].astype(np.float64), keys["label"][chosen]
    total = max(weights.sum(), 1e-300)
    rate = weights @ labels / total
    missed = np.bincount(owners, weights * (labels - rate), len(users))
    return float(rate), float(np.sqrt(len(users) / max(len(users) - 1, 1) * (missed**2).sum()) / total)
