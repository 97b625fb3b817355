"""A compiled binary search, of many numbers in parts of an array each."""

from numba.core import types

from recsys_tft.storage.machine_code import compiled

_READ, _FILLED = types.Array(types.int64, 1, "C", readonly=True), types.int64[::1]


@compiled(types.void(_READ, _READ, _FILLED, _READ))
def search(values, wanted, first, end):
    """Moves the `first` of each part behind the values in it that are less than the wanted one.

    Args:
        values: increasing within each part, [n].
        wanted: [m].
        first: where the part begins, [m]; becomes the place of the first value that is not less, or the end.
        end: where it ends, [m].
    """
    for row in range(len(first)):
        low, high, number = first[row], end[row], wanted[row]
        while low < high:
            middle = (low + high) >> 1
            if values[middle] < number:
                low = middle + 1
            else:
                high = middle
        first[row] = low
