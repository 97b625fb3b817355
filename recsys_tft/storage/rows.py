"""Rows of the data sets: joined from entities that were transformed once each, and written as files."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.storage import parquet_file, tfrecord
from recsys_tft.storage.parquet_pages import CodedTable
from recsys_tft.storage.tf_example import encode_fragments, is_list

_ROWS_PER_GROUP = 1 << 19
_ROWS_WITH_LISTS = 1 << 17  # the same where columns are lists, or where Arrow joins all of them at once


class RowWriter(Protocol):
    """Writes rows that are joined from the tables that it was made of."""

    def write(self, file: BinaryIO, rows: Sequence[np.ndarray]) -> None:
        """Row i consists of row rows[k][i] of each table k; rows[k] is [n] int64."""


class TFRecordWriter:
    """Writes TFRecords of tf.Examples; each entity is encoded once, however many rows it is joined into.

    Args:
        tables: the columns that come from one entity each.
        compression: gzip, or None.
    """

    def __init__(self, tables: Sequence[pa.Table], compression: str | None = None):
        self._fragments = [encode_fragments(table) for table in tables]
        self._compress = compression == "gzip"

    def write(self, file: BinaryIO, rows: Sequence[np.ndarray]) -> None:
        tfrecord.write_records(file, list(zip(self._fragments, rows, strict=True)), compress=self._compress)


class ParquetWriter:
    """Writes the same rows as Parquet; Arrow does so where a table has columns that `CodedTable` does not take.

    Args:
        tables: the columns that come from one entity each.
        compression: gzip or zstd; snappy by default.
    """

    def __init__(self, tables: Sequence[pa.Table], compression: str | None = None):
        self._tables = tables
        self._coded = [CodedTable(table) for table in tables] if all(map(CodedTable.takes, tables)) else None
        self._compression = compression or "snappy"
        self._schema = pa.schema([field for table in tables for field in table.schema])

    def write(self, file: BinaryIO, rows: Sequence[np.ndarray]) -> None:
        if self._coded is not None:
            has_lists = any(is_list(field.type) for field in self._schema)
            size = _ROWS_WITH_LISTS if has_lists else _ROWS_PER_GROUP
            size = min(size, *(table.rows_of_a_group for table in self._coded))
            parquet_file.write(file, self._schema, self._coded, rows, self._compression, size)
            return
        with pq.ParquetWriter(file, self._schema, compression=self._compression) as writer:
            for begin in range(0, len(rows[0]), _ROWS_WITH_LISTS):
                window = slice(begin, begin + _ROWS_WITH_LISTS)
                parts = [table.take(pa.array(r[window])) for table, r in zip(self._tables, rows, strict=True)]
                columns = [column for part in parts for column in part.columns]
                writer.write_table(pa.table(columns, self._schema))


WRITERS: dict[str, type[TFRecordWriter] | type[ParquetWriter]] = {"tfrecord": TFRecordWriter, "parquet": ParquetWriter}
