"""Thrift's compact protocol, in which Parquet describes its files and pages.

References:
    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from recsys_tft.storage.varints import varint


class I64(int):
    """An integer in a field of 64 bits; a plain int is one of 32."""


Value: TypeAlias = "int | I64 | bytes | Sequence[Value] | Struct"
Struct: TypeAlias = Mapping[int, Value]  # values by the numbers of their fields, which ascend
_KINDS: dict[type, int] = {int: 5, I64: 6, bytes: 8, list: 9, dict: 12}


def encode(struct: Struct) -> bytes:
    """A struct as it is written.

    Examples:
        >>> encode({1: 1, 3: I64(-1), 4: [b"ab"]}).hex()
        '150226011918026162 00'.replace(" ", "")
    """
    found, last = bytearray(), 0
    for number, value in struct.items():
        found.append(number - last << 4 | _KINDS[type(value)])
        found += _encoded(value)
        last = number
    return bytes(found) + b"\0"


def _encoded(value: Value) -> bytes:
    if isinstance(value, int):
        return varint(value << 1 if value >= 0 else ~(value << 1))
    if isinstance(value, bytes):
        return varint(len(value)) + value
    if isinstance(value, Mapping):
        return encode(value)
    kind = _KINDS[type(value[0])] if value else _KINDS[dict]
    head = bytes([len(value) << 4 | kind]) if len(value) < 15 else bytes([15 << 4 | kind]) + varint(len(value))
    return head + b"".join(map(_encoded, value))
