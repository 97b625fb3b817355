"""The report of a leak audit, for a terminal."""

import dataclasses

from rich.console import RenderableType
from rich.text import Text

from recsys_tft import ids
from recsys_tft.auditing.futures import Cut
from recsys_tft.auditing.row_differences import Compared, Difference
from recsys_tft.labelling import split_times
from recsys_tft.terminal import Listing


@dataclasses.dataclass
class Line:
    """The comparison at one cut with one future.

    Attributes:
        cut: where the future begins.
        future: what was done to it: one of `futures.FUTURES`.
        across: how many exposures span the cut in the baseline future.
        rows: compared in all of their columns.
        moments: rows of which only what was known at their moment was compared, each user or video and moment once.
        features: columns that were compared.
        at_cut: those of them that were compared at a moment at or after the cut.
        unequal: how many values of each column differ.
        differences: the first ones of each column and folder.
    """

    cut: Cut
    future: str
    across: int
    rows: int = 0
    moments: int = 0
    features: set[str] = dataclasses.field(default_factory=set)
    at_cut: set[str] = dataclasses.field(default_factory=set)
    unequal: dict[str, int] = dataclasses.field(default_factory=dict)
    differences: list[Difference] = dataclasses.field(default_factory=list)

    def add(self, compared: Compared, whole: bool) -> None:
        """Add the comparison of some rows, as a whole or at their moments."""
        self.rows += len(compared) if whole else 0
        self.moments += 0 if whole else len(compared)
        self.features |= set(compared.features) if len(compared) else set()
        if not whole and compared.latest >= self.cut.time:
            self.at_cut |= set(compared.features)
        for name, number in compared.unequal.items():
            self.unequal[name] = self.unequal.get(name, 0) + number
        self.differences += compared.differences


@dataclasses.dataclass
class Audited:
    """The result of `audit`.

    Attributes:
        sizes: rows of the sample, by table.
        lines: one for each cut and future.
        snapshots: features whose columns are as of the moment when the tables were written.
        untried: features with no compared row at a cut, where a leak of an instant would show.
    """

    sizes: dict[str, int]
    lines: list[Line] = dataclasses.field(default_factory=list)
    snapshots: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether everything was compared, and nothing differs."""
        return not self.untried and not self.leaks

    @property
    def leaks(self) -> dict[str, int]:
        """The number of values that differ by column, over all lines."""
        totals: dict[str, int] = {}
        for line in self.lines:
            for name, number in line.unequal.items():
                totals[name] = totals.get(name, 0) + number
        return totals

    def report(self) -> list[RenderableType]:
        """One line per cut and future, then the differences, and the features that cannot be tested."""
        sizes = ", ".join(f"{number:,} {name}" for name, number in self.sizes.items())
        parts: list[RenderableType] = [Text(f"Sample: {sizes}\n"), self._table(), Text()]
        parts += [Text(f"LEAK: {text}") for text in self._texts()]
        if self.leaks:
            parts.append(Text("Values that differ: " + ", ".join(f"{name} {n:,}" for name, n in self.leaks.items())))
        if self.snapshots:
            names = ", ".join(self.snapshots)
            parts.append(
                Text(
                    f"Not testable, because their columns are snapshots of when the tables were written: {names}",
                    "yellow",
                )
            )
        if self.untried:
            names = ", ".join(self.untried)
            parts.append(
                Text(f"NOT AUDITED: no row at a cut has {names}; use more users (--users) or other times (--cut).")
            )
        return [*parts, Text(self._verdict)]

    @property
    def _verdict(self) -> str:
        if self.leaks:
            return "Some rows know their future."
        if self.untried:
            return "Nothing is proved about these."
        return f"{'Apart from these, no' if self.snapshots else 'No'} row knows its future."

    def _table(self) -> Listing:
        table = Listing()
        table.add_names("cut", "training ends", "future")
        table.add_numbers("across", "rows", "moments", "columns", "differ")
        for line in self.lines:
            ends = "at the cut" if line.cut.ends_training else ""
            numbers = (line.across, line.rows, line.moments, len(line.features), sum(line.unequal.values()))
            time = split_times.describe(line.cut.time)
            style = "red" if line.unequal else None
            table.add_row(time, ends, line.future, *(f"{number:,}" for number in numbers), style=style)
        return table

    def _texts(self) -> list[str]:
        """The first difference of each column."""
        pairs = [(line, difference) for line in self.lines for difference in line.differences]
        first = {difference.feature: (line, difference) for line, difference in reversed(pairs)}
        return [_text(*pair) for pair in reversed(first.values())]


def _text(line: Line, difference: Difference) -> str:
    key = ", ".join(f"{name} {_shortened(value)}" for name, value in difference.key.items())
    one, other = map(_shortened, difference.values)
    cut = split_times.describe(line.cut.time)
    feature, folder = difference.feature, difference.folder
    return f"{feature} of {key} in {folder}: {one}, but {other} with everything from {cut} on {line.future}"


def _shortened(value: object) -> str:
    text = ids.printed(value.decode(errors="replace") if isinstance(value, bytes) else str(value))
    return text if len(text) <= 60 else f"{text[:60]}..."
