"""Statistics of the training split, which do not depend on grouping or order, against plain Python."""

import collections
import itertools
import math
import pathlib
import pickle
import random
import statistics as plain_statistics
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.analyzers import MergeStates, StatisticRequest, divided, states_of, trimmed
from recsys_tft.cooccurrence import PairCounts
from recsys_tft.frequencies import EMPTY_VOCABULARY, Frequencies
from recsys_tft.statistics import (
    EMPTY_IDS,
    PARTS,
    CountQuantiles,
    MeanAndDeviation,
    Statistic,
    exact_sum,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
HARD = st.sampled_from((0.0, -0.0, 1.0, 1e-45, -1e-45, 3.4028234663852886e38, -3.4028234663852886e38, 0.1, 2.0**24))
IDS = st.sampled_from((-3, 0, 2, 9, 10, 2**53, 2**53 + 1, -(2**63), 2**63 - 1))
TEXTS = st.sampled_from((b"a", b"b", b"B", b"a\nb", b" ", "é".encode(), b"\xff", b"\x00"))
SHARES = st.sampled_from((0.05, 0.1, 0.25, 0.3, 0.5, 0.7, 0.8, 0.95, 0.99))
MOMENTS = MeanAndDeviation()
COUNT_IDS, COUNT_TEXTS = Frequencies(1, None, integers=True), Frequencies(1, None, integers=False)
FOUR = (MOMENTS, CountQuantiles((0.5, 0.9)), COUNT_IDS, COUNT_TEXTS)
quick = settings(deadline=None, derandomize=True, max_examples=100)


def floats(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)


def result(statistic: Statistic, values: np.ndarray) -> list[float]:
    """What is learned of one batch."""
    return statistic.result(statistic.merge([statistic.of(values)])).tolist()


# --- Moments


@quick
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300), max_size=30))
def test_sums_lose_nothing(values: list[float]) -> None:
    assert exact_sum(np.array(values, np.float64)) == sum(map(Fraction, values), Fraction(0))


@quick
@given(st.lists(FLOATS | HARD, max_size=30))
def test_moments_are_those_of_fractions(values: list[float]) -> None:
    numbers = [Fraction(float(value)) for value in floats(values)]
    expected = (len(numbers), sum(numbers, Fraction(0)), sum((n * n for n in numbers), Fraction(0)))
    assert MOMENTS.of(floats(values)) == expected


@quick
@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_mean_and_deviation_are_rounded_to_float32_at_the_end(values: list[float]) -> None:
    numbers = [Fraction(float(value)) for value in floats(values)]
    mean, deviation = MOMENTS.result(MOMENTS.of(floats(values)))
    assert mean == np.float32(float(plain_statistics.mean(numbers)))
    variance = plain_statistics.pvariance(numbers)
    assert deviation == pytest.approx(float(variance) ** 0.5, rel=1e-7, abs=1e-45)


@quick
@given(FLOATS | HARD, st.integers(1, 50))
def test_a_constant_column_deviates_by_exactly_nothing(value: float, count: int) -> None:
    assert result(MOMENTS, floats([value] * count))[1] == 0.0


def test_no_values_have_mean_and_deviation_zero() -> None:
    assert result(MOMENTS, floats([])) == [0.0, 0.0]


def test_deviation_survives_a_mean_that_is_far_larger() -> None:
    values = floats([2.0**23, 2.0**23 + 1, 2.0**23 + 2])
    assert result(MOMENTS, values) == [2.0**23 + 1, np.float32(math.sqrt(2 / 3))]


# --- Quantiles


def least_edge(counts: list[int], share: float) -> int:
    """The smallest whole number that at least this share of the counts lies below."""
    wanted = Fraction(str(share)) * len(counts)
    return next(edge for edge in itertools.count() if sum(count < edge for count in counts) >= wanted)


