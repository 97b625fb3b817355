"""Hashes that are equal on every machine: for partitions, and for draws that do not depend on order."""

import numpy as np
import pyarrow as pa

_ALL = np.uint64(2**64 - 1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_STEPS = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


def mix(values: np.ndarray) -> np.ndarray:
    """[n] uint64 to well-spread [n] uint64: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = values.astype(np.uint64)
    for shift, factor in _STEPS:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
    return mixed ^ (mixed >> np.uint64(31))


def keyed_hash(*keys: np.ndarray | int) -> np.ndarray:
    """[n] uint64 from keys that are [n] int64, or one int for all; the order of the keys matters."""
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(key, np.int64)) for key in keys))
    hashed = np.zeros(arrays[0].shape, np.uint64)
    for array in arrays:
        hashed = mix((hashed ^ array.view(np.uint64)) + _GOLDEN)
    return hashed


def text_hash(texts: pa.Array) -> np.ndarray:
    """[n] uint64 of the bytes of [n] strings or binaries; undefined for nulls."""
    array = texts.cast(pa.large_binary())
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    begins, sizes = offsets[:-1] - offsets[:1], np.diff(offsets)
    used = np.frombuffer(array.buffers()[2] or b"", np.uint8)[offsets[:1].sum() : offsets[-1:].sum()]
    data = np.concatenate([used, np.zeros(8, np.uint8)])
    words = np.ndarray(len(data) - 7, "<u8", data, strides=(1,))  # the eight bytes at each position
    hashed = mix(sizes.astype(np.uint64) + _GOLDEN)
    rows = np.arange(len(sizes))
    for begin in range(0, int(sizes.max(initial=0)), 8):
        rows = rows[sizes[rows] > begin]
        left = np.minimum(sizes[rows] - begin, 8).astype(np.uint64)
        word = words[begins[rows] + begin] & (_ALL >> (np.uint64(64) - np.uint64(8) * left))
        hashed[rows] = mix((hashed[rows] ^ word) + _GOLDEN)
    return hashed


def unit_interval(hashes: np.ndarray) -> np.ndarray:
    """[n] uint64 to [n] float64 in [0, 1)."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def partition_of(ids: np.ndarray, partitions: int) -> np.ndarray:
    """[n] int64: the partition of each of [n] int64 ids, from 0 to partitions - 1."""
    return (keyed_hash(ids) % np.uint64(partitions)).astype(np.int64)
