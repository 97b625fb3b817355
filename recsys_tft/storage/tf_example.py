"""tf.Examples by column: the map entries of some features, encoded once per entity and joined per row.

A serialized tf.Example is `0x0A varint(length)` and the concatenation of its map entries, one per feature. So the
entries of the user features of one user (a *fragment*) are encoded once, and a row of training data is the
concatenation of a user fragment, a video fragment and so on; `recsys_tft.storage.tfrecord` joins and frames them. An
entry is

    0A varint(size)  0A varint(size) name  12 varint(size)  kind varint(size)  [0A varint(size)] payload

where the payload is packed numbers (only these have the bracket) or, for bytes, `0A varint(size) value` per element.
Reference: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto
"""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from recsys_tft.errors import InputError
from recsys_tft.storage.kernel_arguments import BYTES, COLUMN_FIELDS, FLOAT, INT64
from recsys_tft.storage.varints import varint

LONGEST = 1 << 30  # bytes of a fragment; a tf.Example is limited to 2 GiB
_ENTRY = 1 + 5 + 5 + 1 + 5 + 1 + 5  # most bytes of tags and sizes
_TYPES = {INT64: pa.int64(), FLOAT: pa.float32(), BYTES: pa.large_binary()}
_WIDTHS = {INT64: 8, FLOAT: 4}  # bytes of a number in memory
_MOST = {INT64: 10, FLOAT: 4, BYTES: 1 + 5}  # most bytes of an element, without its text


def encode_fragments(table: pa.Table) -> pa.LargeBinaryArray:
    """[n] fragments, one per row: a map entry per column, in the order of the columns.

    A null becomes a Feature without a list, which parsers read as missing (like tfx_bsl); an empty list becomes an
    empty list of its kind. Integers and bool become int64, floats float32; strings are UTF-8.

    Args:
        table: columns of integers, bool, floats, strings or binaries, or of lists of these (also of fixed size).

    Raises:
        InputError: if a column has another type, a null inside a list or an integer beyond int64, if two columns have
            the same name, or if a row has a gigabyte.
    """
    from recsys_tft.storage import record_kernels  # loads numba

    if repeated := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise InputError(f"Column '{repeated[0]}' appears more than once; a tf.Example holds a name once.")
    columns = [_Column(name, table[name]) for name in table.column_names]
    fields = np.array([column.fields for column in columns], np.int64).reshape(-1, COLUMN_FIELDS)
    out = np.empty(sum(column.most for column in columns), np.uint8)
    offsets = np.zeros(len(table) + 1, np.int64)
    record_kernels.encode(fields, out.ctypes.data, offsets)
    if (longest := int(np.diff(offsets).max(initial=0))) >= LONGEST:
        raise InputError(f"A row has {longest} bytes; a tf.Example holds less than 1 GiB.")
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(out[: offsets[-1]])]
    return pa.Array.from_buffers(pa.large_binary(), len(table), buffers)


class _Column:
    """A column as an argument of compiled code.

    Attributes:
        fields: [COLUMN_FIELDS] of `record_kernels`; the memory lives as long as this object.
        most: upper bound of the bytes of its entries.
    """

    def __init__(self, name: str, column: pa.ChunkedArray):
        kind = _kind(name, column.type)
        flat, self._counts = _flatten(column.combine_chunks())
        if flat.null_count:
            raise InputError(
                f"Column '{name}' has a null inside a list, which a tf.Example cannot hold; drop or fill it."
            )
        try:
            self._elements = flat.cast(_TYPES[kind])
        except pa.ArrowInvalid as error:
            raise InputError(f"Column '{name}' has a value that does not fit {_TYPES[kind]}: {error}.") from error
        encoded = name.encode()
        self._name = np.frombuffer(b"\x0a" + varint(len(encoded)) + encoded + b"\x12", np.uint8)
        values, ends = _places(self._elements, kind)
        counts = 0 if self._counts is None else self._counts.ctypes.data
        self.fields = [kind, self._name.ctypes.data, len(self._name), counts, values, ends, 0]
        text = pc.sum(pc.binary_length(self._elements)).as_py() or 0 if kind == BYTES else 0
        self.most = len(column) * (len(self._name) + _ENTRY) + len(flat) * _MOST[kind] + text


def _places(elements: pa.Array, kind: int) -> tuple[int, int]:
    """The addresses of the first value, or of all bytes and of the first offset."""
    *_, data = buffers = elements.buffers()
    address = data.address if data is not None else 0
    if kind == BYTES:
        return address, buffers[1].address + 8 * elements.offset if len(elements) else 0
    return address + _WIDTHS[kind] * elements.offset, 0


def _kind(name: str, column: pa.DataType) -> int:
    element = column.value_type if is_list(column) else column
    if pt.is_integer(element) or pt.is_boolean(element):
        return INT64
    if pt.is_floating(element):
        return FLOAT
    if any(test(element) for test in (pt.is_string, pt.is_large_string, pt.is_binary, pt.is_large_binary)):
        return BYTES
    raise InputError(
        f"Column '{name}' has type {column}, which a tf.Example cannot hold; cast it to int64, float32, string, binary"
        " or a list of one of these."
    )


def is_list(column: pa.DataType) -> bool:
    """Whether values of this type are lists, of one size or of any."""
    return pt.is_list(column) or pt.is_large_list(column) or pt.is_fixed_size_list(column)


def _flatten(column: pa.Array) -> tuple[pa.Array, np.ndarray | None]:
    """The elements of all rows, and [n] int64 their number per row: -1 for null; None: one each."""
    if is_list(column.type):
        lengths, flat = pc.list_value_length(column).cast(pa.int64()), pc.list_flatten(column)
    elif column.null_count:
        lengths, flat = pa.repeat(pa.scalar(1, pa.int64()), len(column)), column.drop_null()
    else:
        return column, None
    if column.null_count:
        lengths = pc.if_else(column.is_valid(), lengths, -1)
    return flat, lengths.to_numpy()
