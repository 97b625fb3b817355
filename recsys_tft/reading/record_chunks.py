"""Reads the bytes of TFRecord files, several whole records at a time."""

import dataclasses
import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np

from recsys_tft.errors import InputError, reason
from recsys_tft.reading import kernel
from recsys_tft.reading import wire_format as wire
from recsys_tft.reading.columns import unreadable
from recsys_tft.storage.files import open_to_read

BYTES = 1 << 20  # at a time; they are still in the processor's cache when they are parsed
_GZIP = b"\x1f\x8b\x08"


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some whole records.

    Attributes:
        file: of the records.
        first: the number of the first record in its file, from 0.
        offset: their offset in the uncompressed file.
        rows: how many they are.
        data: their bytes, followed by SLACK more that may be read.
    """

    file: str
    first: int
    offset: int
    rows: int
    data: np.ndarray

    def unreadable(self, record: int, byte: int, why: str) -> InputError:
        """The error for a record that cannot be read."""
        return unreadable(self.file, f"record {self.first + record} (from 0), at byte {self.offset + byte}, {why}")


def chunks(file: str, rows: int) -> Iterator[Iterator[Chunk]]:
    """All records of a file, in order: for every `rows` of them (the last may be fewer) their chunks.

    Checksums of sizes are verified, those of records are not. Chunks are read on demand, and all of a group must be
    consumed before the next group.

    Raises:
        InputError: if it cannot be read, or ends in the middle of a record.
    """
    try:
        with open_to_read(file) as stored, _unpacked(stored, file) as source:
            records = _Records(source, file)
            while chunk := records.take(rows):
                yield _rest_of_rows(records, chunk, rows)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(file, reason(error)) from error


def _rest_of_rows(records: "_Records", chunk: Chunk | None, rows: int) -> Iterator[Chunk]:
    while chunk:
        yield chunk
        rows -= chunk.rows
        try:
            chunk = records.take(rows) if rows else None
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(records.file, reason(error)) from error


def _unpacked(stored: BinaryIO, file: str) -> BinaryIO:
    """Open the uncompressed file; gzip is detected by the name `.gz`, or by first bytes that begin no record."""
    head = stored.read(kernel.HEADER)
    stored.seek(0)
    packed = file.endswith(".gz") or (head.startswith(_GZIP) and _is_damaged(np.frombuffer(head, np.uint8)))
    return cast(BinaryIO, gzip.GzipFile(fileobj=stored)) if packed else stored


def _is_damaged(head: np.ndarray) -> bool:
    return kernel.frames(head.ctypes.data, head.ctypes.data + len(head), 1)[0] != wire.OK


class _Records:
    """The records of an open file, one after the other."""

    def __init__(self, source: BinaryIO, file: str):
        self._source, self.file = source, file
        self._data, self._at = np.empty(0, np.uint8), 0
        self._first = self._offset = 0
        self._is_last = False

    def take(self, most: int) -> Chunk | None:
        """The next records, from one to `most`; None at the end."""
        chunk, code, needed = self._next(most)
        while not chunk.rows and code == wire.OK and not self._is_last:
            self._read_on(needed)
            chunk, code, needed = self._next(most)
        if chunk.rows:
            self._at += len(chunk.data)
            self._first, self._offset = self._first + chunk.rows, self._offset + len(chunk.data)
            return chunk
        if code == wire.CHECKSUM:
            raise chunk.unreadable(0, 0, "begins with a size that does not match its checksum")
        if code == wire.TOO_LONG:
            raise chunk.unreadable(0, 0, f"is longer than {kernel.LONGEST:,} bytes")
        if self._at < len(self._data):
            raise chunk.unreadable(0, 0, "is cut off")
        return None

    def _next(self, most: int) -> tuple[Chunk, int, int]:
        """The records read, the error of the next one, and its size in bytes."""
        at = self._data.__array_interface__["data"][0]
        code, rows, stop, needed = kernel.frames(at + self._at, at + len(self._data), most)
        return Chunk(self.file, self._first, self._offset, rows, self._data[self._at : stop - at]), code, needed

    def _read_on(self, needed: int) -> None:
        """Read on until the needed bytes are in memory, if the file has them."""
        left = self._data[self._at :]
        data = np.empty(max(BYTES, needed) + wire.SLACK, np.uint8)[: -wire.SLACK]
        data[: len(left)] = left
        filled = len(left)
        while filled < len(data) and not self._is_last:
            more = _into(self._source, data.data[filled:])
            self._is_last, filled = not more, filled + more
        self._data, self._at = data[:filled], 0


def _into(source: BinaryIO, place: memoryview) -> int:
    if hasattr(source, "readinto"):
        return source.readinto(place)
    data = source.read(len(place))  # of Beam's filesystems, some have no other
    place[: len(data)] = data
    return len(data)
