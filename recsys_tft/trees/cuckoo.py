"""Many small hash tables as flat arrays, in which each key stands in one of two slots: a lookup is two gathers.

Pagh and Rodler, Cuckoo hashing (2004), doi:10.1016/j.jalgor.2003.12.002.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

_SLOTS_PER_KEY = 4  # at least: with so much room, nearly every choice of hash functions succeeds at once
_ROUNDS = 200
_CHOICES = 100


@dataclasses.dataclass(frozen=True)
class CuckooTables:
    """The slots of all tables, one table after the other.

    The two slots of a key, counted from its table's first, are `((key * factor) >> shift) & (size - 1)` for the two
    factors: the highest bits of a product modulo 2^64.

    Attributes:
        factors: [2, tables] int64, odd.
        shifts: [tables] int64.
        first_slots: [tables] int64.
        sizes: [tables] int64, powers of 2.
        keys: [slots] int64; an empty slot holds a number that is no table's key.
        entry: [slots] int64, the number of the key within its table; -1 in an empty slot.
    """

    factors: np.ndarray
    shifts: np.ndarray
    first_slots: np.ndarray
    sizes: np.ndarray
    keys: np.ndarray
    entry: np.ndarray


def build(tables: Sequence[np.ndarray]) -> CuckooTables:
    """The hash tables of some sets of keys.

    Args:
        tables: for each table [n] int64 distinct keys.
    """
    counts = np.array([len(keys) for keys in tables], np.int64)
    bits = np.ceil(np.log2(np.maximum(counts, 1) * _SLOTS_PER_KEY)).astype(np.int64)
    sizes = 1 << bits
    first_slots = np.cumsum(sizes) - sizes
    keys = np.concatenate(tables)
    table = np.repeat(np.arange(len(tables)), counts)
    factors, places = np.zeros((2, len(tables)), np.int64), np.full(len(keys), -1)
    missing = np.arange(len(tables))
    for seed in range(_CHOICES):
        random = np.random.default_rng([seed, len(keys)])
        factors[:, missing] = random.integers(-(2**63), 2**63, (2, len(missing))) | 1
        rows = np.flatnonzero(np.isin(table, missing))
        places[rows] = _place(_slots(keys[rows], table[rows], factors, 64 - bits, first_slots), int(sizes.sum()))
        missing = np.unique(table[places < 0])
        if not len(missing):
            break
    else:
        raise AssertionError(f"{_CHOICES} choices of hash functions could not place all of {len(keys)} keys.")
    entry = np.full(int(sizes.sum()), -1)
    entry[places] = np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)
    slots = np.full(len(entry), _absent(keys))
    slots[places] = keys
    return CuckooTables(factors, 64 - bits, first_slots, sizes, slots, entry)


def _absent(keys: np.ndarray) -> int:
    """The smallest number >= 0 that is no key."""
    candidates = np.arange(len(keys) + 1)
    return int(candidates[~np.isin(candidates, keys)][0])


def _slots(
    keys: np.ndarray, table: np.ndarray, factors: np.ndarray, shifts: np.ndarray, first_slots: np.ndarray
) -> np.ndarray:
    """[2, n]: the two slots of each key."""
    products = (keys * factors[:, table]).view(np.uint64)
    return first_slots[table] + (products >> shifts[table].astype(np.uint64)).astype(np.int64)


def _place(slots: np.ndarray, size: int) -> np.ndarray:
    """[n]: one of its two slots for each key, all distinct; -1 where none was found.

    All keys that have no slot move into one at once, and those that they displace go to their other one next.
    """
    owner, choice = np.full(size, -1), np.zeros(slots.shape[1], np.int64)
    pending = np.arange(slots.shape[1])
    for _ in range(_ROUNDS):
        wanted = slots[choice[pending], pending]
        displaced = np.unique(owner[wanted])
        owner[wanted] = pending
        lost = pending[owner[wanted] != pending]
        pending = np.concatenate([lost, displaced[displaced >= 0]])
        if not len(pending):
            break
        choice[pending] ^= 1
    places = np.full(slots.shape[1], -1)
    filled = np.flatnonzero(owner >= 0)
    places[owner[filled]] = filled
    places[pending] = -1
    return places
