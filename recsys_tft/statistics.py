"""Statistics that full-pass ops learn from the training split, from batches of values in any order.

A Beam runner merges partial results in the order of their arrival, on which a sum of floats depends. These statistics
are equal to the last bit, on any number of workers.
"""

import abc
import collections
import dataclasses
import itertools
import math
import pathlib
import uuid
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from recsys_tft.storage.hashing import partition_of
from recsys_tft.storage.temporary import temporary_folder

if TYPE_CHECKING:
    import tensorflow as tf

PARTS = 16  # of statistics of ids
EMPTY_IDS = -(2**63)  # the missing id


class Statistic(abc.ABC):
    """A statistic of all values of a tensor, learned in a full pass.

    The state may be anything that pickles; it must depend on neither the order of the values nor their division into
    batches. `recsys_tft.testing.check_op` tests both.

    Attributes:
        dtype: of the result: "int64", "float32" or "string".
        shape: of the result; None for a first dimension that depends on the values.
        in_file: whether the result is a file; see `FileStatistic`.
    """

    dtype: str = "float32"
    in_file: ClassVar[bool] = False

    @property
    def shape(self) -> tuple[int | None, ...]:
        return ()

    @abc.abstractmethod
    def of(self, values: np.ndarray) -> Any:
        """The state of one batch of [n, ...] values, of none too; strings are bytes."""

    @abc.abstractmethod
    def merge(self, states: Iterable[Any]) -> Any:
        """The state of all values together; there is at least one state."""

    @abc.abstractmethod
    def result(self, state: Any) -> np.ndarray:
        """The result that ops read, from the state of all values, of `dtype` and `shape`."""

    def divided(self, state: Any) -> list[Any]:
        """The state in parts that can be merged separately, as many as for the state of no values; by default one."""
        return [state]

    def trimmed(self, state: Any) -> Any:
        """Drop parts of a fully merged state that the result does not need; by default none."""
        return state

    def output(self, name: str, state: Any, folder: str) -> np.ndarray:
        """The output of the analysis for the state of all values: the result, or the path of a file.

        Args:
            name: of the vocabulary or the feature.
            state: of all values.
            folder: where files are written.
        """
        return np.asarray(self.result(state))

    def fitted(self, output: "tf.Tensor") -> Any:
        """The value for ops in the graph, in `Fitting.fitted`: by default the tensor of the output."""
        return output


class FileStatistic(Statistic):
    """A statistic whose result is a file, an asset of the saved graph; ops get its path, a [] string."""

    dtype = "string"
    in_file = True

    @abc.abstractmethod
    def file_name(self, name: str) -> str:
        """The name of the file of a vocabulary or a feature."""

    @abc.abstractmethod
    def write(self, state: Any, path: str) -> None:
        """Write the file of the state of all values."""

    def result(self, state: Any) -> np.ndarray:
        """The contents of the file, [] bytes."""
        with temporary_folder() as folder:
            path = pathlib.Path(folder) / "file"
            self.write(state, str(path))
            return np.array(path.read_bytes(), object)

    def output(self, name: str, state: Any, folder: str) -> np.ndarray:
        """The path of the file, [] bytes."""
        import tensorflow as tf

        path = f"{folder}/{self.file_name(name)}"
        beside = f"{folder}/{uuid.uuid4().hex}"  # two attempts may write at the same time
        self.write(state, beside)
        tf.io.gfile.rename(beside, path, overwrite=True)
        return np.array(path.encode())


@dataclasses.dataclass(frozen=True)
class MeanAndDeviation(Statistic):
    """Mean and population standard deviation of float32 values; (0, 0) without values.

    The state is count, sum and sum of squares, without rounding.
    """

    shape = (2,)

    def of(self, values: np.ndarray) -> tuple[int, Fraction, Fraction]:
        wide = values.astype(np.float64)  # squares of float32 are exact in it
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
    """The sum of [n] finite float64, without rounding.

    math.fsum rounds the exact sum once; summing again with its negative gives the rounding error, so a few passes have
    the whole sum.
    """
    parts: list[float] = []
    while part := math.fsum(itertools.chain(values.tolist(), (-p for p in parts))):
        parts.append(part)
    return sum(map(Fraction, parts), Fraction(0))


# A float32 without its last 11 bits of mantissa: values in one cell differ by less than 1 part in 4096.
_CELL_BITS = 11


@dataclasses.dataclass(frozen=True)
class CountQuantiles(Statistic):
    """Quantiles of integers >= 0, given as float32; infinity without values.

    The result for a share is the smallest edge above at least this share of the values. Numbers up to 4,096 are exact,
    larger ones to 1 part in 4,096: the state counts values by the upper bits of their float32, which keep their order.

    Attributes:
        shares: increasing, between 0 and 1.
    """

    shares: tuple[float, ...]

    @property
    def shape(self) -> tuple[int]:
        return (len(self.shares),)

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
        ranks = [math.ceil(Fraction(str(share)) * int(below[-1])) for share in self.shares]
        return np.array([_upper_edge(cells[int(np.searchsorted(below, want))]) for want in ranks], np.float32)


def _upper_edge(cell: int) -> int:
    """The smallest integer above a cell."""
    return math.ceil(np.uint32((cell + 1) << _CELL_BITS).view(np.float32))


def divided_by(ids: np.ndarray, state: pa.Table) -> list[pa.Table]:
    """Divide the rows of a state into PARTS by their [n] int64 ids."""
    part = partition_of(ids, PARTS)
    return [state.filter(pa.array(part == number)) for number in range(PARTS)]
