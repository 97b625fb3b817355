"""Stored distributions: counts in few cells, so that files stay small."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from recsys_tft.describing import cells
from recsys_tft.describing.sketches import Numbers

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)  # of the quantiles
BINS = 10  # of a histogram, with equal parts of the training split
MOST = 256  # cells at most


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Counts of values in cells that do not overlap, in the order of the values.

    Attributes:
        values: [k] float64, increasing: the mean of the values in each cell.
        counts: [k] int64, all above 0.
        is_single: [k] bool, whether a cell can have one value only; None if unknown.
    """

    values: np.ndarray
    counts: np.ndarray
    is_single: np.ndarray | None = None

    @classmethod
    def of_numbers(cls, numbers: Numbers, split: int) -> "Distribution":
        """From the counts of numbers in one split."""
        found, sums = numbers.of_split(split)
        values = cells.means(found, sums)
        order = np.argsort(values, kind="stable")
        return cls(values[order], sums[0][order])

    @classmethod
    def of_whole(cls, numbers: Numbers, split: int) -> "Distribution":
        """From the counts of integers or tokens; for cells of several the middle is taken."""
        found, (counts,) = numbers.of_split(split)
        above = found >= cells.HEAD
        values = found.astype(np.float64)
        if above.any():
            values[above] = np.mean(cells.edges(found[above]), axis=0)
        return cls(values, counts, ~above)

    @classmethod
    def of_steps(cls, numbers: Numbers, split: int) -> "Distribution":
        """From the counts of integers with a cell each."""
        found, (counts,) = numbers.of_split(split)
        return cls(found.astype(np.float64), counts)

    @classmethod
    def of_json(cls, stored: dict[str, list]) -> "Distribution":
        """From the result of `to_json`."""
        return cls(np.array(stored["values"], np.float64), np.array(stored["counts"], np.int64))

    def to_json(self) -> dict[str, list]:
        """The values and counts of at most MOST cells."""
        few = self.coarser()
        return {"values": short(few.values), "counts": few.counts.tolist()}

    def coarser(self) -> "Distribution":
        """Merge neighbours into at most MOST cells; cells with more than their share stay alone."""
        if len(self.counts) <= MOST:
            return self
        share = self.total / (MOST // 3)
        whole = (np.cumsum(self.counts) - self.counts) // share
        heavy = self.counts > share
        group = np.cumsum(np.append(True, (np.diff(whole) > 0) | heavy[1:] | heavy[:-1])) - 1
        counts = np.bincount(group, self.counts).astype(np.int64)
        return Distribution(np.bincount(group, self.counts * self.values) / counts, counts)

    @property
    def total(self) -> int:
        """The number of values."""
        return int(self.counts.sum())

    def quantiles(self, shares: tuple[float, ...] = SHARES) -> list[float]:
        """The quantiles at these shares, as the means of their cells; empty without values."""
        if not self.total:
            return []
        below = np.cumsum(self.counts)
        place = np.searchsorted(below, [math.ceil(share * self.total) for share in shares])
        return short(self.values[place])

    def edges(self, bins: int = BINS) -> list[float]:
        """Edges between cells that divide the values into about equal, nonempty parts."""
        if len(self.values) < 2:
            return []
        below = np.cumsum(self.counts)
        place = np.searchsorted(below, [part * self.total / bins for part in range(1, bins)])
        # The edge is before or after the cell that crosses the mark, whichever is closer.
        marks = np.array([part * self.total / bins for part in range(1, bins)])
        place += below[place] - marks < marks - (below[place] - self.counts[place])
        inner = np.unique(place[(place > 0) & (place < len(below))])
        return short((self.values[inner - 1] + self.values[inner]) / 2)

    def binned(self, edges: Sequence[float]) -> list[int]:
        """Count the values in each bin: below the first edge, between two edges, and from the last on."""
        found = np.bincount(np.searchsorted(edges, self.values, "right"), self.counts, len(edges) + 1)
        return found.astype(np.int64).tolist()


def short(values: np.ndarray) -> list[float]:
    """[n] numbers rounded to 9 digits, which distinguish all float32."""
    return [float(f"{value:.9g}") for value in values.tolist()]
