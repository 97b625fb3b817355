"""A compiled stable radix sort."""

import numpy as np
from numba.core import types

from recsys_tft.storage.machine_code import compiled

_BITS = 11  # of a key per pass; the counters fit into the processor's nearest cache
_SIZE = 1 << _BITS
_KEY, _ROWS = types.Array(types.uint64, 1, "C", readonly=True), types.int64[::1]


@compiled(types.boolean(_KEY, _ROWS, _ROWS))
def sort_by(keys, order, room):
    """Sort rows by a key; return whether the result is in `room` instead of `order`.

    Args:
        keys: of all rows, [n].
        order: the current order of rows, [n].
        room: work space, [n].
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
