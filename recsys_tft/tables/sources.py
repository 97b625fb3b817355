"""Descriptions of the files of a table, before their rows are read."""

import dataclasses

import pyarrow as pa

PARQUET, CSV = "parquet", "csv"
Keys = tuple[tuple[str, str | None], ...]


@dataclasses.dataclass(frozen=True)
class TableFile:
    """One file of a table.

    Attributes:
        path: of the file, local or on any Beam filesystem.
        size: bytes.
        format: PARQUET or CSV.
        keys: (name, value) of each folder `name=value` that it is in; None for a missing value.
    """

    path: str
    size: int
    format: str
    keys: Keys = ()


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file below a data folder: its relative path, its size in bytes, and why it is not data, if known."""

    name: str
    size: int
    fault: str = ""


@dataclasses.dataclass(frozen=True)
class TextPart:
    """Some whole rows of a CSV file.

    Attributes:
        begin: their offset in the text, in bytes.
        size: bytes.
        header: the names of the file's columns.
    """

    begin: int
    size: int
    header: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Source:
    """Some rows of one file, read by one worker at a time.

    Attributes:
        path: of the file.
        row_groups: of a Parquet file.
        first_row: the number of the first row in the whole table.
        file_row: the number of the first row in the file; in a CSV file the row after the header is number 0.
        rows: number of rows.
        keys: (name, value) of each folder `name=value` that the file is in.
        text: part of a CSV file.
    """

    path: str
    row_groups: tuple[int, ...]
    first_row: int
    file_row: int
    rows: int
    keys: Keys = ()
    text: TextPart | None = None


@dataclasses.dataclass(frozen=True)
class Described:
    """The description of a file before its rows are read.

    Attributes:
        file: the file.
        columns: names and types, in order; a name may occur twice.
        sources: its rows, numbered within the file.
        rows: number of rows.
        digest: a hash of the footer, or of the contents.
        problems: that make it unusable, as sentences that begin with its path.
    """

    file: TableFile
    columns: tuple[tuple[str, pa.DataType], ...]
    sources: tuple[Source, ...]
    rows: int
    digest: str
    problems: tuple[str, ...] = ()
