"""Shares of exposures that were positive, smoothed towards a prior for few exposures."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from recsys_tft.columns import Column
from recsys_tft.number_ops import no_number
from recsys_tft.ops import Fitting, Op, other_than, scatter
from recsys_tft.statistics import Statistic

if TYPE_CHECKING:
    import tensorflow as tf

    from recsys_tft.configuration.settings import Settings


@dataclasses.dataclass(frozen=True)
class TotalRate(Statistic):
    """The rate of all exposures, from [n, 2] counts of positive and all ones: (positive + 1) / (all + 2).

    The state is both sums. (Laplace's rule of succession keeps the rate off 0 and 1.)
    """

    def of(self, values: np.ndarray) -> tuple[int, int]:
        positive, shown = values.astype(np.int64).reshape(-1, 2).sum(axis=0).tolist()
        return positive, shown

    def merge(self, states: Iterable[tuple[int, int]]) -> tuple[int, int]:
        positive, shown = zip(*states, strict=True)
        return sum(positive), sum(shown)

    def result(self, state: tuple[int, int]) -> np.ndarray:
        positive, shown = state
        return np.array((positive + 1) / (shown + 2), np.float32)


@dataclasses.dataclass(frozen=True)
class PositiveRate(Op):
    """Share of exposures that were positive: (positive + weight x prior) / (shown + weight).

    The prior is the rate of all exposures in the counts of training rows. (An m-estimate: Cestnik, ECAI 1990.)

    Columns:
        positive: [batch] int64 count >= 0; a missing one counts as 0.
        shown: [batch] int64 count >= 0, of all exposures; a missing one counts as 0.

    Returns:
        [batch] float32; the prior where nothing was shown.

    Attributes:
        weight: of the prior, in exposures.
    """

    weight: float = 10.0
    missing: ClassVar[str] = "the rate of all"

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(2, columns) or no_number(columns)

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> "tuple[tf.Tensor, Statistic]":
        import tensorflow as tf

        return tf.stack([scatter(column, column.values, 0) for column in columns], axis=1), TotalRate()

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        positives, exposures = _counts(columns)
        return tf.cast(_drawn(positives, exposures, tf.cast(fitting.fitted[name], tf.float64), self.weight), tf.float32)


@dataclasses.dataclass(frozen=True)
class Affinity(Op):
    """Share of a user's exposures to videos of a group that were positive, shrunk towards the user's own rate.

    (positive + weight x rate) / (shown + weight), where the rate is (the user's positive + 1) / (the user's + 2).

    Columns:
        positive: [batch] int64 count >= 0, of the user and the group; a missing one counts as 0.
        shown: [batch] int64 count >= 0, of the user and the group; a missing one counts as 0.
        user_positive: [batch] int64 count >= 0, of the user; a missing one counts as 0.
        user_shown: [batch] int64 count >= 0, of the user; a missing one counts as 0.

    Returns:
        [batch] float32; the user's rate if nothing of the group was shown, 1/2 if nothing was shown at all.

    Attributes:
        weight: of the user's rate, in exposures.
    """

    weight: float = 5.0
    missing: ClassVar[str] = "the user's rate"

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(4, columns) or no_number(columns)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        positive, shown, user_positive, user_shown = _counts(columns)
        rate = (user_positive + 1.0) / (user_shown + 2.0)
        return tf.cast(_drawn(positive, shown, rate, self.weight), tf.float32)


@dataclasses.dataclass(frozen=True)
class Excess(Op):
    """Excess of a user's positive rate over that of others on the same videos.

    (positive - expected) / (shown + weight), where expected is how many of them others would be positive on.

    It tells a user who likes much from one who was shown what everybody likes. (The user's bias of a baseline
    predictor: Koren, KDD 2008, section 2.1.)

    Columns:
        positive: [batch] int64 count >= 0, of the user; a missing one counts as 0.
        expected: [batch] float32 >= 0: how many would be positive if the user were like all others; missing: 0.
        shown: [batch] int64 count >= 0, of the user; a missing one counts as 0.

    Returns:
        [batch] float32 between -1 and 1; 0 where nothing was shown.

    Attributes:
        weight: exposures without excess that are added.
    """

    weight: float = 20.0
    missing: ClassVar[str] = "0"

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(3, columns) or no_number(columns)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        positive, expected, shown = _counts(columns)
        return tf.cast((positive - expected) / (shown + self.weight), tf.float32)


def _counts(columns: Sequence["tf.SparseTensor"]) -> "list[tf.Tensor]":
    """[batch] float64 each."""
    import tensorflow as tf

    return [scatter(column, tf.cast(column.values, tf.float64), 0.0) for column in columns]


def _drawn(positive: "tf.Tensor", shown: "tf.Tensor", prior: "tf.Tensor", weight: float) -> "tf.Tensor":
    """[batch] float64."""
    return (positive + weight * prior) / (shown + weight)
