"""TFRecord files of tf.Examples joined from fragments.

A record is

    uint64 length | uint32 masked crc32c of these 8 bytes | data | uint32 masked crc32c of data      (little-endian)

References:
    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import contextlib
import gzip
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa

from recsys_tft.errors import InputError
from recsys_tft.storage.kernel_arguments import FRAMING, PART_FIELDS
from recsys_tft.storage.tf_example import encode_fragments

BLOCK_BYTES = 1 << 20  # written at a time; it fits into the processor's cache
LEVEL = 1  # of gzip: names repeat in every row; level 1 compresses to a tenth, 6 to an eleventh in twice the time

File = str | os.PathLike[str] | BinaryIO
Joined = Sequence[tuple[pa.LargeBinaryArray, np.ndarray | None]]


def frame(parts: Joined) -> bytes:
    """All records; `frames` yields them block by block.

    Args:
        parts: fragments, and the index of the fragment of each output row ([n] integers; None: row i has fragment i).
            All parts have the same number of rows.

    Raises:
        InputError: if there is no part, an index is out of range, or the parts differ in rows.
    """
    return b"".join(map(bytes, frames(parts)))


def frames(parts: Joined) -> Iterator[memoryview]:
    """The records of `frame`, about a megabyte at a time; a block is valid until the next one."""
    from recsys_tft.storage import record_kernels  # loads numba

    rows = _rows(parts)
    codes = [None if codes is None else np.ascontiguousarray(codes, np.int64) for _, codes in parts]
    places = [_place(part, contiguous) for (part, _), contiguous in zip(parts, codes, strict=True)]
    fields = np.array(places, np.int64).reshape(-1, PART_FIELDS)
    block = np.empty(max(BLOCK_BYTES, 6 + FRAMING + sum(_longest(part) for part, _ in parts)), np.uint8)
    row = 0
    while row < rows:
        row, size = record_kernels.frame(fields, row, rows, block.ctypes.data, len(block))
        yield block[:size].data


def write_records(file: File, parts: Joined, *, compress: bool = False) -> int:
    """Write the records of `frame` block by block, and return how many.

    Args:
        file: path, or binary file, which stays open.
        parts: see `frame`.
        compress: gzip, with the same bytes for the same rows.
    """
    with _sink(file, compress) as sink:
        for block in frames(parts):
            sink.write(block)
    return _rows(parts)


def write_examples(file: File, table: pa.Table, *, compress: bool = False) -> int:
    """Write each row of `table` as a tf.Example; see `encode_fragments`, `write_records`."""
    return write_records(file, [(encode_fragments(table), None)], compress=compress)


@contextlib.contextmanager
def _sink(file: File, compress: bool) -> Iterator[BinaryIO]:
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(pathlib.Path(file).open("wb")) if isinstance(file, str | os.PathLike) else file
        packed = gzip.GzipFile("", "wb", LEVEL, sink, mtime=0) if compress else None
        yield sink if packed is None else cast(BinaryIO, stack.enter_context(packed))


def _rows(parts: Joined) -> int:
    if not parts:
        raise InputError("There are no fragments to join; give at least one pair of fragments and row indices.")
    rows = {len(fragments) if codes is None else len(codes) for fragments, codes in parts}
    if len(rows) > 1:
        raise InputError(f"The parts of a row must be equally many, but there are {sorted(rows)}.")
    for k, (fragments, codes) in enumerate(parts):
        if codes is not None and len(codes) and not 0 <= codes.min() <= codes.max() < len(fragments):
            indices = f"from {codes.min()} to {codes.max()}"
            raise InputError(f"Part {k} has {len(fragments)} fragments, but is indexed {indices}.")
    return rows.pop()


def _place(fragments: pa.LargeBinaryArray, codes: np.ndarray | None) -> list[int]:
    """Addresses for compiled code: the fragments of a part, and the indices of its rows."""
    _, offsets, data = fragments.buffers()
    begin = offsets.address + 8 * fragments.offset if len(fragments) else 0
    return [data.address if data is not None else 0, begin, 0 if codes is None else codes.ctypes.data]


def _longest(fragments: pa.LargeBinaryArray) -> int:
    if not len(fragments):
        return 0
    offsets = np.frombuffer(fragments.buffers()[1], np.int64)[fragments.offset : fragments.offset + len(fragments) + 1]
    return int(np.diff(offsets).max())
