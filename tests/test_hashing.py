"""Hashes: pinned, spread evenly, and indifferent to how ids are put into arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.storage.hashing import keyed_hash, mix, partition_of, unit_interval

INT64 = st.integers(-(2**63), 2**63 - 1)
IDS = np.array([-3, 2, 9, 10, 2**53, 2**53 + 1])


def test_one_key_is_hashed_as_splitmix64_does() -> None:
    # The first outputs of SplitMix64 for the seeds 0 and 1234567, as other implementations have them.
    assert keyed_hash(0)[0] == 0xE220A8397B1DCDAF
    assert keyed_hash(1234567)[0] == 6457827717110365317


def test_hashes_never_change() -> None:
    """Draws and partitions of earlier runs depend on them."""
    assert keyed_hash(1, 2)[0] == 0xBCD9DBB49673066B
    assert keyed_hash(2, 1)[0] == 0xE06DD043328BD285
    assert keyed_hash(-3)[0] == 0xF75F04CBB5A1A1DD
    assert keyed_hash(7, 8, 9, 0, 1)[0] == 0x46C334AE31D86855
    assert partition_of(IDS, 3).tolist() == [1, 1, 1, 1, 1, 2]
    assert partition_of(IDS, 7).tolist() == [2, 4, 2, 1, 1, 5]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(INT64, INT64), min_size=1, max_size=20), INT64)
def test_each_row_is_hashed_by_its_own_keys_alone(pairs: list[tuple[int, int]], seed: int) -> None:
    first, second = np.array(pairs, np.int64).T
    together = keyed_hash(seed, first, second)
    assert together.dtype == np.uint64
    assert together.tolist() == [int(keyed_hash(seed, a, b)[0]) for a, b in pairs]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.sets(INT64, max_size=200))
def test_mix_is_one_to_one(keys: set[int]) -> None:
    assert len(set(mix(np.array(sorted(keys), np.int64).view(np.uint64)).tolist())) == len(keys)


def test_a_flipped_bit_flips_half_of_the_hash() -> None:
    keys = np.arange(1000)
    for bit in range(63):
        changed = np.bitwise_count(keyed_hash(keys) ^ keyed_hash(keys ^ (1 << bit)))
        assert 31 < changed.mean() < 33


def test_the_unit_interval_is_filled_evenly_and_never_reaches_one() -> None:
    edges = np.array([0, 2**64 - 1], np.uint64)
    assert unit_interval(edges).tolist() == [0.0, 1 - 2.0**-53]
    counts = np.histogram(unit_interval(keyed_hash(5, np.arange(100_000))), bins=100, range=(0, 1))[0]
    assert counts.sum() == 100_000
    assert ((counts - 1000) ** 2 / 1000).sum() < 149  # chi-square of 99 degrees, 1 in 1,000


@pytest.mark.parametrize("step", [1, 10, 1024])
def test_ids_in_a_row_spread_over_partitions(step: int) -> None:
    counts = np.bincount(partition_of(np.arange(0, 64_000 * step, step), 64), minlength=64)
    assert len(counts) == 64
    assert ((counts - 1000) ** 2 / 1000).sum() < 104  # chi-square of 63 degrees, 1 in 1,000


def test_no_ids_have_no_partitions() -> None:
    assert partition_of(np.zeros(0, np.int64), 5).tolist() == []
    assert partition_of(IDS, 1).tolist() == [0] * len(IDS)
