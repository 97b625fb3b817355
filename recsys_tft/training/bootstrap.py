"""Confidence intervals of means over users, by the bootstrap.

scipy.stats.bootstrap gives the same ones in 1.6 to 4 times the time, with all resamples in memory (decision 50).
"""

import dataclasses

import numpy as np

_CELLS = 1 << 22  # resampled values in memory at a time


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over users, with the 2.5 % and 97.5 % quantiles of its bootstrap distribution.

    Attributes:
        value: None if no user counts.
        low: likewise.
        high: likewise.
        users: how many count.
    """

    value: float | None
    low: float | None
    high: float | None
    users: int


def draws(users: int, samples: int, seed: int) -> np.ndarray:
    """[samples, users] int64 numbers of users, drawn with replacement."""
    return np.random.default_rng(seed).integers(0, users, size=(samples, users))


def mean(values: np.ndarray, samples: int = 1000, seed: int = 0) -> Estimate:
    """The mean of one value per user; NaN is a user that does not count.

    Args:
        values: [n] float64.
        samples: resamples of users.
        seed: of the resampling.
    """
    counted = values[~np.isnan(values)]
    return ratio(counted, np.ones(len(counted)), samples, seed)


def ratio(above: np.ndarray, below: np.ndarray, samples: int = 1000, seed: int = 0) -> Estimate:
    """A ratio of two sums over users, such as the mean over rows from each user's sums and counts.

    Args:
        above: [n] float64.
        below: [n] float64 >= 0; the value is None if all are 0.
        samples: resamples of users.
        seed: of the resampling.
    """
    if not len(below) or not below.sum():
        return Estimate(None, None, None, len(below))
    ratios = []
    for number, rows in enumerate(_portions(samples, len(below))):
        drawn = draws(len(below), rows, seed + number)
        total = below[drawn].sum(axis=1)
        ratios.append(np.divide(above[drawn].sum(axis=1), total, out=np.full(rows, np.nan), where=total > 0))
    low, high = np.nanquantile(np.concatenate(ratios), [0.025, 0.975])
    return Estimate(float(above.sum() / below.sum()), float(low), float(high), len(below))


def _portions(samples: int, users: int) -> list[int]:
    """Sizes that add up to `samples`, each small enough for memory."""
    size = max(1, min(samples, _CELLS // users))
    return [min(size, samples - start) for start in range(0, samples, size)]
