"""The training, validation and test splits.

By default time alone decides, so that nothing fitted sees the future. A split per user cuts each user's exposures
instead, as published comparisons do; docs/examples.md says what that leaks.
"""

import datetime
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from recsys_tft.configuration.job_settings import SplitSettings
from recsys_tft.errors import InputError
from recsys_tft.storage.hashing import keyed_hash
from recsys_tft.storage.sorting import lexsort
from recsys_tft.time_lookups import begins

SPLITS = ("train", "val", "test")
PERIODS = "periods"  # in a manifest's splits: where each refresh begins
# val_from, test_from (None: no test split), and the starts of any further splits, in microseconds since 1970. Without
# val_from the first three splits end at another time for each user.
Cuts = tuple[int | None, ...]
Histogram = tuple[np.ndarray, np.ndarray]  # increasing keys [n] int64, how many times each occurs [n] int64
_COARSE = 26  # 2^26 microseconds: about a minute


def split_of(times: np.ndarray, cuts: Cuts) -> np.ndarray:
    """The number in SPLITS of the split of each of [n] int64 times, as [n] int8."""
    edges = np.array([cut for cut in cuts if cut is not None], np.int64)
    return np.searchsorted(edges, times, side="right").astype(np.int8)


def end_of_training(cuts: Cuts | None) -> int | None:
    """The end of the training split; None if nothing comes after the run."""
    return next((cut for cut in cuts or () if cut is not None), None)


def histogram(keys: np.ndarray) -> Histogram:
    """Count each of [n] int64 keys."""
    return np.unique(keys, return_counts=True)


def merge(parts: Iterable[Histogram]) -> Histogram:
    """The histogram of all keys together."""
    keys, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(keys, kind="stable")  # which is fast on parts in order
    keys, counts = keys[order], counts[order]
    first = begins(keys)
    return keys[first], np.add.reduceat(counts, first)


def ranks(total: int, split: SplitSettings) -> tuple[int, int]:
    """How many of `total` exposures, in order of time, come before val, and before test."""
    train = split.train_share * total
    return int(train), int(train + split.val_share * total)


def coarse(times: np.ndarray) -> np.ndarray:
    """Times in units of about a minute, few enough to be counted in one place."""
    return times >> _COARSE


def minutes_of(minutes: Histogram, ranks_to_find: tuple[int, int]) -> np.ndarray:
    """The coarse times of the exposures at some ranks; only these need exact times."""
    keys, counts = minutes
    ends = np.cumsum(counts)
    inside = [rank for rank in ranks_to_find if rank < counts.sum()]
    return keys[np.searchsorted(ends, inside, side="right")]


def find(minutes: Histogram, times: Histogram, split: SplitSettings) -> Cuts | None:
    """The split times; None if each user has their own.

    Args:
        minutes: of all coarse times of exposures.
        times: of the exact ones near the cuts, including the first and the last.
        split: the settings.

    Raises:
        InputError: as `checked` and `cuts`.
    """
    if split.fixed_cuts:
        return checked(split.fixed_cuts, times)
    return cuts(minutes, times, split) if split.kind == "time" else None


def cuts(minutes: Histogram, times: Histogram, split: SplitSettings) -> Cuts:
    """The split times, from the histogram of all coarse times, and of the exact times near the cuts.

    Raises:
        InputError: if there is no exposure, or all of the training split are at one instant.
    """
    total = int(minutes[1].sum())
    if not total:
        raise InputError("No interaction is usable, so there is nothing to split.")
    val_from, test_from = (_time_of_rank(minutes, times, rank) for rank in ranks(total, split))
    if val_from is None:
        return int(minutes[0][-1] + 1) << _COARSE, None
    if val_from == _first_time(minutes, times):
        raise InputError(
            f"The first {float(split.train_share):.0%} of the {total:,} exposures share one instant, "
            f"{describe(val_from)}, so no time can end the training split; set split.val_from."
        )
    return val_from, test_from


