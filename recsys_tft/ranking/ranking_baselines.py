"""Baselines of the ranker: scores of its rows that need no model.

Rows are given by their keys: [n] arrays user_id, video_id, interaction_time (microseconds), label, shown.
"""

from collections.abc import Mapping

import numpy as np

from recsys_tft.ranking import ranking_metrics
from recsys_tft.retrieval.retrieval_baselines import DAY, RECENT_DAYS
from recsys_tft.time_lookups import EventCounts

Keys = Mapping[str, np.ndarray]
_SMOOTHING = 5  # rows with the overall mean that are added to those of a user or video


def judged(keys: Keys) -> np.ndarray:
    """[n] bool: the shown rows if some of them are negatives, else all."""
    shown = keys["shown"]
    return shown if len(np.unique(keys["label"][shown])) == 2 else np.ones(len(shown), bool)


def popularity(training: Keys, keys: Keys) -> np.ndarray:
    """[n] float64: training positives of each row's video."""
    return _sums(training["video_id"], training["label"], keys["video_id"])


def item_and_user_means(training: Keys, keys: Keys) -> np.ndarray:
    """[n] float64: the share of positives of the row's video, and that of its user, added up.

    Training rows are the shown ones if some of them are negatives. Shares are smoothed by 5 rows with the overall mean.
    """
    chosen = judged(training)
    label = training["label"][chosen]
    found = np.zeros(len(keys["label"]))
    for name in ("video_id", "user_id"):
        positives, rows = (_sums(training[name][chosen], of, keys[name]) for of in (label, np.ones(len(label))))
        found += (positives + _SMOOTHING * label.mean()) / (rows + _SMOOTHING)
    return found


def _sums(of: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """For each of [n] keys the sum of values that stand beside it."""
    known, own = np.unique(of, return_inverse=True)
    sums = np.bincount(own, values, len(known))
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[place] == asked, sums[place], 0.0)


class LikesSoFar:
    """Positives of videos before a moment.

    Args:
        splits: the keys of rows, all splits of a run.
    """

    def __init__(self, *splits: Keys):
        video, time = (
            np.concatenate([keys[name][keys["label"] == 1] for keys in splits])
            for name in ("video_id", "interaction_time")
        )
        self._counts = EventCounts(video, time)

    def __call__(self, keys: Keys, days: int | None = None) -> np.ndarray:
        """[n] float64: the number of positives strictly before each row, of all days or of the last ones."""
        time = keys["interaction_time"]
        since = None if days is None else time - days * DAY
        return self._counts.between(keys["video_id"], since, time).astype(np.float64)


def best_days(likes: LikesSoFar, val: Keys) -> int:
    """The number of days, of RECENT_DAYS, whose likes have the highest AUC on the `judged` rows of val."""
    chosen = judged(val)
    aucs = [ranking_metrics.auc(val["label"][chosen], likes(val, days)[chosen]) for days in RECENT_DAYS]
    return RECENT_DAYS[int(np.argmax(aucs))]
