"""Tables as bytes, the elements of the pipeline.

A pickled table may include the buffers of the larger table that it is a slice of; an Arrow IPC stream has its own rows
alone. On one machine tables are staged in files (`beam_pipelines.staging`).
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from recsys_tft.storage.sorting import lexsort


@dataclasses.dataclass(frozen=True)
class Spilled:
    """A table in a file of this machine."""

    path: str
    offset: int
    size: int


Packed = bytes | Spilled  # a table, as `loads` reads it


def dumps(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    table = table.combine_chunks()
    counted = pa.MockOutputStream()
    _write(table, counted)
    buffer = pa.allocate_buffer(counted.size())  # in one piece, as a growing one would be copied repeatedly
    with pa.FixedSizeBufferWriter(buffer) as sink:
        _write(table, sink)
    return buffer.to_pybytes()


def _write(table: pa.Table, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def loads(data: Packed) -> pa.Table:
    """The table in an Arrow IPC stream, without copying its values."""
    if isinstance(data, Spilled):
        with pa.memory_map(data.path) as file:
            file.seek(data.offset)
            return pa.ipc.open_stream(file.read_buffer(data.size)).read_all()
    return pa.ipc.open_stream(pa.py_buffer(data)).read_all()


def concat(parts: Iterable[Packed]) -> pa.Table:
    """Concatenate the rows of one or more streams."""
    return pa.concat_tables([loads(part) for part in parts]).combine_chunks()


def split(table: pa.Table, partitions: np.ndarray) -> Iterator[tuple[int, bytes]]:
    """(partition, its rows) for each partition that occurs in `partitions`, [n] int64."""
    order = lexsort([partitions])
    ordered = table.take(pa.array(order))
    names, starts = np.unique(partitions[order], return_index=True)
    ends = np.append(starts, len(order))[1:]
    for name, start, end in zip(names, starts, ends, strict=True):
        yield int(name), dumps(ordered.slice(start, end - start))
