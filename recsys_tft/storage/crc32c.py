"""CRC-32C of many byte strings at once, and of their concatenations without a second pass over the bytes.

All functions speak of *raw* checksums: the register after the bytes went through it, starting from 0, not inverted.
Raw checksums are linear over GF(2), which is what makes them add up:

    raw(A || B) = shift(raw(A), len(B)) ^ raw(B)        shift(r, k): the register r after k zero bytes
    raw(b0 b1 b2 b3) = shift(word, 4)                   word: the bytes as a little-endian uint32
    crc32c(A) = raw(A) ^ shift(0xFFFFFFFF, len(A)) ^ 0xFFFFFFFF

`shift` is a 32 x 32 bit matrix. It is kept as four tables of 256 (one per byte of the register) for each number of
bytes below 1024, then for each multiple of 1024, and so on: an ordinary length costs four look-ups.

References:
    zlib's crc32_combine, https://github.com/madler/zlib/blob/master/crc32.c
    CRC-32C (Castagnoli), RFC 3720, section 12.1
    Masking: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import functools

import numpy as np

POLYNOMIAL = 0x82F63B78  # Castagnoli's, lowest bit first
ONES = np.uint32(0xFFFFFFFF)
_DIGIT = 10  # bits of a length per table: 4 MiB each, of which only the lengths in use occupy the cache


def shift(crc: np.ndarray, lengths: np.ndarray | int) -> np.ndarray:
    """Registers after `lengths` more zero bytes.

    Args:
        crc: [n] uint32.
        lengths: [n] or a single integer, 0 <= lengths.

    Returns:
        [n] uint32.
    """
    lengths = np.asarray(lengths, np.int64)
    shifted, level = _look_up(_table(0)[0], crc, lengths & 1023), 1
    while lengths.size and (lengths := lengths >> _DIGIT).max():
        rows = np.flatnonzero(np.broadcast_to(lengths & 1023, crc.shape))
        digits = np.broadcast_to(lengths & 1023, crc.shape)[rows]
        shifted[rows] = _look_up(_table(level)[0], shifted[rows], digits)
        level += 1
    return shifted


def raw(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[n] uint32 raw checksums of data[starts : starts + lengths], in words of four bytes, all rows at once."""
    counts = (lengths + 3) >> 2
    offsets = offsets_of(counts)
    behind = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    behind *= 4
    left = np.repeat(lengths, counts) - behind
    return _xor_by_row(shift(words(data, np.repeat(starts, counts) + behind, left), left), offsets)


def concatenated(crc: np.ndarray, pending: np.ndarray | int, lengths: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Raw checksums of rows, each the concatenation of the elements offsets[i] to offsets[i + 1].

    Args:
        crc, pending, lengths: [elements] register (uint32), bytes by which it is still to be shifted to be the
            element's raw checksum, and bytes of the element.
        offsets: [rows + 1] int64, from 0 to elements.
    """
    ends = offsets_of(lengths)
    after = np.repeat(ends[offsets[1:]], np.diff(offsets)) - ends[1:]
    return _xor_by_row(shift(crc, after + pending), offsets)


def finished(crc: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[n] uint32 CRC-32C as the standard has it, from raw checksums and lengths."""
    return crc ^ shift(np.full(len(crc), ONES), lengths) ^ ONES


def masked(crc: np.ndarray) -> np.ndarray:
    """[n] uint32, as TFRecord stores finished checksums: ((crc >> 15) | (crc << 17)) + 0xa282ead8."""
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def words(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """[n] uint32 little-endian words at any byte offset, zero beyond `lengths` bytes (also where it is negative)."""
    padded = np.concatenate([data, np.zeros(4, np.uint8)])
    at_any_byte = np.ndarray((len(data) + 1,), "<u4", padded, 0, (1,))
    keep = np.uint32([0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF])
    return at_any_byte[np.minimum(starts, len(data))] & keep[np.minimum(np.maximum(lengths, 0), 4)]


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """[n + 1] int64: 0 and the running sum."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _xor_by_row(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(offsets[1:] > offsets[:-1])  # reduceat would give an empty row its neighbour's value
    out = np.zeros(len(offsets) - 1, np.uint32)
    if len(rows):
        out[rows] = np.bitwise_xor.reduceat(values, offsets[rows])
    return out


def _look_up(tables: np.ndarray, crc: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Register `crc` through the operator of each row's digit; tables: [digits * 4 * 256] uint32."""
    octets = np.ascontiguousarray(crc, "<u4").view(np.uint8).reshape(-1, 4)
    operator = digits << 10
    out = tables.take(operator + octets[:, 0], mode="clip")  # "clip": the indices are in range, "raise" is slower
    for k in (1, 2, 3):
        out ^= tables.take((operator + 256 * k) + octets[:, k], mode="clip")
    return out


@functools.cache
def _table(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Operators [1024 * 4 * 256] for 0 to 1023 times 1024**level bytes, and the one [4 * 256] for 1024 of them."""
    identity = (np.arange(256, dtype=np.uint32) << np.uint32([[0], [8], [16], [24]])).ravel()
    power = _table(level - 1)[1] if level else _after_one_byte(identity)
    tables = identity
    for _ in range(_DIGIT):  # doubling: operators of k + 2**j bytes are those of k bytes, then 2**j more
        tables = np.concatenate([tables, _look_up(power, tables, np.int64(0))])
        power = _look_up(power, power, np.int64(0))
    return tables, power


def _after_one_byte(crc: np.ndarray) -> np.ndarray:
    for _ in range(8):
        crc = (crc >> np.uint32(1)) ^ np.where(crc & np.uint32(1), np.uint32(POLYNOMIAL), np.uint32(0))
    return crc
