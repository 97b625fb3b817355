"""tf.Examples as any writer may lay them out, and what tf.io.parse_example makes of them: the oracle of the reader."""

import pathlib
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import google_crc32c
import numpy as np
import pyarrow as pa
import tensorflow as tf

from recsys_tft.reading.columns import Column
from recsys_tft.reading.forms import Lists
from recsys_tft.storage.varints import varint

INT, FLOAT, BYTES = pa.int64(), pa.float32(), pa.binary()
_TAGS = {BYTES: b"\x0a", FLOAT: b"\x12", INT: b"\x1a"}


class Entry(NamedTuple):
    """A feature of one record; without a kind it has no list."""

    name: str
    kind: pa.DataType | None
    values: Sequence = ()
    packed: bool = True


def _sized(tag: bytes, data: bytes) -> bytes:
    return tag + varint(len(data)) + data


def _listed(entry: Entry) -> bytes:
    if entry.kind == BYTES:
        return b"".join(_sized(b"\x0a", value) for value in entry.values)
    if entry.kind == FLOAT:
        elements, tag = [struct.pack("<f", value) for value in entry.values], b"\x0d"
    else:
        elements, tag = [varint(value & (1 << 64) - 1) for value in entry.values], b"\x08"
    if entry.packed:
        return _sized(b"\x0a", b"".join(elements)) if elements else b""
    return b"".join(tag + element for element in elements)


def example(entries: Sequence[Entry]) -> bytes:
    """A serialized tf.Example."""
    features = [b"" if e.kind is None else _sized(_TAGS[e.kind], _listed(e)) for e in entries]
    pairs = [
        _sized(b"\x0a", e.name.encode()) + _sized(b"\x12", feature)
        for e, feature in zip(entries, features, strict=True)
    ]
    return _sized(b"\x0a", b"".join(_sized(b"\x0a", pair) for pair in pairs))


def _masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(records: Sequence[bytes]) -> bytes:
    """What a TFRecord file of these holds."""
    sizes = [struct.pack("<Q", len(record)) for record in records]
    return b"".join(s + _masked(s) + r + _masked(r) for s, r in zip(sizes, records, strict=True))


def write(path: pathlib.Path, records: Sequence[bytes]) -> str:
    path.write_bytes(framed(records))
    return str(path)


def spec_of(columns: Sequence[Column]) -> dict[str, object]:
    """The same columns for tf.io.parse_example."""
    kinds = {INT: tf.int64, FLOAT: tf.float32, BYTES: tf.string}
    return {
        c.name: tf.io.VarLenFeature(kinds[c.type])
        if c.shape is None
        else tf.io.FixedLenFeature(c.shape, kinds[c.type], c.default)
        for c in columns
    }


def parsed(records: Sequence[bytes], columns: Sequence[Column]) -> dict[str, np.ndarray | Lists] | None:
    """What parse_example reads; None if it refuses one of the records."""
    try:
        found = tf.io.parse_example(tf.constant(records, tf.string, [len(records)]), spec_of(columns))
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):  # the latter of a message that quotes the record
        return None
    return {name: _plain(values) for name, values in found.items()}


def _plain(values: tf.Tensor | tf.SparseTensor) -> np.ndarray | Lists:
    if isinstance(values, tf.SparseTensor):
        ragged = tf.RaggedTensor.from_sparse(values)
        return Lists(ragged.values.numpy(), ragged.row_splits.numpy())
    return values.numpy()


def whole(batches: Sequence[Mapping[str, np.ndarray | Lists]]) -> dict[str, np.ndarray | Lists]:
    """Some batches as one."""
    return {name: _joined([batch[name] for batch in batches]) for name in batches[0]}


def _joined(parts: list) -> np.ndarray | Lists:
    if not isinstance(parts[0], Lists):
        return np.concatenate(parts)
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    return Lists(np.concatenate([part.values for part in parts]), np.concatenate([[0], np.cumsum(sizes)]))


def assert_equal(found: Mapping[str, np.ndarray | Lists], wanted: Mapping[str, np.ndarray | Lists]) -> None:
    """All values, to the last bit, their types and shapes."""
    assert list(found) == sorted(wanted, key=list(found).index)
    for name, values in wanted.items():
        for one, other in zip(_arrays(found[name]), _arrays(values), strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape), name
            if one.dtype == object:
                assert one.ravel().tolist() == other.ravel().tolist(), name
            else:
                assert one.tobytes() == other.tobytes(), name


def _arrays(values: np.ndarray | Lists) -> Sequence[np.ndarray]:
    return values if isinstance(values, Lists) else [values]
