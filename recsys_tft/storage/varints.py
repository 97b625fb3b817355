"""Protobuf's varints: groups of seven bits, lowest first; the top bit marks that more follow.

References:
    https://protobuf.dev/programming-guides/encoding/#varints
"""


def varint(value: int) -> bytes:
    """The varint of one integer, 0 <= value."""
    low = b""
    while value > 127:
        low, value = low + bytes([value & 127 | 128]), value >> 7
    return low + bytes([value])
