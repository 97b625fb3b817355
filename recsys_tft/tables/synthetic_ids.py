"""Ids of other kinds, instead of the numbers from 1 of synthetic tables."""

import numpy as np
import pyarrow as pa

from recsys_tft.columns import IdKind
from recsys_tft.storage.hashing import mix

_LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)
_KEYS = {"user_id": 1, "video_id": 2, "channel_id": 3}


def with_ids(rows: pa.Table, kind: IdKind) -> pa.Table:
    """Rows of a table with ids of another kind: the same for the same number in every table, of any seed.

    Args:
        rows: with ids as int64.
        kind: STRING gives 11 characters, as on YouTube; UUID 16 bytes of version 8 (RFC 9562); UINT64 numbers, half of
            them 2^63 or more; INTEGER keeps the numbers.
    """
    if kind is not IdKind.INTEGER:
        for key in (key for key in _KEYS if key in rows.column_names):
            integers = rows[key].combine_chunks()
            numbers = integers.fill_null(0).to_numpy().astype(np.uint64) | np.uint64(_KEYS[key] << 56)
            positions = pa.array(np.arange(len(integers)), mask=integers.is_null().to_numpy(zero_copy_only=False))
            rows = rows.set_column(rows.column_names.index(key), key, _MADE[kind](numbers).take(positions))
    return rows


def _strings(numbers: np.ndarray) -> pa.Array:
    sixths = mix(numbers)[:, None] >> np.arange(0, 64, 6, dtype=np.uint64)  # the last one has 4 bits
    return _fixed(_LETTERS[sixths & np.uint64(63)]).cast(pa.binary()).cast(pa.string())


def _uuids(numbers: np.ndarray) -> pa.Array:
    data = np.stack([mix(numbers), mix(numbers ^ mix(numbers))], axis=1).view(np.uint8)
    data[:, 6] = data[:, 6] & 0x0F | 0x80  # the version
    data[:, 8] = data[:, 8] & 0x3F | 0x80  # the variant
    return _fixed(data)


def _fixed(data: np.ndarray) -> pa.Array:
    """[n, size] bytes as [n] binaries of that size."""
    kind = pa.binary(data.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(data), [None, pa.py_buffer(np.ascontiguousarray(data))])


_MADE = {
    IdKind.STRING: _strings,
    IdKind.UUID: _uuids,
    IdKind.UINT64: lambda numbers: pa.array(mix(numbers), pa.uint64()),
}
