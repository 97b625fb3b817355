"""Protobuf's varints: groups of seven bits of the two's complement, lowest first; a top bit says that more follow.

References:
    https://protobuf.dev/programming-guides/encoding/#varints
"""

import numpy as np

from recsys_tft.storage.fragments import Views

_CONTINUED = np.uint64([sum(128 << 8 * k for k in range(min(size - 1, 8))) for size in range(11)])  # by size


def varint(value: int) -> bytes:
    """The varint of one integer, 0 <= value."""
    low = b""
    while value > 127:
        low, value = low + bytes([value & 127 | 128]), value >> 7
    return low + bytes([value])


def varints(integers: np.ndarray) -> Views:
    """[n] canonical varints of [n] int64, 1 to 10 bytes each."""
    bits = integers.view(np.uint64)
    sizes = np.searchsorted(1 << np.arange(7, 64, 7, dtype=np.uint64), bits, side="right") + 1
    low = bits & np.uint64((1 << 56) - 1)
    for width in (28, 14, 7):  # halves of 56 bits move 4 bits apart, quarters 2, eighths 1: a group per byte
        lower = np.uint64(sum((1 << width) - 1 << at for at in range(0, 64, width * 8 // 7 * 2)))
        low = (low & lower) | ((low & ~lower) << np.uint64(width // 7))
    low |= _CONTINUED.take(sizes)
    words = [low.astype(np.uint32), (low >> np.uint64(32)).astype(np.uint32)]
    high = (bits >> np.uint64(56)) & np.uint64(127) | (bits >> np.uint64(63)) * np.uint64(0x180)
    longest = sizes.max(initial=1)
    return Views.inline(sizes, [*words, high.astype(np.uint32)][: (longest + 3) // 4])
