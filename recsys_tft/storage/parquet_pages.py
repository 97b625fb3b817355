"""Column chunks of Parquet files, of rows that are joined from tables.

Arrow finds the distinct values of a chunk by hashing each of its rows. Here a table is hashed once, however many rows
it is joined into: rows gather the codes of their values, which are packed.

References:
    https://parquet.apache.org/docs/file-format/data-pages/encodings/
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.storage.tf_example import is_list
from recsys_tft.storage.thrift import I64, Struct, Value, encode
from recsys_tft.storage.varints import varint

PHYSICAL = {pa.int64(): 2, pa.float32(): 4, pa.string(): 6}  # INT64, FLOAT, BYTE_ARRAY
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8  # encodings
_WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32)  # bits of a code: whole bytes within one uint64
_LONGEST = 1 << 12  # bytes of text that statistics show
_PAGE = (1 << 31) - (1 << 16)  # bytes, of which a header has the rest
_WIDEST = 32  # numbers of a vector: of embeddings no number occurs twice


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A column of a row group.

    Attributes:
        pages: as they are written.
        dictionary: bytes of the first page, if that holds the distinct values; else 0.
        size: bytes of all pages before they are compressed.
        count: of values, an empty list being one.
        encodings: that they use.
        statistics: of what they hold.
    """

    pages: bytes
    dictionary: int
    size: int
    count: int
    encodings: list[int]
    statistics: Struct


@dataclasses.dataclass(frozen=True)
class _Column:
    """The distinct `values` of a column, and which of them each is; of lists also how many each holds."""

    values: pa.Array
    codes: np.ndarray
    sizes: np.ndarray | None = None

    @classmethod
    def of(cls, column: pa.Array) -> "_Column":
        if not is_list(column.type):
            return cls(*_encoded(column))
        return cls(*_encoded(pc.list_flatten(column)), pc.list_value_length(column).to_numpy().astype(np.int64))

    @property
    def widest(self) -> int:
        """Bytes that a row takes at most before compression, levels and codes included."""
        width = 8
        if pa.types.is_string(self.values.type):
            width = 4 + (pc.max(pc.binary_length(self.values)).as_py() or 0)
        return 8 + width * (1 if self.sizes is None else int(self.sizes.max(initial=0)))

    def chunk(self, used: np.ndarray, places: np.ndarray, codec: pa.Codec) -> Chunk:
        """The values of rows, of which row i is used[places[i]]."""
        if self.sizes is None:
            return _chunk(self.values, self.codes[used], places, _run(len(places), 1), len(places), 0, codec)
        begins, sizes = np.cumsum(self.sizes) - self.sizes, self.sizes[used]
        codes = self.codes[_elements(begins[used], sizes)]
        begins, sizes = (np.cumsum(sizes) - sizes)[places], sizes[places]
        levels, count = _levels(sizes)
        return _chunk(self.values, codes, _elements(begins, sizes), levels, count, count - int(sizes.sum()), codec)


