"""Sorting by several keys."""

from collections.abc import Sequence

import numpy as np

_MANY = 1 << 17  # rows for which compiled code is worth loading


def lexsort(keys: Sequence[np.ndarray]) -> np.ndarray:
    """[n] int64: the rows by the last key, those that agree in it by the one before, and so on, as np.lexsort.

    Args:
        keys: [n] whole numbers or booleans each, at least one.
    """
    if len(keys[0]) < _MANY:
        return np.lexsort(keys)
    from recsys_tft.storage.sort_kernel import sort_by  # loads numba

    order, room = np.arange(len(keys[0])), np.empty(len(keys[0]), np.int64)
    for key in keys:
        if sort_by(_from_zero(key), order, room):
            order, room = room, order
    return order


def _from_zero(key: np.ndarray) -> np.ndarray:
    """[n] uint64 in the same order, of which the least is 0; the fewer bits, the fewer passes."""
    whole = key if key.dtype == np.uint64 else key.astype(np.int64, casting="safe")
    return np.ascontiguousarray(whole).view(np.uint64) - np.asarray(whole.min()).view(np.uint64)
