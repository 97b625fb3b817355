"""Checksums of strings, and of their concatenations, against a slow reference."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft.storage import crc32c
from recsys_tft.storage.fragments import Fragments


def reference_crc(data: bytes, register: int = 0) -> int:
    for octet in data:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ 0x82F63B78 * (register & 1)
    return register


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=6))
def test_checksums_equal_a_slow_reference(strings: list[bytes]):
    crc = Fragments.of(pa.array(strings, pa.large_binary())).crc
    assert crc.tolist() == [reference_crc(string) for string in strings]
    lengths = np.array([len(string) for string in strings], np.int64)
    standard = [reference_crc(string, 0xFFFFFFFF) ^ 0xFFFFFFFF for string in strings]
    assert crc32c.finished(crc, lengths).tolist() == standard


def test_checksum_of_the_digits_is_the_published_one():
    digits = Fragments.of(pa.array([b"123456789"], pa.large_binary()))
    assert crc32c.finished(digits.crc, np.array([9])).tolist() == [0xE3069283]  # RFC 3720's check value


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=3000))
def test_shifted_checksums_add_up(first: bytes, second: bytes):
    one, other, both = Fragments.of(pa.array([first, second, first + second], pa.large_binary())).crc
    assert crc32c.shift(np.array([one]), np.array([len(second)]))[0] ^ other == both


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32), st.integers(0, 2**32))
def test_shifts_compose(register: int, first: int, second: int):
    crc = np.array([register, 1], np.uint32)
    both = crc32c.shift(crc32c.shift(crc, first), np.array([second, second]))
    np.testing.assert_array_equal(both, crc32c.shift(crc, first + second))