class CodedTable:
    """A table by the distinct values of each of its columns.

    Args:
        table: which this `takes`.
    """

    def __init__(self, table: pa.Table):
        self._size = len(table)
        self._columns = [_Column.of(column.combine_chunks()) for column in table.columns]

    @staticmethod
    def takes(table: pa.Table) -> bool:
        """Whether all columns are of the PHYSICAL types, or lists of them that are no wide vectors, without nulls."""
        return all(field.nullable for field in table.schema) and all(map(_is_taken, table.columns))

    @property
    def rows_of_a_group(self) -> int:
        """How many rows fit into a row group: a page has less than 2 GiB."""
        return max(_PAGE // max((column.widest for column in self._columns), default=1), 1)

    def chunks(self, rows: np.ndarray, codec: pa.Codec) -> Iterator[Chunk]:
        """The columns of [n] rows, 0 < n, by their places in the table."""
        used, places = _distinct(rows, self._size)
        for column in self._columns:
            yield column.chunk(used, places, codec)


def _is_taken(column: pa.ChunkedArray) -> bool:
    if not is_list(column.type):
        return column.type in PHYSICAL and not column.null_count
    inner = column.type.value_field
    is_wide = pa.types.is_fixed_size_list(column.type) and column.type.list_size > _WIDEST
    if is_wide or column.null_count or not inner.nullable or inner.type not in PHYSICAL:
        return False
    return not pc.list_flatten(column).null_count


def _encoded(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The distinct ones of [n] values, and which of them each is; floats are told apart by their bits."""
    is_float = pa.types.is_floating(values.type)
    found = (values.view(pa.int32()) if is_float else values).dictionary_encode()
    return found.dictionary.view(values.type) if is_float else found.dictionary, found.indices.to_numpy()


def _distinct(codes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ones of [n] codes below `size`, in order, and which of them each is."""
    found = np.zeros(size, bool)
    found[codes] = True
    return np.flatnonzero(found), (np.cumsum(found) - 1).take(codes)


def _elements(begins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The places of the elements of lists, one list after the other, by where each begins."""
    places = np.repeat(begins - np.cumsum(sizes) + sizes, sizes)
    places += np.arange(len(places))
    return places


def _run(count: int, level: int) -> bytes:
    """Levels that are all the same."""
    return _sized(varint(count << 1) + bytes([level]))


def _levels(sizes: np.ndarray) -> tuple[bytes, int]:
    """The repetition and definition levels of lists, and how many of each there are: an empty list has one."""
    entries = np.maximum(sizes, 1)
    ends = np.cumsum(entries)
    count, firsts = int(ends[-1]), ends - entries
    again = np.ones(count, np.uint8)
    again[firsts] = 0
    empty = firsts[sizes == 0]
    if not len(empty):
        return _sized(_bit_packed(again, 1)) + _run(count, 3), count
    defined = np.full(count, 3, np.uint8)
    defined[empty] = 1
    return _sized(_bit_packed(again, 1)) + _sized(_bit_packed(defined, 2)), count


def _sized(levels: bytes) -> bytes:
    return len(levels).to_bytes(4, "little") + levels


def _chunk(
    values: pa.Array,
    codes: np.ndarray,
    places: np.ndarray,
    levels: bytes,
    count: int,
    nulls: int,
    codec: pa.Codec,
) -> Chunk:
    """A column whose value i is number codes[places[i]] of the values, under these levels."""
    used, codes = _distinct(codes, len(values))
    values = values.take(pa.array(used))
    statistics = _statistics(values, nulls)
    if not len(values) or (not pa.types.is_string(values.type) and 2 * len(values) > len(places)):
        plain = values.to_numpy(zero_copy_only=False).take(codes).take(places).tobytes()
        page, size = _page(levels + plain, {5: {1: count, 2: _PLAIN, 3: _RLE, 4: _RLE}}, codec, kind=0)
        return Chunk(page, 0, size, count, [_PLAIN, _RLE], statistics)
    width = next(width for width in _WIDTHS if len(values) <= 1 << width)
    dtype = np.uint8 if width <= 8 else np.uint16 if width <= 16 else np.uint32
    packed = bytes([width]) + _bit_packed(codes.astype(dtype).take(places), width)
    first, held = _page(_plain(values), {7: {1: len(values), 2: _PLAIN}}, codec, kind=2)
    page, size = _page(levels + packed, {5: {1: count, 2: _RLE_DICTIONARY, 3: _RLE, 4: _RLE}}, codec, kind=0)
    return Chunk(first + page, len(first), held + size, count, [_PLAIN, _RLE, _RLE_DICTIONARY], statistics)


def _page(data: bytes, header: Struct, codec: pa.Codec, kind: int) -> tuple[bytes, int]:
    """A page, and its size before it was compressed."""
    written = codec.compress(data, asbytes=True)
    head = encode({1: kind, 2: len(data), 3: len(written), **header})
    return head + written, len(head) + len(data)


def _bit_packed(codes: np.ndarray, width: int) -> bytes:
    """[n] unsigned integers as one run of so many bits each."""
    groups = -(-len(codes) // 8)
    head = varint(groups << 1 | 1)
    return head + _packed_codes(np.concatenate([codes, np.zeros(8 * groups - len(codes), codes.dtype)]), width)


def _packed_codes(codes: np.ndarray, width: int) -> bytes:
    """[8 * n] unsigned integers, of which each keeps its lowest bits, the first ones lowest."""
    together, size = 1, 8 * codes.itemsize
    while together * width % 8:  # two neighbours become one number of twice the size
        codes = codes.view(f"u{codes.itemsize * 2}")
        lower = codes & codes.dtype.type((1 << size) - 1)
        codes = codes >> codes.dtype.type(size) << codes.dtype.type(together * width) | lower
        together, size = 2 * together, 2 * size
    return np.ndarray(len(codes), f"V{together * width // 8}", codes, strides=(codes.itemsize,)).tobytes()


def _plain(values: pa.Array) -> bytes:
    """[n] values as Parquet's PLAIN encoding has them: text after its length, as four bytes."""
    if not pa.types.is_string(values.type):
        return values.to_numpy().tobytes()
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset :][: len(values) + 1].astype(np.int64)
    text = np.frombuffer(values.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    lengths = np.diff(offsets)
    found = np.empty(len(text) + 4 * len(values), np.uint8)
    is_length = np.zeros(len(found), bool)
    places = (offsets[:-1] - offsets[0] + 4 * np.arange(len(values)))[:, None] + np.arange(4)
    is_length[places] = True
    found[places] = lengths.astype("<u4").view(np.uint8).reshape(-1, 4)
    found[~is_length] = text
    return found.tobytes()


def _statistics(values: pa.Array, nulls: int) -> Struct:
    """How many are null, the largest and the smallest of [n] values; these not of long text, nor of NaNs alone."""
    found: dict[int, Value] = {3: I64(nulls)}
    if not len(values):
        return found
    if pa.types.is_string(values.type):
        ends = pc.min_max(values.cast(pa.binary()))
        texts = [ends[name].as_py() for name in ("max", "min")]
        return found | ({5: texts[0], 6: texts[1]} if max(map(len, texts)) <= _LONGEST else {})
    numbers = values.to_numpy()
    if numbers.dtype.kind == "f":
        numbers = numbers[~np.isnan(numbers)]
        if not len(numbers):
            return found
        # Of zeros, which are equal, the largest counts as positive and the smallest as negative.
        return found | {5: (numbers.max() + np.float32(0)).tobytes(), 6: (-(-numbers.min() + np.float32(0))).tobytes()}
    return found | {5: numbers.max().tobytes(), 6: numbers.min().tobytes()}
