"""Labels of exposures: positive or not, by which rules, and with what weight."""

from collections.abc import Mapping

import numpy as np

from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.storage.sorting import lexsort


def rules_that_hold(
    signals: np.ndarray, watch_time: np.ndarray, duration: np.ndarray, settings: Settings
) -> dict[str, np.ndarray]:
    """[n] bool for each rule of `labels.positive`: whether it holds.

    Args:
        signals: [n] bits of the table's signals.
        watch_time: [n] float64 seconds.
        duration: [n] float32 seconds; NaN or 0 where unknown, and then `watch` does not hold.
        settings: of the run; `ranker.min_watch_ratio` is the share of the duration above which a video is watched.
    """
    bits, rules = settings.table.bits, {}
    for rule in settings.labels.positive:
        if rule == "watch":
            threshold = settings.ranker.min_watch_ratio * duration.astype(np.float64)
            rules[rule] = (watch_time > threshold) & (duration > 0)
        else:
            rules[rule] = signals & bits.mask(rule) != 0
    return rules


def watch_shares(watch_time: np.ndarray, duration: np.ndarray) -> np.ndarray:
    """[n] float32: the share of the video that was watched, at most 1; -1 if it was not watched or has no duration.

    Args:
        watch_time: [n] float64 seconds.
        duration: [n] float32 seconds; NaN or 0 where unknown.
    """
    usable = (watch_time > 0) & (duration > 0)
    shares = np.divide(watch_time, duration, out=np.full(len(watch_time), -1.0), where=usable)
    return np.minimum(shares, 1).astype(np.float32)


def weights(rules: Mapping[str, np.ndarray], positive: Mapping[str, float]) -> np.ndarray:
    """[n] float32: the largest weight among the rules of `positive` that hold; 0 where none does."""
    return np.max([rules[rule] * np.float32(weight) for rule, weight in positive.items()], axis=0).astype(np.float32)


def outcomes(weight: np.ndarray, signals: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """[n] bool each: which exposures are positive, and which are disliked: negative by a signal, and not positive.

    Args:
        weight: [n] float32, as `weights` returns them.
        signals: [n] bits of the table's signals.
        settings: of the run.
    """
    negative = is_negative(signals, settings)
    positive = (weight > 0) & ~(negative & negatives_win(settings))
    return positive, negative & ~positive


def is_negative(signals: np.ndarray, settings: Settings) -> np.ndarray:
    """[n] bool: whether a negative signal is among the bits of each."""
    return signals & settings.table.bits.negative != 0


def negatives_win(settings: Settings) -> bool:
    """Whether an exposure with a negative signal is not positive, whatever its other signals."""
    return bool(settings.table.bits.negative) and settings.labels.conflict == "negative"


def contradicted(user: np.ndarray, video: np.ndarray, split: np.ndarray, is_positive: np.ndarray) -> np.ndarray:
    """[n] bool: exposures that are not positive, of a user who is positive on that video in that split or before."""
    order = lexsort((~is_positive, split, video, user))  # by user, video, split, positives first
    pair = np.concatenate([[True], (np.diff(user[order]) != 0) | (np.diff(video[order]) != 0)])[: len(order)]
    positives = np.cumsum(is_positive[order])
    starts = np.flatnonzero(pair)
    before_pair = np.repeat((positives - is_positive[order])[starts], np.diff(np.append(starts, len(order))))
    result = np.zeros(len(order), bool)
    result[order] = (positives > before_pair) & ~is_positive[order]
    return result


def check_training(counts: Mapping[str, int], settings: Settings) -> None:
    """Refuse a training split without positives, by the counts of exposures by split.

    Raises:
        InputError: if it holds no exposure, or no positive one.
    """
    if not any(number for name, number in counts.items() if name.startswith("exposures/train/")):
        kind = settings.split.kind
        raise InputError(
            f"No exposure is in the training split: with split.kind {kind}, all of every user are in later ones."
        )
    if not counts.get("exposures/train/positive"):
        rules = ", ".join(settings.labels.positive)
        raise InputError(f"No exposure in the training split is positive by the rules of labels.positive ({rules}).")