def checked(fixed: Cuts, times: Histogram) -> Cuts:
    """Check cuts that the settings fix, and return them.

    Args:
        fixed: val_from and test_from.
        times: of exposures, including the first and the last.

    Raises:
        InputError: if there is no exposure, or none in the training split.
    """
    if not len(times[0]):
        raise InputError("No interaction is usable, so there is nothing to split.")
    first, last = (describe(int(times[0][place])) for place in (0, -1))
    assert fixed[0] is not None
    if fixed[0] <= times[0][0]:
        raise InputError(
            f"split.val_from is {describe(fixed[0])}, and no interaction is before it to train on: they are from "
            f"{first} to {last}."
        )
    return fixed


def _time_of_rank(minutes: Histogram, times: Histogram, rank: int) -> int | None:
    """The time of the exposure number `rank` from 0; None beyond the last."""
    keys, counts = minutes
    ends = np.cumsum(counts)
    if rank >= ends[-1]:
        return None
    minute = int(np.searchsorted(ends, rank, side="right"))
    inside = coarse(times[0]) == keys[minute]
    within = ends[minute] - counts[minute] + np.cumsum(times[1][inside])
    return int(times[0][inside][np.searchsorted(within, rank, side="right")])


def _first_time(minutes: Histogram, times: Histogram) -> int | None:
    """The time of the first exposure, if it is among the exact ones."""
    return _time_of_rank(minutes, times, 0) if minutes[0][0] in coarse(times[0]) else None


def per_user(
    users: np.ndarray, videos: np.ndarray, times: np.ndarray, begins: np.ndarray, split: SplitSettings, seed: int
) -> np.ndarray:
    """[n] int8: the split of each event, by a split per user.

    Of a user's m exposures the last floor(test * m) are for test and the floor(val * m) before them for val. By
    `time_per_user` the order is time, and events at one instant stay together in the later split; by
    `random_per_user` it is a keyed hash of (seed, user, video, time).

    Args:
        users: [n] int64 ids.
        videos: [n] int64 ids.
        times: [n] int64 times.
        begins: [m] int64 first events of exposures, formed without splits.
        split: the settings.
        seed: of the run.
    """
    user, time = users[begins], times[begins]
    number, sizes = np.unique(user, return_inverse=True, return_counts=True)[1:]
    keys = time if split.kind == "time_per_user" else keyed_hash(seed, user, videos[begins], time)
    order = lexsort((keys, number))
    ends = np.cumsum(sizes)
    tests = _floors(split.test_share, sizes)
    first_test, first_val = ends - tests, ends - tests - _floors(split.val_share, sizes)
    if split.kind == "random_per_user":
        place = np.empty(len(user), np.int64)
        place[order] = np.arange(len(user))
        numbers = (place >= first_val[number]).astype(np.int8) + (place >= first_test[number])
        return np.repeat(numbers, np.diff(np.append(begins, len(users))))
    ordered = np.append(time[order], np.iinfo(np.int64).max)
    never = np.iinfo(np.int64).max
    val_from = np.where(first_val < ends, ordered[first_val], never)
    test_from = np.where(first_test < ends, ordered[first_test], never)
    owner = np.repeat(number, np.diff(np.append(begins, len(users))))
    return (times >= val_from[owner]).astype(np.int8) + (times >= test_from[owner])


def _floors(share: Fraction, sizes: np.ndarray) -> np.ndarray:
    """floor(share * size) of each of [n] sizes, exactly."""
    distinct, which = np.unique(sizes, return_inverse=True)
    return np.array([int(share * int(size)) for size in distinct], np.int64)[which]


def describe_cuts(cuts: Cuts | None) -> dict[str, str | None]:
    """`val_from` and `test_from` as text; empty if each user has their own."""
    if cuts is None:
        return {}
    ends = {"val_from": cuts[0], "test_from": cuts[1]}
    return {name: None if time is None else describe(time) for name, time in ends.items()}


def describe(time: int) -> str:
    """A time in microseconds since 1970, as text."""
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=time)
    return moment.isoformat(sep=" ").removesuffix("+00:00") + " UTC"
