"""tf.Examples as columns: input and output of the compiled loop."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.errors import InputError
from recsys_tft.reading import feature_values as fields
from recsys_tft.reading import kernel
from recsys_tft.reading import record_layouts as layouts
from recsys_tft.reading import wire_format as wire
from recsys_tft.reading.columns import Column
from recsys_tft.reading.record_chunks import Chunk
from recsys_tft.storage.kernel_arguments import BYTES, FLOAT, INT64
from recsys_tft.storage.varints import varint

_KINDS = {pa.binary(): BYTES, pa.float32(): FLOAT, pa.int64(): INT64}
_SHOWN = {BYTES: "bytes", FLOAT: "floats", INT64: "int64"}
_MOST = 1 << 31  # bytes, or values, of a column in one chunk


class ExampleRows:
    """Turns chunks of records into rows.

    Args:
        columns: to read; other features are skipped.
        rows: the most of a call.
    """

    def __init__(self, columns: Sequence[Column], rows: int):
        self._rows = rows
        # Text and lists first, for the compiled loop; int64 before float32, so that all are aligned.
        self._columns = sorted(columns, key=lambda column: (not _is_growing(column), column.dtype.itemsize == 4))
        self._growing = sum(map(_is_growing, columns))
        self._order = [self._columns.index(column) for column in columns]
        self._rooms = [8] * self._growing  # estimated values, or bytes of text, per row
        self._names = [_octets(column.name.encode()) for column in self._columns]
        self._defaults = [_default(column) for column in self._columns]
        self._described = np.array(
            [self._describe(*arguments) for arguments in zip(self._columns, self._names, self._defaults, strict=True)]
        )
        self._widths = [column.fixed_size * column.dtype.itemsize for column in self._columns[self._growing :]]
        self._places = np.cumsum([0, *self._widths])
        self.schema = pa.schema([(column.name, column.arrow_type) for column in columns])

    def _describe(self, column: Column, name: np.ndarray, default: np.ndarray) -> list[int]:
        row = [0] * fields.FIELDS
        row[fields.KIND] = _KINDS[column.type]
        row[fields.NAME], row[fields.NAME_SIZE] = _address(name), len(name) - wire.SLACK
        row[fields.DEFAULT], row[fields.DEFAULT_SIZE] = _address(default), len(default) - wire.SLACK
        row[fields.SIZE] = fields.RAGGED if column.size is None else column.size
        return row

    def __call__(self, chunks: Iterable[Chunk]) -> pa.RecordBatch:
        """The rows of one or more chunks.

        Raises:
            InputError: naming the record that cannot be read, or lacks a column without a default.
        """
        columns = self._described.copy()
        fixed = np.empty(int(self._places[-1]) * self._rows, np.uint8)
        columns[self._growing :, fields.VALUES] = _address(fixed) + self._places[:-1] * self._rows
        growing = zip(self._columns[: self._growing], self._rooms, strict=True)
        buffers = [_Written(column, room, self._rows) for column, room in growing]
        for number, one in enumerate(buffers):
            one.place(columns[number])
        rows = self._read(chunks, columns, buffers)
        self._rooms = [buffer.per_row for buffer in buffers]
        arrays = [buffer.array(columns[number], rows) for number, buffer in enumerate(buffers)]
        arrays += self._fixed(pa.py_buffer(fixed), rows)
        return pa.RecordBatch.from_arrays([arrays[i] for i in self._order], schema=self.schema)

    def _fixed(self, data: pa.Buffer, rows: int) -> Iterator[pa.Array]:
        places = (self._places[:-1] * self._rows).tolist()
        for column, place in zip(self._columns[self._growing :], places, strict=True):
            buffers = [None, data.slice(place, rows * column.fixed_size * column.dtype.itemsize)]
            values = pa.Array.from_buffers(column.type, rows * column.fixed_size, buffers)
            yield pa.FixedSizeListArray.from_arrays(values, column.size) if column.shape else values

    def _read(self, chunks: Iterable[Chunk], columns: np.ndarray, written: "list[_Written]") -> int:
        """Write all rows, and return their number."""
        layout = np.empty((layouts.ENTRIES, layouts.ENTRY_FIELDS), np.int64)
        state = np.zeros(layouts.STATES, np.int64)
        state[layouts.GROWING] = self._growing
        for chunk in chunks:
            first, start = int(state[layouts.ROW]), _address(chunk.data)
            state[layouts.AT], state[layouts.LAYOUT] = start, -1
            while (code := kernel.rows(start + len(chunk.data), columns, layout, state)) == wire.FULL:
                number = int(state[layouts.COLUMN])
                written[number].grow(columns[number])
            if code != wire.OK:
                raise self._refused(chunk, code, first, state)
        return int(state[layouts.ROW])

    def _refused(self, chunk: Chunk, code: int, first: int, state: np.ndarray) -> InputError:
        record, byte = int(state[layouts.ROW]) - first, int(state[layouts.PLACE]) - _address(chunk.data)
        column = self._columns[state[layouts.COLUMN]]
        kind = _SHOWN[_KINDS[column.type]]
        why = {
            wire.CHECKSUM: "does not match its checksum",
            wire.MALFORMED: "is not a tf.Example",
            wire.WRONG_KIND: f"has no {kind} in the feature '{column.name}', as the schema says",
            wire.WRONG_SIZE: f"has not {column.size} {kind} in the feature '{column.name}', as the schema says",
            wire.MISSING: f"lacks the feature '{column.name}', which has no default",
        }
        return chunk.unreadable(record, byte, why[code])


class _Written:
    """The output buffer of a column of text or lists, which may outgrow its estimate."""

    def __init__(self, column: Column, per_row: int, rows: int):
        self._column, self._rows = column, rows
        self._is_text, self._is_ragged = column.type == pa.binary(), column.size is None
        self._values = np.empty(per_row * rows, np.uint8 if self._is_text else column.dtype)
        texts = per_row if column.size is None else column.size
        self._ends = np.empty(1 + texts * rows if self._is_text else 1, np.int32)
        self._splits = np.empty(1 + rows if self._is_ragged else 1, np.int32)
        self._ends[0] = self._splits[0] = 0

    @property
    def per_row(self) -> int:
        """The size of a row, estimated from the rows so far."""
        return max(8, len(self._values) // self._rows)

    def place(self, row: np.ndarray) -> None:
        """Set the addresses for the compiled loop."""
        row[fields.VALUES], row[fields.ROOM] = _address(self._values), len(self._values)
        row[fields.ENDS], row[fields.ENDS_ROOM] = _address(self._ends) + 4, len(self._ends) - 1
        row[fields.SPLITS] = _address(self._splits) + 4

    def grow(self, row: np.ndarray) -> None:
        """Double the buffer.

        Raises:
            InputError: if that exceeds the limit of a column.
        """
        if 2 * len(self._values) > _MOST:
            raise InputError(f"The column '{self._column.name}' has more than {_MOST >> 30} GiB in a few rows.")
        self._values = _doubled(self._values)
        if self._is_text:
            self._ends = _doubled(self._ends)
        self.place(row)

    def array(self, row: np.ndarray, rows: int) -> pa.Array:
        """The output of a number of rows."""
        column, used = self._column, int(row[fields.USED])
        buffers = [None, pa.py_buffer(self._values[:used])]
        if self._is_text:
            used = int(row[fields.ENDS_USED])
            buffers.insert(1, pa.py_buffer(self._ends[: used + 1]))
        values = pa.Array.from_buffers(column.type, used, buffers)
        if self._is_ragged:
            splits = [None, pa.py_buffer(self._splits[: rows + 1])]
            return pa.ListArray.from_buffers(column.arrow_type, rows, splits, children=[values])
        return pa.FixedSizeListArray.from_arrays(values, column.size) if column.shape else values


def _is_growing(column: Column) -> bool:
    return column.size is None or column.type == pa.binary()


def _doubled(array: np.ndarray) -> np.ndarray:
    larger = np.empty(2 * len(array) + 64, array.dtype)
    larger[: len(array)] = array
    return larger


def _default(column: Column) -> np.ndarray:
    """The serialized Feature of a missing value; of size -1 without a default."""
    values = column.defaults()
    if values is None:
        return _octets(b"")[:-1]  # a size of -1
    if column.type == pa.binary():
        listed = b"".join(b"\x0a" + varint(len(text)) + text for text in map(_bytes, values))
    elif column.type == pa.float32():
        listed = b"\x0a" + varint(4 * len(values)) + np.array(values, "<f4").tobytes()
    else:
        packed = b"".join(varint(value & (1 << 64) - 1) for value in values)
        listed = b"\x0a" + varint(len(packed)) + packed
    return _octets(bytes([_KINDS[column.type]]) + varint(len(listed)) + listed)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _octets(data: bytes) -> np.ndarray:
    """The bytes, followed by the SLACK that may be read."""
    return np.array(bytearray(data + bytes(wire.SLACK)), np.uint8)


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]
