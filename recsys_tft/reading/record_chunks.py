"""The bytes of TFRecord files, a few megabytes of whole records at a time."""

import dataclasses
import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from recsys_tft.errors import InputError, reason
from recsys_tft.reading import kernel
from recsys_tft.reading import wire_format as wire
from recsys_tft.storage.files import open_to_read

BYTES = 2 << 20  # at a time: what is computed of them stays in the processor's cache
_GZIP = b"\x1f\x8b\x08"


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some whole records.

    Attributes:
        file: they are from.
        first: the number of the first record in its file, from 0.
        offset: the byte of the file, unpacked, at which they begin.
        rows: how many they are.
        data: their bytes, behind which are SLACK more that may be read.
    """

    file: str
    first: int
    offset: int
    rows: int
    data: np.ndarray

    def unreadable(self, record: int, byte: int, why: str) -> InputError:
        """What is wrong with a record."""
        return unreadable(self.file, f"record {self.first + record} (from 0), at byte {self.offset + byte}, {why}")


def unreadable(file: str, why: str) -> InputError:
    """What is wrong with a file."""
    return InputError(f"{file}: the rows cannot be read: {why}; write the file anew.")


def chunks(file: str) -> Iterator[Chunk]:
    """All records of a file, in order; their sizes are proven by their checksums, the records are not.

    Raises:
        InputError: if it cannot be read, or ends in the middle of a record.
    """
    try:
        with open_to_read(file) as stored, _unpacked(stored, file) as source:
            yield from _chunks(source, file)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(file, reason(error)) from error


def _unpacked(stored: BinaryIO, file: str) -> BinaryIO:
    """What the file holds; gzip is known by the name `.gz`, or by its first bytes where they begin no record."""
    head = stored.read(kernel.HEADER)
    stored.seek(0)
    packed = file.endswith(".gz") or (head.startswith(_GZIP) and _is_damaged(np.frombuffer(head, np.uint8)))
    return gzip.GzipFile(fileobj=stored) if packed else stored


def _is_damaged(head: np.ndarray) -> bool:
    return kernel.frames(head.ctypes.data, head.ctypes.data + len(head))[0] != wire.OK


def _chunks(source: BinaryIO, file: str) -> Iterator[Chunk]:
    left, first, offset, needed = np.empty(0, np.uint8), 0, 0, 0
    while True:
        data, is_last = _read(source, left, max(BYTES, needed))
        at = data.ctypes.data
        code, rows, stop, needed = kernel.frames(at, at + len(data))
        whole = stop - at
        chunk = Chunk(file, first, offset, rows, data[:whole])
        if rows:
            yield chunk
        if code == wire.CHECKSUM:
            raise chunk.unreadable(rows, whole, "begins with a size that its checksum belies")
        if code == wire.TOO_LONG:
            raise chunk.unreadable(rows, whole, f"is longer than {kernel.LONGEST:,} bytes")
        left, first, offset = data[whole:], first + rows, offset + whole
        if is_last:
            break
    if len(left):
        raise chunk.unreadable(rows, whole, "is cut off")


def _read(source: BinaryIO, left: np.ndarray, size: int) -> tuple[np.ndarray, bool]:
    """What was left and the bytes after it, `size` in all or those that there are; and whether these are the last."""
    data = np.empty(max(size, len(left)) + wire.SLACK, np.uint8)[: -wire.SLACK]
    data[: len(left)] = left
    filled = len(left)
    while filled < len(data):
        more = _into(source, memoryview(data)[filled:])
        if not more:
            return data[:filled], True
        filled += more
    return data, False


def _into(source: BinaryIO, place: memoryview) -> int:
    if hasattr(source, "readinto"):
        return source.readinto(place)
    found = source.read(len(place))  # of Beam's filesystems, some have no other
    place[: len(found)] = found
    return len(found)
