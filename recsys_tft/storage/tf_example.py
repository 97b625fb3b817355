"""tf.Examples by the column: the map entries of some features, encoded once per entity and joined per row.

A serialized tf.Example is `0x0A varint(length)` and the concatenation of its map entries, one per feature. So the
entries of the user features of one user (a *fragment*) are encoded once, and a row of training data is the
concatenation of a user fragment, a video fragment and so on; `recsys_tft.storage.tfrecord` joins and frames them. No
loop runs over rows. An entry is

    0A varint(size)  0A varint(size) name  12 varint(size)  kind varint(size)  [0A varint(size)] payload

where the payload is packed numbers (only these have the bracket) or, for bytes, `0A varint(size) value` an element.
What precedes it depends on its size alone, so a column is two parts per row: one of a few headers, and a payload.
Reference: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from recsys_tft.errors import InputError
from recsys_tft.storage import crc32c
from recsys_tft.storage.fragments import Codes, Fragments, Part, Views, gather, join, joined, row_sizes
from recsys_tft.storage.varints import varint, varints

ROWS = 32768  # at a time: few enough to stay in cache, many enough to hide what a NumPy call costs
BYTES = 1 << 23  # at a time, for wide rows such as embeddings
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\x0a", b"\x12", b"\x1a"  # the fields of tf.train.Feature
_NULL = -1  # in place of a payload's size or a list's length


def encode_fragments(table: pa.Table) -> Fragments:
    """One fragment per row: a map entry per column, in the order of the columns.

    A null becomes a Feature without a list, which parsers take as missing (as tfx_bsl has it); an empty list becomes
    an empty list of its kind. Integers and bool become int64, floats float32; bytes of strings are UTF-8.

    Args:
        table: columns of integers, bool, floats, strings or binaries, or of lists of these (also of fixed size).

    Raises:
        InputError: if a column is of another type, has a null inside a list or an integer beyond int64, or if two
            columns have the same name.
    """
    return Fragments.concatenated([joined(parts) for parts in part_blocks(table)])


def part_blocks(table: pa.Table) -> Iterator[list[Part]]:
    """What to join into the fragments of `encode_fragments`, by blocks of rows, at least one."""
    if repeated := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise InputError(f"Column '{repeated[0]}' appears more than once; a tf.Example holds a name once.")
    rows = min(ROWS, max(1, BYTES * table.num_rows // max(1, table.nbytes)))
    empty = pa.RecordBatch.from_pylist([], table.schema)
    yield from map(_encode_block, table.to_batches(max_chunksize=rows) or [empty])


def encode_examples(table: pa.Table) -> pa.LargeBinaryArray:
    """[n] serialized tf.Examples, one per row of `table`; see `encode_fragments`."""
    return pa.concat_arrays([join([_prefixes(row_sizes(parts)), *parts]) for parts in part_blocks(table)])


@functools.lru_cache(maxsize=256)
def example_prefixes(sizes: tuple[int, ...]) -> Views:
    """What makes a tf.Example of map entries of each of these sizes; also the start of an element of a bytes list."""
    return Views.of_strings([b"\x0a" + varint(size) for size in sizes])


def distinct_sizes(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, ascending, and of each element the index of its own; sizes: [n] int64, -1 or more."""
    if sizes.max(initial=0) > 1 << 16:
        return np.unique(sizes, return_inverse=True)
    distinct = np.flatnonzero(np.bincount(sizes + 1)) - 1
    place = np.zeros(distinct.max(initial=0) + 2, np.int64)
    place[distinct] = np.arange(len(distinct))  # that of -1 is the last
    return distinct, place.take(sizes)


def _prefixes(sizes: np.ndarray) -> Part:
    distinct, codes = distinct_sizes(sizes)
    return example_prefixes(tuple(distinct.tolist())), codes


def _encode_block(block: pa.RecordBatch) -> list[Part]:
    if not block.num_columns:
        return [(Views.of_strings([b""]), np.zeros(block.num_rows, np.int64))]
    return [part for name in block.schema.names for part in _encode_column(name, block.column(name))]


def _encode_column(name: str, column: pa.Array) -> list[Part]:
    kind, encode, dtype = _kind(name, column.type)
    headers = functools.partial(_headers, name.encode(), kind)
    flat, counts = _flatten(column)
    if flat.null_count:
        raise InputError(f"Column '{name}' has a null inside a list, which a tf.Example cannot hold; drop or fill it.")
    try:
        elements, codes = encode(flat.cast(dtype))
    except pa.ArrowInvalid as error:
        raise InputError(f"Column '{name}' has a value that does not fit {dtype}: {error}.") from error
    if counts is not None:
        payload = _per_row(elements, codes, np.maximum(counts, 0))
        return _entries(payload, np.where(counts == _NULL, _NULL, payload.lengths), headers)
    entries = _entries(elements, elements.lengths, headers)
    return entries if codes is None else [(Views.of(joined(entries)), codes)]


