"""What full-pass ops learn from the training window, from batches of values in any order.

A Beam runner merges partial results in whatever order they arrive, and a sum of floats depends on it. These do not:
they come out the same to the last bit, on any number of workers.
"""

import abc
import collections
import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.storage.hashing import partition_of
from recsys_tft.storage.temporary import temporary_folder

# tf.lookup refuses an empty file; no input equals this (it is what tft.vocabulary writes too).
EMPTY_VOCABULARY = b"49d0cd50-04bb-48c0-bc6f-5b575dce351a"
PARTS = 16  # that what is learned of ids is divided into
_VALUES_AT_A_TIME = 1 << 20
EMPTY_IDS = -(2**63)  # the same of integers; tft.vocabulary's -1 is an id that tables do have


class Statistic(abc.ABC):
    """Something that is learned from all values of a tensor."""

    @abc.abstractmethod
    def of(self, values: np.ndarray) -> Any:
        """The state of one batch of [n] values."""

    @abc.abstractmethod
    def merge(self, states: Iterable[Any]) -> Any:
        """The state of all values together; `states` holds at least one."""

    def divided(self, state: Any) -> list[Any]:
        """The state in parts that can be merged apart from each other; here it is one."""
        return [state]

    def trimmed(self, state: Any) -> Any:
        """What the result needs of a part that has been merged with all others of its kind; here it is all."""
        return state


