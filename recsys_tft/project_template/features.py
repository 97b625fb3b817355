"""The feature table of this project: ours, with columns, signals and features of your own."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf

from recsys_tft.columns import INT64, STRING, Column
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import CANDIDATE, RANKER, Feature
from recsys_tft.ops import Fitting, Lookup, Op, scatter
from recsys_tft.signals import Signal
from recsys_tft.vocabularies import Vocabulary


@dataclasses.dataclass(frozen=True)
class Share(Op):
    """A whole number as a share of a greatest one.

    Columns:
        value: [batch] int64.

    Returns:
        [batch] float32, 0 to 1; what is above `most` counts as `most`, and 0 where the value is missing.
    """

    most: int
    missing: ClassVar[str] = "0"

    def apply(self, name: str, columns: Sequence[tf.SparseTensor], fitting: Fitting) -> tf.Tensor:
        (column,) = columns
        share = tf.cast(tf.minimum(column.values, self.most), tf.float32) / self.most
        return scatter(column, share, 0.0)


TABLE = DEFAULT.extend(
    columns=[
        Column("resolution", "videos", INT64, minimum=0),
        Column("plan", "users", STRING),
    ],
    signals=["follow", Signal("not_interested", negative=True)],
    features=[
        Feature("resolution_share", "resolution", Share(most=2160), (CANDIDATE, RANKER)),
        Feature("plan_token", "plan", Lookup(Vocabulary("plan")), RANKER),
    ],
)
