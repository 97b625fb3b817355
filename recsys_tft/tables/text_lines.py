"""Text files without a standard format: one row per line, fields between separators, each checked."""

import dataclasses

import polars as pl

from recsys_tft.errors import InputError
from recsys_tft.tables.line_checks import Checked


@dataclasses.dataclass(frozen=True)
class TextFile(Checked):
    """One file of a layout: a line a row, its fields between separators, quotes without meaning.

    Attributes:
        name: its name in the folder.
        separator: what stands between two fields.
        columns: what the fields hold, in order.
        header: the first line where that is not data, else None.
        encoding: of its bytes, unless they are UTF-8.
    """

    name: str
    separator: str
    columns: tuple[str, ...]
    header: str | None = None
    encoding: str = "utf-8"

    def rows(self, data: bytes) -> pl.DataFrame:
        """The lines as string columns, beside the whole `line` and its `number`; InputError at a malformed one."""
        text = self._decoded(data).rstrip("\r\n").split("\n")
        lines = pl.DataFrame({"line": text}).with_columns(pl.col("line").str.strip_chars_end("\r"))
        lines = lines.with_row_index("number", offset=1)
        if self.header is not None:
            self.check(lines.head(1), pl.col("line") == self.header, f"the header {self.header!r}")
            lines = lines.slice(1)
        fields = pl.col("line").str.split(self.separator)
        self.check(lines, fields.list.len() == len(self.columns), f"{len(self.columns)} fields")
        return lines.with_columns(fields.list.get(i).alias(name) for i, name in enumerate(self.columns))

    def place(self, row: dict) -> tuple[int, str]:
        """The number and the text of a row's line."""
        return row["number"], row["line"]

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode()  # as copies are, whatever the original was
        except UnicodeDecodeError as error:
            if self.encoding != "utf-8":
                return data.decode(self.encoding)
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(f"{self.name}, line {line}: expected UTF-8, found byte {data[error.start]:#x}.") from error
