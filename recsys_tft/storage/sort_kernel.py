"""A compiled radix sort, which keeps the order of rows that are equal."""

import numpy as np
from numba.core import types

from recsys_tft.storage.machine_code import compiled

_BITS = 11  # of a key that are sorted by at a time: as many counters as the processor's nearest cache holds
_SIZE = 1 << _BITS
_KEY, _ROWS = types.Array(types.uint64, 1, "C", readonly=True), types.int64[::1]


@compiled(types.boolean(_KEY, _ROWS, _ROWS))
def sort_by(keys, order, room):
    """Sorts rows by a key, and says whether they are in `room` in the end, else in `order`.

    Args:
        keys: of all rows, [n].
        order: of rows so far, [n].
        room: for as many.
    """
    begins = np.empty(_SIZE, np.int64)
    largest = np.uint64(0)
    for row in range(len(keys)):
        largest = max(largest, keys[row])
    moved = False
    shift = np.uint64(0)
    while shift < np.uint64(64) and largest >> shift:
        begins[:] = 0
        for row in range(len(keys)):
            begins[(keys[row] >> shift) & np.uint64(_SIZE - 1)] += 1
        total = 0
        for digit in range(_SIZE):
            total, begins[digit] = total + begins[digit], total
        source, target = (room, order) if moved else (order, room)
        for place in range(len(source)):
            row = source[place]
            digit = (keys[row] >> shift) & np.uint64(_SIZE - 1)
            target[begins[digit]] = row
            begins[digit] += 1
        moved = not moved
        shift += np.uint64(_BITS)
    return moved
