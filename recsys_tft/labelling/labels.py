"""Labels: which exposures are positive, by which rules, and with what weight."""

from collections.abc import Mapping

import numpy as np

from recsys_tft.tables.signals import SIGNAL


def rules_that_hold(
    signals: np.ndarray, watch_time: np.ndarray, duration: np.ndarray, min_watch_ratio: float
) -> dict[str, np.ndarray]:
    """For each rule whether it holds, [n] bool.

    Args:
        signals: [n] uint8, bits of `exposures.SIGNAL`.
        watch_time: [n] float64 seconds.
        duration: [n] float32 seconds; NaN or 0 where unknown, and then `watch` does not hold.
        min_watch_ratio: the share of the duration above which a video counts as watched.
    """
    rules = {rule: signals & bit != 0 for rule, bit in SIGNAL.items() if rule != "watch"}
    rules["watch"] = (watch_time > min_watch_ratio * duration.astype(np.float64)) & (duration > 0)
    return rules


def weights(rules: Mapping[str, np.ndarray], positive: Mapping[str, float]) -> np.ndarray:
    """[n] float32: the largest weight among the rules of `positive` that hold; 0 where none does."""
    return np.max([rules[rule] * np.float32(weight) for rule, weight in positive.items()], axis=0).astype(np.float32)


def contradicted(user: np.ndarray, video: np.ndarray, window: np.ndarray, is_positive: np.ndarray) -> np.ndarray:
    """[n] bool: exposures that are not positive, of a user who is positive on that video in that window or before."""
    order = np.lexsort((~is_positive, window, video, user))  # by user, video, window, positives first
    pair = np.concatenate([[True], (np.diff(user[order]) != 0) | (np.diff(video[order]) != 0)])[: len(order)]
    positives = np.cumsum(is_positive[order])
    starts = np.flatnonzero(pair)
    before_pair = np.repeat((positives - is_positive[order])[starts], np.diff(np.append(starts, len(order))))
    found = np.zeros(len(order), bool)
    found[order] = (positives > before_pair) & ~is_positive[order]
    return found
