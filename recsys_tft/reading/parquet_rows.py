"""Rows of Parquet files, as those of the same columns in TFRecords would be."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from recsys_tft.errors import reason
from recsys_tft.reading.columns import TYPES, Column, unreadable
from recsys_tft.storage.files import open_to_read

ROWS = 1 << 14  # at a time
Chunk = tuple[str, int, pa.RecordBatch]  # of a file, the number of the first row, and the rows as they are stored


def columns_in(file: str) -> dict[str, Column]:
    """The columns that a file declares, without those of other kinds than numbers and text.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with open_to_read(file) as source:
            schema = pq.read_schema(source)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file, reason(error)) from error
    columns = (_column(field) for field in schema)
    return {column.name: column for column in columns if column}


def chunks(file: str, names: Sequence[str]) -> Iterator[Chunk]:
    """Some columns of all rows of a file, in order.

    Raises:
        InputError: if it cannot be read, or has no such column.
    """
    first = 0
    try:
        with open_to_read(file) as source, pq.ParquetFile(source) as parquet:
            for name in names:
                if name not in parquet.schema_arrow.names:
                    raise unreadable(file, f"it has no column '{name}'")
            for batch in parquet.iter_batches(ROWS, columns=list(names), use_threads=False):
                yield file, first, batch
                first += len(batch)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file, reason(error)) from error


class ParquetRows:
    """Turns the contents of Parquet files into rows.

    Args:
        columns: to read.
    """

    def __init__(self, columns: Sequence[Column]):
        self.columns = tuple(columns)
        self.schema = pa.schema([(column.name, column.arrow_type) for column in columns])

    def __call__(self, chunk: Chunk) -> pa.RecordBatch:
        """The rows of a chunk.

        Raises:
            InputError: naming the column that has another type, or lacks a value and has no default.
        """
        file, first, batch = chunk
        arrays = []
        for column in self.columns:
            try:
                arrays.append(_as(batch.column(column.name), column))
            except (_Missing, _OtherSize) as error:
                row = first + error.row
                raise unreadable(file, f"row {row:,} (from 0) {error} in the column '{column.name}'") from error
            except (pa.ArrowException, ValueError) as error:
                why = f"the column '{column.name}' is no {column.arrow_type} ({reason(error)})"
                raise unreadable(file, why) from error
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


class _Missing(Exception):
    def __init__(self, row: int):
        super().__init__("has no value")
        self.row = row


class _OtherSize(Exception):
    def __init__(self, row: int, size: int):
        super().__init__(f"has not {size} values")
        self.row = row


def _column(field: pa.Field) -> Column | None:
    kind = field.type
    shape: tuple[int, ...] | None = ()
    if pt.is_fixed_size_list(kind):
        kind, shape = kind.value_type, (kind.list_size,)
    elif pt.is_list(kind) or pt.is_large_list(kind):
        kind, shape = kind.value_type, None
    if pt.is_integer(kind) or pt.is_boolean(kind):
        return Column(field.name, TYPES["INT"], shape)
    if pt.is_floating(kind):
        return Column(field.name, TYPES["FLOAT"], shape)
    text = pt.is_string(kind) or pt.is_large_string(kind) or pt.is_binary(kind) or pt.is_large_binary(kind)
    return Column(field.name, TYPES["BYTES"], shape) if text else None


def _as(values: pa.Array, column: Column) -> pa.Array:
    if column.shape is None:
        lists = values.cast(column.arrow_type)
        return lists if not lists.null_count else pc.coalesce(lists, pa.scalar([], column.arrow_type))
    defaults = column.defaults()
    if values.null_count:
        if defaults is None:
            raise _Missing(pc.index(values.is_null(), True).as_py())
        values = pc.coalesce(values.cast(column.arrow_type), _scalar(defaults, column))
    if not column.shape:
        return values.cast(column.type)
    if not pt.is_fixed_size_list(values.type):
        other = pc.not_equal(pc.list_value_length(values), column.size)
        if pc.any(other).as_py():
            raise _OtherSize(pc.index(other, True).as_py(), column.fixed_size)
        return pa.FixedSizeListArray.from_arrays(values.flatten().cast(column.type), column.size)
    return values.cast(column.arrow_type)


def _scalar(defaults: list, column: Column) -> pa.Scalar:
    return pa.scalar(defaults if column.shape else defaults[0], column.arrow_type)
