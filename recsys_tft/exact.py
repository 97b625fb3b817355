"""Statistics that come out the same to the last bit in whatever order their parts are merged.

A Beam runner merges partial results in any order, and a sum of floats depends on it; these do not.
"""

import collections
import itertools
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np


def exact_sum(values: np.ndarray) -> Fraction:
    """The sum of [n] finite float64, without any rounding.

    math.fsum rounds the exact sum once; adding minus its result and summing again gives what it rounded away, so a
    few passes hold all of it.
    """
    parts: list[float] = []
    while part := math.fsum(itertools.chain(values.tolist(), (-p for p in parts))):
        parts.append(part)
    return sum(map(Fraction, parts), Fraction(0))


Moments = tuple[int, Fraction, Fraction]  # count, sum, sum of squares
NO_MOMENTS: Moments = (0, Fraction(0), Fraction(0))


def moments(values: np.ndarray) -> Moments:
    """Count, sum and sum of squares of [n] float32; the squares of float32 are exact in float64."""
    wide = values.astype(np.float64).ravel()
    return wide.size, exact_sum(wide), exact_sum(wide * wide)


def merge_moments(parts: Iterable[Moments]) -> Moments:
    """The moments of all values together."""
    counts, sums, squares = zip(NO_MOMENTS, *parts, strict=True)
    return sum(counts), sum(sums, Fraction(0)), sum(squares, Fraction(0))


def mean_and_deviation(total: Moments) -> tuple[float, float]:
    """Mean and population standard deviation; (0, 0) of no values."""
    count, first, second = total
    if not count:
        return 0.0, 0.0
    mean = first / count
    return float(mean), math.sqrt(second / count - mean * mean)


# A float32 without its last 11 bits of mantissa: values that share a cell differ by less than 1 part in 4096.
_CELL_BITS = 11
Cells = collections.Counter[int]  # how many values fall into each cell; cells are numbered in the order of values


def cells(counts: np.ndarray) -> Cells:
    """The cells of [n] whole numbers >= 0, given as float32."""
    numbers, sizes = np.unique(counts.astype(np.float32).ravel().view(np.uint32) >> _CELL_BITS, return_counts=True)
    return collections.Counter(dict(zip(numbers.tolist(), sizes.tolist(), strict=True)))


def upper_edge(cell: int) -> float:
    """The smallest whole number above a cell."""
    return math.ceil(np.uint32((cell + 1) << _CELL_BITS).view(np.float32))


def quantiles(total: Cells, shares: Sequence[float]) -> list[float]:
    """For each share the smallest edge that at least this share of the counts lies below; infinity of no counts.

    Counts up to 4,096 are told apart exactly, larger ones to 1 part in 4,096.
    """
    if not total:
        return [math.inf] * len(shares)
    numbers = sorted(total)
    below = np.cumsum([total[number] for number in numbers])
    wanted = [math.ceil(Fraction(str(share)) * int(below[-1])) for share in shares]
    return [float(upper_edge(numbers[int(np.searchsorted(below, want))])) for want in wanted]