@quick
@given(st.lists(st.integers(0, 12) | st.integers(4090, 4096), min_size=1, max_size=40), st.lists(SHARES, max_size=3))
def test_quantiles_of_small_counts_are_exact(counts: list[int], shares: list[float]) -> None:
    expected = [least_edge(counts, share) for share in shares]
    assert result(CountQuantiles(tuple(shares)), floats(counts)) == expected


@quick
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=40), SHARES)
def test_quantiles_of_large_counts_are_right_to_1_part_in_4096(counts: list[int], share: float) -> None:
    exactly = sorted(counts)[math.ceil(Fraction(str(share)) * len(counts)) - 1] + 1
    (found,) = result(CountQuantiles((share,)), floats(counts))
    assert exactly - exactly / 4096 - 1 <= found <= exactly + exactly / 4096 + 1


@quick
@given(st.integers(0, 2**62))
def test_the_quantile_of_one_count_is_above_it(count: int) -> None:
    (found,) = result(CountQuantiles((0.5,)), floats([count]))
    assert float(np.float32(count)) < found <= float(np.float32(count)) * (1 + 1 / 4096) + 1


def test_quantiles_increase_with_the_share_and_no_counts_have_none() -> None:
    quantiles = CountQuantiles((0.01, 0.5, 0.8, 0.95))
    assert quantiles.shape == (4,)
    assert result(quantiles, floats(list(range(100)))) == [1, 50, 80, 95]
    assert result(quantiles, floats([])) == [math.inf] * 4


# --- Vocabularies


def most_frequent(values: list[Any], min_count: int, max_size: int | None) -> list[Any]:
    counts = Counter(values)
    kept = [value for value in counts if counts[value] >= min_count]
    return sorted(kept, key=lambda value: (-counts[value], value))[:max_size]


@quick
@given(st.lists(IDS, max_size=30), st.integers(0, 3), st.none() | st.integers(1, 3))
def test_ids_are_ordered_by_count_and_then_by_value(values: list[int], min_count: int, max_size: int | None) -> None:
    frequencies = Frequencies(min_count, max_size, integers=True)
    found = frequencies.values(frequencies.merge([frequencies.of(np.array(values, np.int64))])).to_pylist()
    assert found == most_frequent(values, min_count, max_size)


@quick
@given(st.lists(TEXTS, max_size=30), st.integers(0, 3), st.none() | st.integers(1, 3))
def test_texts_are_ordered_by_count_and_then_by_bytes(
    values: list[bytes], min_count: int, max_size: int | None
) -> None:
    frequencies = Frequencies(min_count, max_size, integers=False)
    found = frequencies.values(frequencies.merge([frequencies.of(np.array(values, object))])).to_pylist()
    assert found == most_frequent(values, min_count, max_size)


def read(frequencies: Frequencies, path: pathlib.Path) -> list[bytes]:
    """The records or lines of a vocabulary's file."""
    if frequencies.integers:
        return path.read_bytes().splitlines()
    return list(tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator())


def test_files_hold_the_values_newlines_included(tmp_path: pathlib.Path) -> None:
    texts = np.array([b"a\nb", b"a\nb", b"\xff", "é".encode()], object)
    for name, frequencies, values, expected in (
        ("texts", COUNT_TEXTS, texts, [b"a\nb", "é".encode(), b"\xff"]),
        ("ids", COUNT_IDS, np.array([5, -3, 5, 2**62]), [b"5", b"-3", str(2**62).encode()]),
    ):
        path = tmp_path / frequencies.file_name(name)
        frequencies.write(frequencies.of(values), str(path))
        assert read(frequencies, path) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids", "texts.tfrecord.gz"]


def test_a_file_of_no_values_holds_what_no_input_equals(tmp_path: pathlib.Path) -> None:
    for frequencies, expected in ((COUNT_TEXTS, EMPTY_VOCABULARY), (COUNT_IDS, str(EMPTY_IDS).encode())):
        path = tmp_path / "empty"
        path.write_bytes(frequencies.result(frequencies.of(np.zeros(0, object))).item())
        assert read(frequencies, path) == [expected]


# --- All of them


