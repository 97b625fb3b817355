"""Parquet files: their columns, from the footer, and the rows of some row groups."""

import hashlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_tft.errors import InputError
from recsys_tft.storage.files import open_to_read
from recsys_tft.tables.sources import Described, Source, TableFile

_ROWS_PER_READ = 1 << 18
_FEW_ROWS = 1 << 12  # for which other threads do not pay off


def describe(file: TableFile) -> Described:
    """The columns, the sources and the fingerprint of a file.

    Raises:
        InputError: if it is not a readable Parquet file.
    """
    try:
        with open_to_read(file.path) as opened, pq.ParquetFile(opened, coerce_int96_timestamp_unit="us") as parquet:
            metadata, schema = parquet.metadata, parquet.schema_arrow
            opened.seek(max(file.size - 8 - metadata.serialized_size, 0))
            digest = hashlib.sha256(opened.read(metadata.serialized_size)).hexdigest()[:16]
            columns = tuple(zip(schema.names, schema.types, strict=True))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file.path}: not a readable Parquet file ({_first_line(error)}).") from None
    return Described(file, columns, _sources(file, metadata), metadata.num_rows, digest)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _sources(file: TableFile, footer: pq.FileMetaData) -> tuple[Source, ...]:
    """The file's row groups, combined into reads of about _ROWS_PER_READ rows."""
    sources, groups, start, rows = [], [], 0, 0
    for group in range(footer.num_row_groups):
        groups.append(group)
        rows += footer.row_group(group).num_rows
        if rows >= _ROWS_PER_READ or group == footer.num_row_groups - 1:
            sources.append(Source(file.path, tuple(groups), start, start, rows, file.keys))
            groups, start, rows = [], start + rows, 0
    return tuple(sources)


def _rows(footer: pq.FileMetaData, groups: Sequence[int]) -> int:
    """How many rows some row groups hold; -1 where one is not there."""
    there = max(groups) < footer.num_row_groups
    return sum(footer.row_group(group).num_rows for group in groups) if there else -1


def read(source: Source, names: list[str], groups: Sequence[int]) -> pa.Table:
    """The rows of some row groups of a source, with the named columns that the file has.

    Raises:
        InputError: if the file is damaged.
    """
    try:
        with open_to_read(source.path) as opened, pq.ParquetFile(opened, coerce_int96_timestamp_unit="us") as file:
            available = [name for name in names if name in file.schema_arrow.names]
            if _rows(file.metadata, source.row_groups) != source.rows:
                raise InputError(f"{source.path}: the file changed while it was being read; run again.")
            of_many = source.rows > _FEW_ROWS
            return file.read_row_groups(list(groups), columns=available, use_threads=of_many).combine_chunks()
    except FileNotFoundError:
        raise InputError(f"{source.path}: the file vanished while it was being read; run again.") from None
    except (pa.ArrowException, OSError) as error:
        if "Expected all lists to be of size" in str(error):
            raise InputError(
                f"{source.path}: a column holds lists of a fixed size and null, which Arrow cannot read from Parquet; "
                "write its lists without a fixed size."
            ) from None
        raise InputError(f"{source.path}: the Parquet file is damaged ({_first_line(error)}).") from None
