"""Ops and statistics as a user writes them, right ones and wrong ones."""

import collections
import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from recsys_tft.configuration.settings import Settings
from recsys_tft.ops import Fitting, Op, scatter
from recsys_tft.statistics import Statistic


@dataclasses.dataclass(frozen=True)
class PairSums(Statistic):
    """[values, 2] int64: each first value, increasing, and the sum of the second ones."""

    dtype: ClassVar[str] = "int64"
    shape: ClassVar[tuple[int | None, ...]] = (None, 2)

    def of(self, values: np.ndarray) -> collections.Counter[int]:
        found: collections.Counter[int] = collections.Counter()
        for first, second in values.tolist():
            found[first] += second
        return found

    def merge(self, states: Iterable[collections.Counter[int]]) -> collections.Counter[int]:
        return sum(states, collections.Counter())

    def result(self, state: collections.Counter[int]) -> np.ndarray:
        return np.array(sorted(state.items()), np.int64).reshape(-1, 2)


@dataclasses.dataclass(frozen=True)
class LengthSum(Op):
    """The sum of the lengths of all texts of a length; its statistic has two values a row."""

    missing: ClassVar[str] = "0"

    def statistic(self, columns: Sequence[tf.SparseTensor], settings: Settings) -> tuple[tf.Tensor, Statistic]:
        length = tf.cast(tf.strings.length(columns[0].values), tf.int64)
        return tf.stack([length, length], axis=1), PairSums()

    def apply(self, name: str, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> tf.Tensor:
        table, length = fitting.fitted[name], tf.cast(tf.strings.length(columns[0].values), tf.int64)
        sums = tf.reduce_sum(tf.where(length[:, None] == table[None, :, 0], table[None, :, 1], 0), axis=1)
        return scatter(columns[0], tf.cast(sums, tf.float32), 0.0)

    def describe(self, name: str, columns: Sequence[str], fitted: np.ndarray, settings: Settings) -> Mapping[str, str]:
        return {f"lengths/{name}.json": json.dumps({"column": columns[0], "sums": fitted.tolist()})}


@dataclasses.dataclass(frozen=True)
class First(Statistic):
    """[1] string: the least text."""

    dtype: ClassVar[str] = "string"
    shape: ClassVar[tuple[int | None, ...]] = (1,)

    def of(self, values: np.ndarray) -> bytes:
        return min(values.tolist(), default=b"\xff")

    def merge(self, states: Iterable[bytes]) -> bytes:
        return min(states)

    def result(self, state: bytes) -> np.ndarray:
        return np.array([state], object)


@dataclasses.dataclass(frozen=True)
class IsFirst(Op):
    """Whether a text is the least one: 0 missing, 1 no, 2 yes."""

    dim: int | None = None
    missing: ClassVar[str] = "0"
    once_per_value: ClassVar[bool] = True

    def statistic(self, columns: Sequence[tf.SparseTensor], settings: Settings) -> tuple[tf.Tensor, Statistic]:
        return columns[0].values, First()

    def apply(self, name: str, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> tf.Tensor:
        return scatter(columns[0], tf.cast(columns[0].values == fitting.fitted[name][0], tf.int64) + 1, 0)

    def categories(self, settings: Settings) -> int:
        return 3


@dataclasses.dataclass(frozen=True)
class Lengths(Op):
    """The length of each text of a list."""

    missing: ClassVar[str] = "empty list"
    once_per_value: ClassVar[bool] = True

    def apply(self, name: str, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> tf.RaggedTensor:
        lengths = self.typed(tf.strings.length(columns[0].values))
        rows, shape = columns[0].indices[:, 0], columns[0].dense_shape
        return tf.RaggedTensor.from_value_rowids(lengths, rows, shape[0], validate=False)

    def typed(self, lengths: tf.Tensor) -> tf.Tensor:
        return tf.cast(lengths, tf.float32)

    def shape(self, settings: Settings) -> None:
        return None


@dataclasses.dataclass(frozen=True)
class LengthClasses(Lengths):
    """The length of each text of a list, as categories 1 to 4."""

    def typed(self, lengths: tf.Tensor) -> tf.Tensor:
        return tf.cast(lengths % 4 + 1, tf.int64)

    def categories(self, settings: Settings) -> int:
        return 5


@dataclasses.dataclass(frozen=True)
class Wrong(Op):
    """An op of one number whose parts can be made wrong."""

    kind: str
    missing: ClassVar[str] = "0"
    made: ClassVar[Mapping[str, Any]] = {
        "dtype": lambda x: tf.cast(x, tf.int64),
        "width": lambda x: tf.stack([x, x], 1),
        "list": lambda x: tf.RaggedTensor.from_row_lengths(x, tf.ones_like(x, tf.int64)),
        "raises": lambda x: {}[x.dtype],
        "place": lambda x: x + tf.range(tf.size(x, tf.int64), dtype=tf.float32),
        "batch": lambda x: x + tf.reduce_sum(x),
        "infinite": lambda x: x / 0.0,
        "missing": lambda x: x + 1.0,
        "rows": lambda x: x[:-1],
        "text": lambda x: "text",
    }

    def apply(self, name: str, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> Any:
        return self.made[self.kind](scatter(columns[0], tf.cast(columns[0].values, tf.float32), 0.0))


@dataclasses.dataclass(frozen=True)
class Uncounted(Wrong):
    """Says that it numbers categories, and not how many."""

    is_categorical: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class TooMany(Wrong):
    """Makes more categories than it says."""

    def categories(self, settings: Settings) -> int:
        return 2


@dataclasses.dataclass(frozen=True)
class InOrder(Statistic):
    """Depends on the order of values."""

    def of(self, values: np.ndarray) -> list[float]:
        return values.tolist()

    def merge(self, states: Iterable[list[float]]) -> list[float]:
        return [*itertools.chain.from_iterable(states)]

    def result(self, state: list[float]) -> np.ndarray:
        return np.float32(sum(value * place for place, value in enumerate(state)))


@dataclasses.dataclass(frozen=True)
class Learning(Wrong):
    """An op with a statistic that can be any."""

    learned: Statistic | None = None

    def statistic(self, columns: Sequence[tf.SparseTensor], settings: Settings) -> tuple[tf.Tensor, Any]:
        return tf.cast(columns[0].values, tf.float32), self.learned


@dataclasses.dataclass(frozen=True)
class DoubleMean(Statistic):
    """Says float32, and gives a float64."""

    def of(self, values: np.ndarray) -> float:
        return float(values.sum())

    def merge(self, states: Iterable[float]) -> float:
        return sum(states)

    def result(self, state: float) -> np.ndarray:
        return np.float64(state)