@quick
@given(
    st.lists(st.tuples(FLOATS | HARD, st.integers(0, 2**40), IDS, TEXTS), max_size=20),
    st.lists(st.integers(0, 20), max_size=5),
    st.randoms(use_true_random=False),
)
def test_no_result_depends_on_order_or_grouping(
    rows: list[tuple[float, int, int, bytes]], cuts: list[int], chance: random.Random
) -> None:
    merging = MergeStates(asked_for(FOUR))
    whole = merging.extract_output(merging.add_input(merging.create_accumulator(), state_of(rows)))
    shuffled = list(rows)
    chance.shuffle(shuffled)
    edges = sorted({0, *(min(cut, len(rows)) for cut in cuts), len(rows)})
    accumulators = []
    for start, end in itertools.pairwise(edges):
        accumulator = merging.add_input(merging.create_accumulator(), state_of(shuffled[start:end]))
        accumulators.append(pickle.loads(pickle.dumps(merging.compact(accumulator))))
    chance.shuffle(accumulators)
    parts = merging.extract_output(merging.merge_accumulators([merging.create_accumulator(), *accumulators]))
    assert results_of(parts) == results_of(whole)


@quick
@given(st.lists(st.tuples(FLOATS, st.integers(0, 9), st.integers(-5, 5), TEXTS), max_size=60), st.integers(1, 3))
def test_parts_that_are_merged_and_trimmed_make_the_same_result(
    rows: list[tuple[float, int, int, bytes]], min_count: int
) -> None:
    ids, texts = (Frequencies(min_count, 4, integers) for integers in (True, False))
    statistics = (MOMENTS, CountQuantiles((0.5,)), ids, texts, PairCounts(max_pairs=3))
    batches = [rows[start : start + 7] for start in range(0, len(rows), 7)]
    nothing = [asked.nothing for asked in asked_for(statistics)]
    parts = collections.defaultdict(list)
    for batch in batches:
        for number, part in divided(state_of(batch, statistics), asked_for(statistics), nothing):
            parts[number].append(part)
    merging = MergeStates(asked_for(statistics))
    kept = [trimmed((number, merging.extract_output(part)), asked_for(statistics)) for number, part in parts.items()]
    whole = merging.extract_output([state_of(batch, statistics) for batch in batches])
    assert results_of(merging.extract_output(kept), statistics) == results_of(whole, statistics)
    assert len(parts) == (PARTS if rows else 0)
    assert all(len(part[2]) <= 4 for part in kept)


def asked_for(statistics: tuple[Statistic, ...]) -> tuple[StatisticRequest, ...]:
    return tuple(StatisticRequest(f"x{place}", statistic, "float32") for place, statistic in enumerate(statistics))


def state_of(rows: list[tuple[float, int, int, bytes]], statistics: tuple[Statistic, ...] = FOUR) -> list[Any]:
    """The states of a batch that has a value for each statistic; pairs are of each id with itself and with the next."""
    real, count, number, text = zip(*rows, strict=True) if rows else ((), (), (), ())
    ids = np.array(number, np.int64)
    batch = (floats(real), floats(count), ids, np.array(text, object), np.stack([ids, ids, ids, ids // 2], 1).ravel())
    return states_of(batch[: len(statistics)], asked_for(statistics))


def results_of(states: list[Any], statistics: tuple[Statistic, ...] = FOUR) -> list[list[Any]]:
    return [
        (one.values(state).to_pylist() if isinstance(one, Frequencies) else one.result(state).tolist())
        for one, state in zip(statistics, states, strict=True)
    ]


def test_many_batches_are_merged_on_the_way() -> None:
    merging = MergeStates(asked_for((MOMENTS,)))
    accumulator = merging.create_accumulator()
    for number in range(100):
        accumulator = merging.add_input(accumulator, states_of((floats([number]),), (MOMENTS,)))
        assert len(accumulator) <= 16
    assert merging.extract_output(accumulator) == [MOMENTS.of(floats(list(range(100))))]
