"""Distances between two distributions, and their noise for samples of the same one.

Two samples of the same distribution differ too. The noise of a distance is the bound that it exceeds once in a million
such samples; limits below it would raise alarms about nothing.
"""

import math
from collections.abc import Sequence

import numpy as np

_SIGMAS = 5.0  # two-sided, once in 1.7 million
_UPPER = 4.753  # one-sided, once in a million
_SMOOTH = 0.5  # added to each count, so that a bin may be empty on one side

Counts = Sequence[float] | np.ndarray


def shares(counts: Counts) -> np.ndarray:
    """[k] float64 of [k] counts; zeros for no counts."""
    array = np.asarray(counts, np.float64)
    return array / max(array.sum(), 1)


def jensen_shannon(old: Counts, new: Counts) -> float:
    """The Jensen-Shannon divergence of [k] counts from [k] others, in bits: 0 where they are alike, at most 1.

    Lin, Divergence measures based on the Shannon entropy, 1991. SciPy's distance is its square root.
    """
    p, q = shares(old), shares(new)
    middle = (p + q) / 2
    parts = [side[side > 0] @ np.log2(side[side > 0] / middle[side > 0]) for side in (p, q)]
    return float(max(sum(parts) / 2, 0.0))


def psi(old: Counts, new: Counts) -> float:
    """The population stability index: the sum of (q - p) log(q / p); half a row is added to each bin.

    Args:
        old, new: [k] counts, of rows that are independent of one another.
    """
    p, q = (shares(np.asarray(counts, np.float64) + _SMOOTH) for counts in (old, new))
    return float(((q - p) * np.log(q / p)).sum())


def psi_noise(bins: int, old: int, new: int) -> float:
    """Upper bound of the index for two samples of one distribution: a scaled chi-square with bins - 1 degrees of
    freedom, by the quantile of Wilson and Hilferty."""
    freedom = max(bins - 1, 1)
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + _UPPER * math.sqrt(spread)) ** 3
    return quantile * _inverse(old, new)


def jensen_shannon_noise(bins: int, old: int, new: int) -> float:
    """Upper bound of the divergence, which near 0 is the index divided by 8 log 2."""
    return psi_noise(bins, old, new) / (8 * math.log(2))


def share_noise(p: np.ndarray | float, q: np.ndarray | float, old: int, new: int) -> np.ndarray:
    """Upper bound of the difference of two shares in samples of these sizes from one distribution."""
    pooled = (np.asarray(p) * old + np.asarray(q) * new) / max(old + new, 1)
    inverse = _inverse(old, new)
    return _SIGMAS * np.sqrt(pooled * (1 - pooled) * inverse) + 4 * inverse


def _inverse(old: int, new: int) -> float:
    return 1 / max(old, 1) + 1 / max(new, 1)