class Numbers(Statistic):
    """A statistic whose result is a vector."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """How many numbers the result has."""

    @abc.abstractmethod
    def result(self, state: Any) -> np.ndarray:
        """[size] float32."""


@dataclasses.dataclass(frozen=True)
class MeanAndDeviation(Numbers):
    """Mean and population standard deviation of float32 values; (0, 0) of no values.

    The state is count, sum and sum of squares, without any rounding.
    """

    size: ClassVar[int] = 2

    def of(self, values: np.ndarray) -> tuple[int, Fraction, Fraction]:
        wide = values.astype(np.float64)  # in which the squares of float32 are exact
        return wide.size, exact_sum(wide), exact_sum(wide * wide)

    def merge(self, states: Iterable[tuple[int, Fraction, Fraction]]) -> tuple[int, Fraction, Fraction]:
        counts, sums, squares = zip(*states, strict=True)
        return sum(counts), sum(sums, Fraction(0)), sum(squares, Fraction(0))

    def result(self, state: tuple[int, Fraction, Fraction]) -> np.ndarray:
        count, first, second = state
        if not count:
            return np.zeros(2, np.float32)
        mean = first / count
        return np.array([mean, math.sqrt(second / count - mean * mean)], np.float32)


def exact_sum(values: np.ndarray) -> Fraction:
    """The sum of [n] finite float64, without any rounding.

    math.fsum rounds the exact sum once; adding minus its result and summing again gives what it rounded away, so a
    few passes hold all of it.
    """
    parts: list[float] = []
    while part := math.fsum(itertools.chain(values.tolist(), (-p for p in parts))):
        parts.append(part)
    return sum(map(Fraction, parts), Fraction(0))


# A float32 without its last 11 bits of mantissa: values that share a cell differ by less than 1 part in 4096.
_CELL_BITS = 11


@dataclasses.dataclass(frozen=True)
class CountQuantiles(Numbers):
    """Quantiles of whole numbers >= 0, given as float32; infinity of no values.

    The result for a share is the smallest edge that at least this share of the values lies below. Numbers up to 4,096
    are told apart exactly, larger ones to 1 part in 4,096: the state counts values by the upper bits of their float32,
    which are in the order of the values.

    Attributes:
        shares: increasing, between 0 and 1.
    """

    shares: tuple[float, ...]

    @property
    def size(self) -> int:
        return len(self.shares)

    def of(self, values: np.ndarray) -> collections.Counter[int]:
        cells, sizes = np.unique(values.astype(np.float32).view(np.uint32) >> _CELL_BITS, return_counts=True)
        return collections.Counter(dict(zip(cells.tolist(), sizes.tolist(), strict=True)))

    def merge(self, states: Iterable[collections.Counter[int]]) -> collections.Counter[int]:
        return sum(states, collections.Counter())

    def result(self, state: collections.Counter[int]) -> np.ndarray:
        if not state:
            return np.full(len(self.shares), np.inf, np.float32)
        cells = sorted(state)
        below = np.cumsum([state[cell] for cell in cells])
        wanted = [math.ceil(Fraction(str(share)) * int(below[-1])) for share in self.shares]
        return np.array([_upper_edge(cells[int(np.searchsorted(below, want))]) for want in wanted], np.float32)


def _upper_edge(cell: int) -> int:
    """The smallest whole number above a cell."""
    return math.ceil(np.uint32((cell + 1) << _CELL_BITS).view(np.float32))


def divided_by(ids: np.ndarray, state: pa.Table) -> list[pa.Table]:
    """The rows of a state in PARTS, by [n] int64 ids that equal rows of other states share."""
    part = partition_of(ids, PARTS)
    return [state.filter(pa.array(part == number)) for number in range(PARTS)]


@dataclasses.dataclass(frozen=True)
class Frequencies(Statistic):
    """The distinct values by descending count; equally frequent ones in ascending order, so that larger new ids, which
    come last, leave the tokens of the old ones alone.

    Attributes:
        min_count: values that occur less often are left out.
        max_size: how many remain at the most; None for all.
        integers: whether the values are int64 rather than strings.
    """

    min_count: int
    max_size: int | None
    integers: bool

    def of(self, values: np.ndarray) -> pa.Table:
        counted = pa.array(values, pa.int64() if self.integers else pa.binary()).value_counts()
        return pa.table({"value": counted.field(0), "count": counted.field(1)})

    def merge(self, states: Iterable[pa.Table]) -> pa.Table:
        grouped = pa.concat_tables(states).group_by("value", use_threads=False).aggregate([("count", "sum")])
        return grouped.rename_columns(["value", "count"]).combine_chunks()

    def divided(self, state: pa.Table) -> list[pa.Table]:
        """PARTS of ids, of which there may be very many."""
        return divided_by(state["value"].to_numpy(), state) if self.integers else [state]

    def trimmed(self, state: pa.Table) -> pa.Table:
        """The values that are kept, in order."""
        kept = state.filter(pc.field("count") >= self.min_count)
        return kept.sort_by([("count", "descending"), ("value", "ascending")]).slice(0, self.max_size)

    def file_name(self, name: str) -> str:
        """What the file of the vocabulary `name` is called."""
        return name if self.integers else f"{name}.tfrecord.gz"

    def values(self, state: pa.Table) -> pa.ChunkedArray:
        """The values in order."""
        return self.trimmed(state)["value"]

    def write(self, state: pa.Table, path: str) -> None:
        """Writes the values, one per line if they are integers, else one per record of a gzipped TFRecord.

        The text format of tf.lookup has no way to hold a string with a newline.
        """
        import tensorflow as tf

        values = self.values(state)
        starts = range(0, len(values), _VALUES_AT_A_TIME)  # as Python objects take ten times the memory
        parts = (values.slice(start, _VALUES_AT_A_TIME).to_pylist() for start in starts)
        if self.integers:
            with tf.io.gfile.GFile(path, "w") as file:
                for part in parts if len(values) else [[EMPTY_IDS]]:
                    file.write("".join(f"{value}\n" for value in part))
            return
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for part in parts if len(values) else [[EMPTY_VOCABULARY]]:
                for value in part:
                    writer.write(value)

    def empty_file(self) -> bytes:
        """The contents of the file of no values."""
        with temporary_folder() as folder:
            path = pathlib.Path(folder) / "empty"
            self.write(self.of(np.zeros(0, np.int64 if self.integers else object)), str(path))
            return path.read_bytes()