def _entries(payload: Views, sizes: np.ndarray, headers: Callable[[tuple[int, ...]], Views]) -> list[Part]:
    """The header's checksum counts in the payload's: one shift for both when the columns are joined."""
    distinct, codes = distinct_sizes(sizes)
    before = headers(tuple(distinct.tolist()))
    crc = before.crc if payload.pending is not None else crc32c.shift(before.crc, np.maximum(distinct, 0))
    merged = dataclasses.replace(payload, crc=payload.crc ^ crc.take(codes))
    return [(dataclasses.replace(before, crc=None), codes), (merged, None)]


def _kind(name: str, column: pa.DataType) -> tuple[bytes, Callable[[pa.Array], Part], pa.DataType]:
    element = column.value_type if _is_list(column) else column
    if pt.is_integer(element) or pt.is_boolean(element):
        return _INT64_LIST, _encode_integers, pa.int64()
    if pt.is_floating(element):
        return _FLOAT_LIST, _encode_floats, pa.float32()
    if any(test(element) for test in (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary)):
        return _BYTES_LIST, _encode_bytes, pa.large_binary()
    raise InputError(
        f"Column '{name}' has type {column}, which a tf.Example cannot hold; cast it to int64, float32, string, binary"
        " or a list of one of these."
    )


def _is_list(column: pa.DataType) -> bool:
    return pt.is_list(column) or pt.is_large_list(column) or pt.is_fixed_size_list(column)


def _flatten(column: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """The elements that rows hold, and [n] int64 how many: -1 for null; None: one each."""
    if _is_list(column.type):
        lengths, flat = pc.list_value_length(column).cast(pa.int64()), pc.list_flatten(column)
    elif column.null_count:
        lengths, flat = pa.repeat(pa.scalar(1, pa.int64()), len(column)), column.drop_null()
    else:
        return column, None
    if column.null_count:
        lengths = pc.if_else(column.is_valid(), lengths, _NULL)
    return flat, lengths.to_numpy()


def _encode_floats(values: pa.Array) -> Part:
    words = values.to_numpy().view(np.uint32)
    return Views.inline(np.full(len(words), 4), [words]), None


def _encode_integers(values: pa.Array) -> Part:
    """Varints; of each integer of a small range once."""
    integers = values.to_numpy()
    lowest, highest = (int(integers.min()), int(integers.max())) if len(integers) else (0, 0)
    if highest - lowest < len(integers) // 4:
        return varints(np.arange(lowest, highest + 1)), integers - lowest
    return varints(integers), None


def _encode_bytes(values: pa.Array) -> Part:
    """`0A varint(size) value`; of each distinct value once, if a sample has repetitions."""
    sample, codes = values.slice(0, 1 + len(values) // 8), None
    if len(sample.unique()) < len(sample) // 2:
        encoded = values.dictionary_encode()
        values, codes = encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)
    strings = Views.of(Fragments.of(values))
    return Views.of(joined([_prefixes(strings.lengths), (strings, None)])), codes


def _per_row(elements: Views, codes: Codes, counts: np.ndarray) -> Views:
    """The payload of each row, `counts` elements one after the other."""
    offsets = crc32c.offsets_of(counts)
    lengths = gather(elements.lengths, codes)
    ends = crc32c.offsets_of(lengths)[offsets]
    pending = 0 if elements.pending is None else gather(elements.pending, codes)
    crc = crc32c.concatenated(gather(elements.crc, codes), pending, lengths, offsets)
    if codes is None and elements.pending is not None and lengths.min(initial=4) == 4:
        octets = np.ascontiguousarray(elements.crc).view(np.uint8)  # whole words, whose pending checksum is themselves
    else:
        octets = np.frombuffer(join([(elements, codes)]).buffers()[2] or b"", np.uint8)
    return Views.at(octets, ends[:-1], np.diff(ends), crc)


@functools.lru_cache(maxsize=1024)  # one block's headers are mostly those of the next
def _headers(name: bytes, kind: bytes, sizes: tuple[int, ...]) -> Views:
    return Views.of_strings([_header(name, kind, size) for size in sizes])


def _header(name: bytes, kind: bytes, size: int) -> bytes:
    """All of a map entry that stands before a payload of `size` bytes."""
    packed = b"\x0a" + varint(size) if size > 0 and kind != _BYTES_LIST else b""
    listed = b"" if size == _NULL else kind + varint(len(packed) + size) + packed
    feature = b"\x12" + varint(len(listed) + max(size, 0)) + listed
    entry = b"\x0a" + varint(len(name)) + name + feature
    return b"\x0a" + varint(len(entry) + max(size, 0)) + entry
