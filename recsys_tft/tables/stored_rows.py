"""Stored rows of any file format, under our names."""

from collections.abc import Mapping

import pyarrow as pa

from recsys_tft.columns import Column
from recsys_tft.tables import csv_files, parquet_files
from recsys_tft.tables.sources import PARQUET, Described, Source, TableFile


def describe(file: TableFile) -> Described:
    """The columns, types and rows that a file declares.

    Raises:
        InputError: if it cannot be read.
    """
    return parquet_files.describe(file) if file.format == PARQUET else csv_files.describe(file)


def stored_names(columns: Mapping[str, Column], own_names: Mapping[str, str]) -> dict[str, str]:
    """The names of the columns in the files, by our names; without those whose name the user gave to another column."""
    taken = set(own_names.values())
    return {name: own_names.get(name, name) for name in columns if name in own_names or name not in taken}


def read(source: Source, names: Mapping[str, str], sample: bool = False) -> dict[str, pa.ChunkedArray]:
    """Read the named columns of a source, by our names; values from folder names are text.

    Args:
        source: what to read.
        names: of the columns in the files, by our names.
        sample: whether the first row group is enough.

    Raises:
        InputError: if the file is damaged.
    """
    if source.text is not None:
        rows = csv_files.read(source, list(names.values()))
    else:
        rows = parquet_files.read(source, list(names.values()), source.row_groups[:1] if sample else source.row_groups)
    columns = {name: rows[stored] for name, stored in names.items() if stored in rows.column_names}
    keys = dict(source.keys)
    for name, stored in names.items():
        if name not in columns and stored in keys:
            value = pa.array([keys[stored]], pa.string())
            columns[name] = pa.chunked_array([value.take(pa.array([0] * len(rows), pa.int32()))])
    return columns
