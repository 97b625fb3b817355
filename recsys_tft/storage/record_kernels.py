"""Two compiled loops: from rows of columns to fragments of tf.Examples, and from fragments to TFRecords.

Arguments are addresses: see `recsys_tft.storage.kernel_arguments`.
"""

from numba.core import types

from recsys_tft.storage.kernel_arguments import (
    BYTES,
    CODES,
    COUNTS,
    DATA,
    ENDS,
    FLOAT,
    FRAMING,
    INT64,
    KIND,
    NAME,
    NAME_SIZE,
    NEXT,
    OFFSETS,
    VALUES,
)
from recsys_tft.storage.machine_code import compiled, copy, load64, masked_crc32c, store8, store32, store64

_DELIMITED = 0x0A  # the tag of an entry, of its name, of packed numbers, and of a text


@compiled()
def _size_of(value: int) -> int:
    """Bytes of a varint; negative numbers are encoded as unsigned 64 bits."""
    if value < 0:
        return 10
    size = 1
    while value > 127:
        value >>= 7
        size += 1
    return size


@compiled()
def _put(at: int, value: int) -> int:
    """Write a varint, and return its end."""
    while value < 0 or value > 127:
        store8(at, value & 127 | 128)
        value = value >> 7 & 0x01FFFFFFFFFFFFFF
        at += 1
    store8(at, value)
    return at + 1


@compiled()
def _delimited(at: int, size: int) -> int:
    store8(at, _DELIMITED)
    return _put(at + 1, size)


@compiled()
def _payload_size(kind: int, values: int, ends: int, first: int, end: int) -> int:
    if kind == FLOAT:
        return 4 * (end - first)
    size = 0
    for k in range(first, end):
        if kind == INT64:
            size += _size_of(load64(values + 8 * k))
        else:
            length = load64(ends + 8 * k + 8) - load64(ends + 8 * k)
            size += 1 + _size_of(length) + length
    return size


@compiled()
def _put_payload(at: int, kind: int, values: int, ends: int, first: int, end: int) -> int:
    if kind == FLOAT:
        copy(at, values + 4 * first, 4 * (end - first))
        return at + 4 * (end - first)
    for k in range(first, end):
        if kind == INT64:
            at = _put(at, load64(values + 8 * k))
        else:
            begin = load64(ends + 8 * k)
            length = load64(ends + 8 * k + 8) - begin
            at = _delimited(at, length)
            copy(at, values + begin, length)
            at += length
    return at


@compiled(types.void(types.int64[:, ::1], types.int64, types.int64[::1]))
def encode(columns, out, offsets):
    """Write a map entry per column for each row to `out`, and the ends of rows to `offsets`, [rows + 1]."""
    at = out
    for row in range(len(offsets) - 1):
        for k in range(columns.shape[0]):
            kind, values, ends = columns[k, KIND], columns[k, VALUES], columns[k, ENDS]
            count = load64(columns[k, COUNTS] + 8 * row) if columns[k, COUNTS] else 1
            first = columns[k, NEXT]
            end = first + max(count, 0)
            columns[k, NEXT] = end
            size = _payload_size(kind, values, ends, first, end)
            packed = kind != BYTES and size > 0
            listed = size + (1 + _size_of(size) if packed else 0)
            feature = 0 if count < 0 else 1 + _size_of(listed) + listed
            name_size = columns[k, NAME_SIZE]
            at = _delimited(at, name_size + _size_of(feature) + feature)
            copy(at, columns[k, NAME], name_size)
            at = _put(at + name_size, feature)
            if count >= 0:
                store8(at, kind)
                at = _put(at + 1, listed)
            if packed:
                at = _delimited(at, size)
            at = _put_payload(at, kind, values, ends, first, end)
        offsets[row + 1] = at - out


@compiled(types.UniTuple(types.int64, 2)(types.int64[:, ::1], types.int64, types.int64, types.int64, types.int64))
def frame(parts, row, rows, out, room):
    """Write as many records from `row` on to `out` as there is `room` for; return the next row, and the bytes."""
    at = out
    while row < rows:
        size = 0
        for k in range(parts.shape[0]):
            code = load64(parts[k, CODES] + 8 * row) if parts[k, CODES] else row
            ends = parts[k, OFFSETS] + 8 * code
            size += load64(ends + 8) - load64(ends)
        message = 1 + _size_of(size) + size
        if at - out + message + FRAMING > room:
            break
        store64(at, message)
        store32(at + 8, masked_crc32c(at, 8))
        begin = at + 12
        at = _delimited(begin, size)
        for k in range(parts.shape[0]):
            code = load64(parts[k, CODES] + 8 * row) if parts[k, CODES] else row
            ends = parts[k, OFFSETS] + 8 * code
            length = load64(ends + 8) - load64(ends)
            copy(at, parts[k, DATA] + load64(ends), length)
            at += length
        store32(at, masked_crc32c(begin, message))
        at += 4
        row += 1
    return row, at - out
