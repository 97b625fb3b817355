"""A compiled binary search for many numbers, each in its part of an array."""

from numba.core import types

from recsys_tft.storage.machine_code import compiled

_READ, _FILLED = types.Array(types.int64, 1, "C", readonly=True), types.int64[::1]


@compiled(types.void(_READ, _READ, _FILLED, _READ))
def search(values, numbers, first, end):
    """Find in each part the first value that is not less than a number.

    Args:
        values: increasing within each part, [n].
        numbers: to search for, [m].
        first: start of the part, [m]; overwritten by the result, which is `end` if there is no such value.
        end: of the part, [m].
    """
    for row in range(len(first)):
        low, high, number = first[row], end[row], numbers[row]
        while low < high:
            middle = (low + high) >> 1
            if values[middle] < number:
                low = middle + 1
            else:
                high = middle
        first[row] = low
