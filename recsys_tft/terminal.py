"""Output of commands: tables without cut names or broken intervals, however narrow the terminal is."""

import itertools
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text, TextType

_GAP = 2  # between columns
_PIPED = 100_000  # columns; each row is one line
_READABLE = 24  # columns of a text that wraps between words


def console() -> Console:
    """The console of a command: as wide as the terminal, or unlimited if the output is piped."""
    return Console(width=None if sys.stdout.isatty() else _PIPED, highlight=False)


class Listing(Table):
    """A table without lines. If the terminal is too narrow, its columns are divided into several tables, each with the
    first column.

    Args:
        title: above it; it may be wider.
    """

    def __init__(self, title: TextType | None = None):
        super().__init__(title=title, header_style="bold")

    def add_names(self, *headings: str) -> None:
        """Columns of names, which are never cut."""
        for heading in headings:
            self.add_column(heading, no_wrap=True)

    def add_numbers(self, *headings: str) -> None:
        """Columns of numbers or intervals, which never break."""
        for heading in headings:
            self.add_column(heading, justify="right", no_wrap=True)

    def add_texts(self, *headings: str) -> None:
        """Columns of texts, which wrap between words."""
        for heading in headings:
            self.add_column(heading, overflow="fold")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(self.title, "bold") if isinstance(self.title, str) else self.title
        groups = list(self._groups([self._needed(console, options, column) for column in self.columns], options))
        for number, group in enumerate(groups):
            if number:
                yield ""
            yield self._part(group)

    def _needed(self, console: Console, options: ConsoleOptions, column: Column) -> int:
        """The least width at which nothing in a column is cut."""
        measurements = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
        longest = max(measurement.maximum for measurement in measurements)
        return (
            longest
            if column.no_wrap
            else min(longest, max(_READABLE, *(measurement.minimum for measurement in measurements)))
        )

    def _groups(self, widths: Sequence[int], options: ConsoleOptions) -> Iterator[list[int]]:
        """Groups of columns that fit side by side, at least one besides the first."""
        group, used = [0], widths[0]
        for number, width in enumerate(widths[1:], 1):
            if len(group) > 1 and used + _GAP + width > options.max_width:
                yield group
                group, used = [0], widths[0]
            group.append(number)
            used += _GAP + width
        yield group

    def _part(self, numbers: Sequence[int]) -> Table:
        """Some of the columns."""
        part = Table(header_style=self.header_style, box=None, pad_edge=False)
        for number in numbers:
            column = self.columns[number]
            part.add_column(column.header, justify=column.justify, no_wrap=column.no_wrap, overflow=column.overflow)
        cells = [list(self.columns[number].cells) for number in numbers]
        for row, own_row in zip(itertools.zip_longest(*cells), self.rows, strict=True):
            part.add_row(*row, style=own_row.style)
        return part
