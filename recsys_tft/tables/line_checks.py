"""Errors in a line of a text file, each one sentence that names the file and the line."""

import abc

import polars as pl

from recsys_tft.errors import InputError

_SHOWN = 80  # characters of a line


class Checked(abc.ABC):
    """Lines of one file, read as string columns.

    Attributes:
        name: of the file.
    """

    name: str

    @abc.abstractmethod
    def place(self, row: dict) -> tuple[int, str]:
        """The number, from 1, and the text of the line that a row was read from."""

    def check(self, rows: pl.DataFrame, valid: pl.Expr, expected: str) -> None:
        """InputError that names the first line where `valid` is not true."""
        bad = rows.filter(valid.fill_null(False).not_()).head(1)
        for row in bad.iter_rows(named=True):
            number, line = self.place(row)
            raise InputError(f"{self.name}, line {number}: expected {expected}, found {line[:_SHOWN]!r}.")

    def integers(self, rows: pl.DataFrame, *names: str) -> pl.DataFrame:
        """The rows with these columns as int64; InputError at a line where one is not an integer."""
        whole = [pl.col(name).cast(pl.Int64, strict=False) for name in names]
        self.check(rows, pl.all_horizontal(column.is_not_null() for column in whole), f"integers as {', '.join(names)}")
        return rows.with_columns(whole)
