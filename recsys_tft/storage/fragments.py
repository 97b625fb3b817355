"""Byte strings that are described where they lie, gathered by NumPy and concatenated with a single copy.

Arrow's binary_view array describes each string by 16 bytes: its length, and the string itself if that has at most 12
bytes, else its buffer and offset. NumPy gathers such descriptions in a nanosecond each, k per row, from any number of
buffers, and Arrow's cast to large_binary then copies the bytes to where they belong, once and without the GIL.

References:
    https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.errors import InputError
from recsys_tft.storage import crc32c

INLINE = 12  # bytes that a view holds itself
_REACH = 30  # bits of an offset: buffers begin every GiB and overlap, so that a string may reach a GiB further
_VIEW = np.dtype("V16")  # moved as one item

Codes = np.ndarray | None  # [m] int64, which view each row takes; None: its own
Part = tuple["Views", Codes]


@dataclasses.dataclass(frozen=True)
class Fragments:
    """The bytes of n rows that are to become parts of longer rows.

    Attributes:
        data: [n] large_binary without nulls.
        crc: [n] uint32 raw CRC-32C of each: register starting from 0, not inverted at the end, not masked.
    """

    data: pa.LargeBinaryArray
    crc: np.ndarray

    @classmethod
    def of(cls, data: pa.LargeBinaryArray) -> "Fragments":
        """Fragments of bytes that were encoded elsewhere; their checksums are computed here."""
        return cls(data, crc32c.raw(*_spans(data)))

    @classmethod
    def concatenated(cls, blocks: Sequence["Fragments"]) -> "Fragments":
        """The rows of the first block, then those of the next."""
        return cls(pa.concat_arrays([block.data for block in blocks]), np.concatenate([block.crc for block in blocks]))

    def __len__(self) -> int:
        return len(self.data)

    def take(self, indices: np.ndarray) -> "Fragments":
        """[m] fragments, the indices[i]-th each."""
        return Fragments(self.data.take(pa.array(indices, pa.int64())), self.crc[indices])


@dataclasses.dataclass(frozen=True)
class Views:
    """[n] byte strings wherever they lie.

    Attributes:
        views: [n] Arrow's 16 bytes.
        lengths: [n] int64.
        crc: [n] uint32, raw; None: counted in a neighbour's.
        buffers: what the views point into.
        pending: [n] bytes that `crc` is still to be shifted by, which costs nothing extra in a concatenation.
    """

    views: np.ndarray
    lengths: np.ndarray
    crc: np.ndarray | None
    buffers: tuple[pa.Buffer, ...] = ()
    pending: np.ndarray | None = None

    @classmethod
    def of(cls, fragments: Fragments) -> "Views":
        return cls.at(*_spans(fragments.data), fragments.crc)

    @classmethod
    def of_strings(cls, strings: Sequence[bytes]) -> "Views":
        """For the few distinct headers of many rows."""
        return cls.of(Fragments.of(pa.array(strings, pa.large_binary())))

    @classmethod
    def at(cls, data: np.ndarray, starts: np.ndarray, lengths: np.ndarray, crc: np.ndarray) -> "Views":
        """data[starts : starts + lengths], data being [bytes] uint8."""
        if lengths.max(initial=0) > 1 << _REACH:
            raise InputError(f"A value has {lengths.max()} bytes; a tf.Example holds less than 1 GiB.")
        fields = np.zeros((len(lengths), 4), np.int32)
        fields[:, 0], fields[:, 2], fields[:, 3] = lengths, starts >> _REACH, starts & (1 << _REACH) - 1
        short = np.flatnonzero(lengths <= INLINE)
        for k in range(0, INLINE if len(short) else 0, 4):
            fields[short, 1 + k // 4] = crc32c.words(data, starts[short] + k, lengths[short] - k).view(np.int32)
        buffers = (data[begin : begin + (1 << 31) - 1] for begin in range(0, len(data), 1 << _REACH))
        return cls(fields.view(_VIEW)[:, 0], lengths, crc, tuple(map(pa.py_buffer, buffers)))

    @classmethod
    def inline(cls, lengths: np.ndarray, words: Sequence[np.ndarray]) -> "Views":
        """Strings of at most 12 bytes, given as up to three little-endian [n] uint32 words, zero beyond the length."""
        fields = np.zeros((len(lengths), 4), np.uint32)
        fields[:, 0] = lengths
        for k, word in enumerate(words):
            fields[:, 1 + k] = word
        views = fields.view(_VIEW)[:, 0]
        if len(words) == 1:
            return cls(views, lengths, words[0], pending=lengths)
        shifted = (crc32c.shift(word, np.maximum(lengths - 4 * k, 0)) for k, word in enumerate(words))
        return cls(views, lengths, functools.reduce(np.bitwise_xor, shifted))

    @property
    def raw(self) -> np.ndarray:
        """[n] uint32 raw checksums with nothing pending."""
        return self.crc if self.pending is None else crc32c.shift(self.crc, self.pending)

    def gathered(self, codes: Codes, first_buffer: int) -> np.ndarray:
        """[m] views for codes [m], their buffers counted from `first_buffer`."""
        views = self.views.copy() if codes is None else self.views.take(codes, mode="clip")
        if first_buffer and self.buffers:
            fields = views.view(np.int32).reshape(-1, 4)
            fields[:, 2] += np.int32(first_buffer) * (fields[:, 0] > INLINE)
        return views


def join(parts: Sequence[Part]) -> pa.LargeBinaryArray:
    """[m] large_binary: row i concatenates views[codes[i]] of each part, or views[i] where codes is None."""
    rows = len(parts[0][0].views if parts[0][1] is None else parts[0][1])
    matrix, buffers = np.empty((rows, len(parts)), _VIEW), []
    for k, (views, codes) in enumerate(parts):
        matrix[:, k] = views.gathered(codes, len(buffers))
        buffers += views.buffers
    memory = [None, pa.py_buffer(matrix.view(np.uint8)), *buffers]
    pieces = pa.Array.from_buffers(pa.binary_view(), matrix.size, memory).cast(pa.large_binary())
    offsets = np.frombuffer(pieces.buffers()[1], np.int64, matrix.size + 1)[:: len(parts)].copy()
    octets = pieces.buffers()[2].slice(0, offsets[-1])  # without what Arrow allocated beyond
    return pa.Array.from_buffers(pa.large_binary(), rows, [None, pa.py_buffer(offsets), octets])


def join_crc(parts: Sequence[Part]) -> np.ndarray:
    """[m] uint32 raw checksums of the rows of `join(parts)`: each part shifts what came before by its length.

    What is pending is not carried out but kept for the next shift, so that a part costs one, by few bytes.
    """
    crc, pending = None, None
    for views, codes in parts:
        lengths = gather(views.lengths, codes)
        pending = lengths if pending is None else pending + lengths
        if views.crc is not None:
            own = gather(views.crc, codes)
            left = None if views.pending is None else gather(views.pending, codes)
            crc = own if crc is None else crc32c.shift(crc, pending if left is None else pending - left) ^ own
            pending = left
    return crc if pending is None else crc32c.shift(crc, pending)


def joined(parts: Sequence[Part]) -> Fragments:
    """Rows and checksums."""
    return Fragments(join(parts), join_crc(parts))


def row_sizes(parts: Sequence[Part]) -> np.ndarray:
    """[m] int64 bytes of each row of `join(parts)`."""
    return functools.reduce(np.add, (gather(views.lengths, codes) for views, codes in parts))


def gather(values: np.ndarray, codes: Codes) -> np.ndarray:
    """values[codes], or all of them."""
    return values if codes is None else values.take(codes, mode="clip")


def _spans(data: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes that `data` occupies, and where in them its strings start and how long they are."""
    if not len(data):
        return np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)
    offsets = np.frombuffer(data.buffers()[1], np.int64)[data.offset : data.offset + len(data) + 1]
    octets = np.frombuffer(data.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    return octets, offsets[:-1] - offsets[0], np.diff(offsets)
