"""Statistics that do not depend on grouping or order, against plain fractions."""

import itertools
import math
import random
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft import exact

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
HARD = st.sampled_from((0.0, -0.0, 1.0, 1e-45, -1e-45, 3.4028234663852886e38, -3.4028234663852886e38, 0.1, 2.0**24))
SHARES = st.sampled_from((0.05, 0.1, 0.25, 0.3, 0.5, 0.7, 0.8, 0.95, 0.99))
quick = settings(deadline=None, derandomize=True, max_examples=100)


def array(values: list[float]) -> np.ndarray:
    """As the analyzers get them."""
    return np.array(values, np.float32)


@quick
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300), max_size=30))
def test_sums_lose_nothing(values: list[float]) -> None:
    assert exact.exact_sum(np.array(values, np.float64)) == sum(map(Fraction, values), Fraction(0))


@quick
@given(st.lists(FLOATS | HARD, max_size=30))
def test_moments_are_those_of_fractions(values: list[float]) -> None:
    numbers = [Fraction(float(value)) for value in array(values)]
    expected = (len(numbers), sum(numbers, Fraction(0)), sum((n * n for n in numbers), Fraction(0)))
    assert exact.moments(array(values)) == expected


@quick
@given(st.lists(st.lists(FLOATS | HARD, max_size=6), max_size=6), st.randoms(use_true_random=False))
def test_moments_do_not_depend_on_order_or_grouping(batches: list[list[float]], chance: random.Random) -> None:
    whole = exact.moments(array(list(itertools.chain(*batches))))
    parts = [exact.moments(array(batch)) for batch in batches]
    chance.shuffle(parts)
    cut = chance.randint(0, len(parts))
    assert exact.merge_moments(parts) == whole
    assert exact.merge_moments([exact.merge_moments(parts[:cut]), exact.merge_moments(parts[cut:])]) == whole


@quick
@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_mean_and_deviation_are_rounded_once(values: list[float]) -> None:
    numbers = [Fraction(float(value)) for value in array(values)]
    mean, deviation = exact.mean_and_deviation(exact.moments(array(values)))
    assert mean == float(statistics.mean(numbers))
    assert deviation == pytest.approx(float(statistics.pvariance(numbers)) ** 0.5, rel=1e-15, abs=1e-160)


@quick
@given(FLOATS | HARD, st.integers(1, 50))
def test_a_constant_column_deviates_by_exactly_nothing(value: float, count: int) -> None:
    assert exact.mean_and_deviation(exact.moments(array([value] * count)))[1] == 0.0


def test_no_values_have_mean_and_deviation_zero() -> None:
    assert exact.moments(array([])) == exact.NO_MOMENTS == exact.merge_moments([])
    assert exact.mean_and_deviation(exact.NO_MOMENTS) == (0.0, 0.0)


def test_deviation_survives_a_mean_that_is_far_larger() -> None:
    values = array([2.0**23, 2.0**23 + 1, 2.0**23 + 2])
    assert exact.mean_and_deviation(exact.moments(values)) == (2.0**23 + 1, math.sqrt(2 / 3))


def least_edge(counts: list[int], share: float) -> int:
    """The smallest whole number that at least this share of the counts lies below."""
    wanted = Fraction(str(share)) * len(counts)
    return next(edge for edge in itertools.count() if sum(count < edge for count in counts) >= wanted)


@quick
@given(st.lists(st.integers(0, 12) | st.integers(4090, 4096), min_size=1, max_size=40), st.lists(SHARES, max_size=3))
def test_quantiles_of_small_counts_are_exact(counts: list[int], shares: list[float]) -> None:
    assert exact.quantiles(exact.cells(array(counts)), shares) == [least_edge(counts, share) for share in shares]


@quick
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=40), SHARES)
def test_quantiles_of_large_counts_are_right_to_1_part_in_4096(counts: list[int], share: float) -> None:
    exactly = sorted(counts)[math.ceil(Fraction(str(share)) * len(counts)) - 1] + 1
    (found,) = exact.quantiles(exact.cells(array(counts)), [share])
    assert exactly - exactly / 4096 - 1 <= found <= exactly + exactly / 4096 + 1


@quick
@given(st.lists(st.lists(st.integers(0, 2**40), max_size=6), max_size=6), st.randoms(use_true_random=False))
def test_quantiles_do_not_depend_on_order_or_grouping(batches: list[list[int]], chance: random.Random) -> None:
    whole = exact.cells(array(list(itertools.chain(*batches))))
    parts = [exact.cells(array(batch)) for batch in batches]
    chance.shuffle(parts)
    merged = sum(parts, exact.Cells())
    assert merged == whole
    assert exact.quantiles(merged, [0.5, 0.9]) == exact.quantiles(whole, [0.5, 0.9])


def test_quantiles_increase_with_the_share_and_no_counts_have_none() -> None:
    cells = exact.cells(array(list(range(100))))
    assert exact.quantiles(cells, [0.01, 0.5, 0.8, 0.95]) == [1, 50, 80, 95]
    assert exact.quantiles(exact.cells(array([])), [0.5, 0.8]) == [math.inf, math.inf]


@quick
@given(st.integers(0, 2**62))
def test_a_cell_ends_above_its_values_by_less_than_1_part_in_4096(count: int) -> None:
    (cell,) = exact.cells(array([count]))
    edge = exact.upper_edge(cell)
    assert float(np.float32(count)) < edge <= float(np.float32(count)) * (1 + 1 / 4096) + 1
