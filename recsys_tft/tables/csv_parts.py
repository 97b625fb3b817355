"""CSV files of a public data set, in parts of some hundred thousand rows; errors name the line."""

import csv
import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import polars as pl

from recsys_tft.errors import InputError
from recsys_tft.tables import csv_files
from recsys_tft.tables.line_checks import Checked
from recsys_tft.tables.sources import CSV, Source, TableFile

_BLOCK = 1 << 24  # bytes


@dataclasses.dataclass(frozen=True)
class CsvPart(Checked):
    """Some rows of a file: `name` is the file's, `source` their position in it."""

    name: str
    source: Source

    def rows(self, columns: tuple[str, ...]) -> pl.DataFrame:
        """These columns as strings, null if empty, and each row's number in the part as `row`."""
        text = pl.DataFrame(csv_files.read(self.source, list(columns)))
        return text.select(columns).with_row_index("row")

    def place(self, row: dict) -> tuple[int, str]:
        """The number and the text of the line in which a row begins, looked up only for messages."""
        part = self.source.text
        assert part is not None
        with open(self.source.path, "rb") as file:
            before = sum(file.read(min(_BLOCK, part.begin - at)).count(b"\n") for at in range(0, part.begin, _BLOCK))
            lines = file.read(part.size).decode().split("\n")
        begin = _beginning(lines, row["row"])
        return before + begin + 1, lines[begin].rstrip("\r")


def read(
    path: pathlib.Path, columns: tuple[str, ...], typed: Callable[[CsvPart, pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """Apply `typed` to all rows, one part at a time.

    Args:
        path: of the file.
        columns: to read, by their names in the header.
        typed: from a part, and its columns as strings and `row`, to a frame; may raise InputError.

    Raises:
        InputError: the file is not a readable CSV file, is empty, lacks a column, or has lines of another length.
    """
    return pl.concat([typed(part, part.rows(columns)) for part in _parts(path, columns)])


def _parts(path: pathlib.Path, columns: tuple[str, ...]) -> Iterator[CsvPart]:
    described = csv_files.describe(TableFile(str(path), path.stat().st_size, CSV))
    header = [name for name, _ in described.columns]
    if missing := [name for name in columns if name not in header]:
        raise InputError(
            f"{path.name}, line 1: the columns {', '.join(missing)} are missing; found {', '.join(header)}."
        )
    if described.problems:
        raise InputError(described.problems[0])
    if not described.rows:
        raise InputError(f"{path.name} has no rows below its header.")
    return (CsvPart(path.name, source) for source in described.sources)


def _beginning(lines: list[str], row: int) -> int:
    """The number of lines before a row; empty lines do not count."""
    begin = 0
    reader = csv.reader(f"{line}\n" for line in lines)
    for values in reader:
        if values and not row:
            break
        row -= bool(values)
        begin = reader.line_num
    return begin
