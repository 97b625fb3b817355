"""TFRecord files of tf.Examples that are joined from fragments.

A record is

    uint64 length | uint32 masked crc32c of these 8 bytes | data | uint32 masked crc32c of data      (little-endian)

What precedes the map entries (length, its checksum, and the `0A varint` of a tf.Example) depends on the row's size
alone, and the checksum of data follows from those of the fragments; see `recsys_tft.storage.crc32c`.

References:
    https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import collections
import contextlib
import gzip
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from recsys_tft.errors import InputError
from recsys_tft.storage import crc32c
from recsys_tft.storage.fragments import Fragments, Part, Views, join, join_crc, row_sizes
from recsys_tft.storage.tf_example import distinct_sizes, example_prefixes, part_blocks

BLOCK_BYTES = 16 << 20  # written at a time
AHEAD = 2  # blocks that are computed while one is written
LEVEL = 1  # of gzip: names repeat in every row, so that 1 makes a tenth of them, and 6 an eleventh in twice the time
BLOCK_ROWS = 16384  # at most: what is computed about a block stays in the processor's cache

File = str | os.PathLike[str] | BinaryIO
Joined = Sequence[tuple[Fragments, np.ndarray | None]]


def frame(parts: Joined) -> pa.Buffer:
    """All records as one buffer; `frames` gives them block by block.

    Args:
        parts: fragments, and for each output row which of them it takes ([n] integers; None: row i takes fragment
            i). All parts give the same number of rows.

    Raises:
        InputError: if there is no part, an index points nowhere, or the parts differ in rows.
    """
    _rows(parts)
    return _frame([_slice((Views.of(fragments), codes), slice(None)) for fragments, codes in parts])


def frames(parts: Joined) -> Iterator[pa.Buffer]:
    """The records of `frame`, about 16 MiB at a time or less."""
    rows = _rows(parts)
    views = [(Views.of(fragments), codes) for fragments, codes in parts]
    mean = 32 + sum(part.lengths.mean() for part, _ in views if len(part.lengths))
    step = int(min(BLOCK_ROWS, max(1, BLOCK_BYTES // mean)))
    blocks = (slice(begin, begin + step) for begin in range(0, rows, step))
    yield from _ahead(lambda block: _frame([_slice(part, block) for part in views]), blocks)


def write_records(file: File, parts: Joined, *, compress: bool = False) -> int:
    """Writes the records of `frame` block by block, and returns how many.

    Args:
        file: path, or binary file, which stays open.
        parts: see `frame`.
        compress: gzip, the same bytes for the same rows at any time.
    """
    with _sink(file, compress) as sink:
        for block in frames(parts):
            sink.write(block)
    return _rows(parts)


def write_examples(file: File, table: pa.Table, *, compress: bool = False) -> int:
    """Writes each row of `table` as a tf.Example, encoded block by block; see `encode_fragments`, `write_records`."""
    with _sink(file, compress) as sink:
        for parts in part_blocks(table):
            sink.write(_frame(parts))
    return table.num_rows


@contextlib.contextmanager
def _sink(file: File, compress: bool) -> Iterator[BinaryIO]:
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(pathlib.Path(file).open("wb")) if isinstance(file, str | os.PathLike) else file
        yield stack.enter_context(gzip.GzipFile("", "wb", LEVEL, sink, mtime=0)) if compress else sink


def _ahead(function: Callable[[slice], pa.Buffer], blocks: Iterable[slice]) -> Iterator[pa.Buffer]:
    """The results for all blocks in order; the next ones are computed while one is used."""
    with ThreadPoolExecutor(AHEAD) as pool:  # NumPy gathers, and Arrow copies, without the GIL
        started: collections.deque[Future[pa.Buffer]] = collections.deque()
        for block in blocks:
            started.append(pool.submit(function, block))
            if len(started) > AHEAD:
                yield started.popleft().result()
        while started:
            yield started.popleft().result()


def _rows(parts: Joined) -> int:
    if not parts:
        raise InputError("There are no fragments to join; give at least one pair of fragments and row indices.")
    rows = {len(fragments) if codes is None else len(codes) for fragments, codes in parts}
    if len(rows) > 1:
        raise InputError(f"The parts of a row must be equally many, but there are {sorted(rows)}.")
    for k, (fragments, codes) in enumerate(parts):
        if codes is not None and len(codes) and not 0 <= codes.min() <= codes.max() < len(fragments):
            found = f"from {codes.min()} to {codes.max()}"
            raise InputError(f"Part {k} has {len(fragments)} fragments, but is indexed {found}.")
    return rows.pop()


def _slice(part: Part, rows: slice) -> Part:
    views, codes = part
    if codes is None:
        return Views(views.views[rows], views.lengths[rows], views.crc[rows], views.buffers), None
    return views, codes[rows].astype(np.int64, copy=False)


def _frame(parts: Sequence[Part]) -> pa.Buffer:
    distinct, codes = distinct_sizes(row_sizes(parts))
    heads, constants = _heads(distinct)
    crc = crc32c.masked(join_crc(parts) ^ constants.take(codes))
    return join([(heads, codes), *parts, (_words(crc), None)]).buffers()[2]


def _heads(sizes: np.ndarray) -> tuple[Views, np.ndarray]:
    """For fragments of [n] sizes: what precedes them, and what turns their raw checksum into the record's finished."""
    prefixes = example_prefixes(tuple(sizes.tolist()))
    length = (sizes + prefixes.lengths).astype(np.uint32)
    messages = Views.inline(np.full(len(sizes), 8), [length, np.zeros_like(length)])
    checksums = crc32c.masked(crc32c.finished(messages.raw, messages.lengths))
    heads = join([(messages, None), (_words(checksums), None), (prefixes, None)])
    raw = crc32c.shift(prefixes.crc, sizes)
    return Views.of(Fragments(heads, raw)), crc32c.finished(raw, sizes + prefixes.lengths)


def _words(values: np.ndarray) -> Views:
    return Views.inline(np.full(len(values), 4), [values])
