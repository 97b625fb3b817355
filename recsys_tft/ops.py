"""The operations that turn raw columns into engineered features.

An op is a frozen dataclass: its fields are what the feature table says, `apply` is what the graph does. Every op reads
its columns as SparseTensors of at most one value a row (lists: any number), in which a missing value is an absent one,
and says what missing becomes. NaN, infinite and empty-string values count as missing.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from recsys_tft.statistics import CountQuantiles, MeanAndDeviation, Statistic
from recsys_tft.vocabularies import MISSING, Vocabulary

if TYPE_CHECKING:
    import tensorflow as tf

    from recsys_tft.configuration.settings import Settings

_DAY = 86_400_000_000  # microseconds
HOUR = 3_600_000_000  # microseconds


@dataclasses.dataclass(frozen=True)
class Fitting:
    """What an op may ask for while it is applied.

    Attributes:
        settings: of the run.
        fitted: results of the statistics that ops asked for: of vocabularies by their names, else by the feature's.
    """

    settings: "Settings"
    fitted: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Op:
    """What becomes of the columns of one feature.

    Class attributes:
        missing: what a row with missing input becomes, in words.
        is_large: whether joined rows point to the value rather than hold it.
        joins: whether it reads columns of an exposure and of a video.
    """

    missing: ClassVar[str]
    is_large: ClassVar[bool] = False
    joins: ClassVar[bool] = False

    def is_active(self, settings: "Settings") -> bool:
        """Whether the settings ask for the feature."""
        return True

    def statistic(
        self, columns: Sequence["tf.SparseTensor"], settings: "Settings"
    ) -> "tuple[tf.Tensor, Statistic] | None":
        """[n] values, and what is to be learned of them in a full pass; None for an op that needs nothing."""
        return None

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor | tf.RaggedTensor":
        """The feature called `name` of [batch] rows."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it computes.")  # a new op must

    def shape(self, settings: "Settings") -> tuple[int, ...] | None:
        """Of one row: () for a scalar, (n,) for a vector, None for a list of any length."""
        return ()

    def categories(self, settings: "Settings") -> int | None:
        """How many values it numbers, 0 for missing included; None where it measures, or where a vocabulary says."""
        return None


def scatter(column: "tf.SparseTensor", values: "tf.Tensor", default: float | int | bytes) -> "tf.Tensor":
    """[batch] of `values`, which belong to the present rows of `column`; `default` where the column is missing."""
    import tensorflow as tf

    rows = column.indices[:, :1]
    full = tf.fill([column.dense_shape[0]], tf.constant(default, values.dtype))
    return tf.ensure_shape(tf.tensor_scatter_nd_update(full, rows, values), [None])


def _log1p(values: "tf.Tensor") -> "tf.Tensor":
    """log(1 + x) as float32; below 0 counts as 0."""
    import tensorflow as tf

    # In float64, as the last bit of TensorFlow's logarithm depends on the place in the batch; rounding removes it.
    wide = tf.cast(values, tf.float64)
    return tf.cast(tf.math.log1p(tf.maximum(wide, 0.0)), tf.float32)


@dataclasses.dataclass(frozen=True)
class Lookup(Op):
    """Token of a value in a vocabulary.

    Columns:
        value: [batch] int64 or string.

    Returns:
        [batch] int64 in the layout of `vocabularies`: 0 missing, then out-of-vocabulary, then the vocabulary.
    """

    vocabulary: Vocabulary
    missing: ClassVar[str] = "token 0"

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> "tuple[tf.Tensor, Statistic]":
        return columns[0].values, self.vocabulary.statistic(settings.vocabulary(self.vocabulary.name))

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        return scatter(columns[0], self._tokens(columns[0].values, fitting), MISSING)

    def _tokens(self, values: "tf.Tensor", fitting: Fitting) -> "tf.Tensor":
        n_oov = fitting.settings.vocabulary(self.vocabulary.name).n_oov
        return self.vocabulary.tokens(values, fitting.fitted[self.vocabulary.name], n_oov)


@dataclasses.dataclass(frozen=True)
class SetLookup(Lookup):
    """Token of a whole list, taken as one category: its values in their order, joined by `|`.

    Columns:
        values: [batch] lists of strings.

    Returns:
        [batch] int64 as Lookup; an empty list is missing.
    """

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> "tuple[tf.Tensor, Statistic]":
        return super().statistic([self._joined(columns[0])], settings)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        joined = self._joined(columns[0])
        return scatter(joined, self._tokens(joined.values, fitting), MISSING)

    @staticmethod
    def _joined(column: "tf.SparseTensor") -> "tf.SparseTensor":
        import tensorflow as tf

        rows, owners = tf.unique(column.indices[:, 0])
        joined = tf.strings.unsorted_segment_join(column.values, owners, tf.size(rows), separator="|")
        return tf.SparseTensor(tf.stack([rows, tf.zeros_like(rows)], 1), joined, column.dense_shape)


@dataclasses.dataclass(frozen=True)
class Bag(Lookup):
    """Tokens of every value of a list, for a model that averages their embeddings (CBOW).

    Columns:
        values: [batch] lists of strings.

    Returns:
        [batch, (n)] int64 tokens in the list's order.
    """

    missing: ClassVar[str] = "empty list"

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.RaggedTensor":
        import tensorflow as tf

        tokens = self._tokens(columns[0].values, fitting)
        rows, shape = columns[0].indices[:, 0], columns[0].dense_shape
        return tf.RaggedTensor.from_value_rowids(tokens, rows, shape[0], validate=False)

    def shape(self, settings: "Settings") -> None:
        return None


@dataclasses.dataclass(frozen=True)
class History(Bag):
    """Tokens of the user's last videos, or of what they have, in a vocabulary that is fitted on the videos alone.

    Columns:
        values: [batch] lists of int64 or strings, most recent first; any number, as `history.length` cuts them before.

    Returns:
        [batch, (n)] int64 tokens in the list's order.
    """

    def is_active(self, settings: "Settings") -> bool:
        return settings.history.length > 0

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> None:
        return None


@dataclasses.dataclass(frozen=True)
class ZScore(Op):
    """Distance from the mean in standard deviations: (x - mean) / deviation, of log(1 + x) where `log1p`.

    Columns:
        x: [batch] int64 or float32; below 0 counts as 0 where `log1p`.

    Returns:
        [batch] float32; 0 where x is missing (the mean) and where the column is constant.
    """

    log1p: bool = False
    missing: ClassVar[str] = "0 (the mean)"

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> "tuple[tf.Tensor, Statistic]":
        return self._scaled(columns[0].values), MeanAndDeviation()

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        mean, deviation = tf.unstack(fitting.fitted[name])
        scaled = self._scaled(columns[0].values)
        return scatter(columns[0], tf.math.divide_no_nan(scaled - mean, deviation), 0.0)

    def _scaled(self, values: "tf.Tensor") -> "tf.Tensor":
        import tensorflow as tf

        return _log1p(values) if self.log1p else tf.cast(values, tf.float32)


@dataclasses.dataclass(frozen=True)
class Log(Op):
    """Logarithm of a count, log(1 + x); nothing is fitted.

    Columns:
        x: [batch] int64; below 0 counts as 0.

    Returns:
        [batch] float32; 0 where x is missing, as for a count of 0.
    """

    missing: ClassVar[str] = "0 (none)"

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        return scatter(columns[0], _log1p(columns[0].values), 0.0)


@dataclasses.dataclass(frozen=True)
class Age(Op):
    """Logarithm of the days since a moment, log(1 + whole hours / 24); nothing is fitted.

    It depends on the number of whole hours alone, so that a job need not compute it for every pair.

    Columns:
        time: [batch] int64, microseconds since 1970-01-01 UTC.
        since: [batch] int64, the same of an earlier moment; a later one counts as `time`.

    Returns:
        [batch] float32; 0 where either is missing.
    """

    missing: ClassVar[str] = "0 (new)"
    joins: ClassVar[bool] = True

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        time, since = (scatter(column, column.values, 0) for column in columns)
        known = tf.reduce_all([scatter(column, tf.ones_like(column.values), 0) > 0 for column in columns], axis=0)
        hours = tf.where(known, tf.maximum(time - since, 0) // HOUR, 0)
        return _log1p(tf.cast(hours, tf.float64) / 24)


@dataclasses.dataclass(frozen=True)
class Bucket(Op):
    """Number of the half-open interval that a value lies in, by boundaries from `buckets.<boundaries>` of the settings.

    Columns:
        x: [batch] int64 or float32.

    Returns:
        [batch] int64: 0 missing, 1 below the first boundary, i + 1 from boundary i on: boundaries [18, 25] make
        1: x < 18, 2: 18 <= x < 25, 3: 25 <= x.
    """

    boundaries: str
    missing: ClassVar[str] = "bucket 0"

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        boundaries = list(fitting.settings.buckets[self.boundaries])
        buckets = tf.raw_ops.Bucketize(input=tf.cast(columns[0].values, tf.float32), boundaries=boundaries)
        return scatter(columns[0], tf.cast(buckets, tf.int64) + 1, MISSING)

    def categories(self, settings: "Settings") -> int:
        return len(settings.buckets[self.boundaries]) + 2


@dataclasses.dataclass(frozen=True)
class Level(Op):
    """One-hot of a popularity level: the one given, else the one that a count falls into.

    The levels and the quantiles between them are `popularity.levels` and `.quantiles` of the settings; the counts at
    these quantiles are fitted, and a count equal to one of them belongs to the higher level.

    Columns:
        level: [batch] string, in any case.
        count: [batch] int64 >= 0.

    Returns:
        [batch, levels] float32; zeros where both are missing, and for a level that the settings do not know.
    """

    missing: ClassVar[str] = "from the count; zeros without one"

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> "tuple[tf.Tensor, Statistic]":
        return self._counts(columns[1]), CountQuantiles(tuple(settings.popularity.quantiles))

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        levels = fitting.settings.popularity.levels
        given, count = columns
        derived = tf.searchsorted(fitting.fitted[name], self._counts(count), side="right")
        known = tf.equal(tf.strings.lower(given.values)[:, None], tf.constant([level.lower() for level in levels]))
        index = tf.where(tf.reduce_any(known, 1), tf.argmax(known, 1, tf.int32), -1)
        level = scatter(given, index, -2)
        return tf.one_hot(tf.where(level == -2, scatter(count, derived, -1), level), len(levels))

    @staticmethod
    def _counts(count: "tf.SparseTensor") -> "tf.Tensor":
        import tensorflow as tf

        return tf.maximum(tf.cast(count.values, tf.float32), 0.0)

    def shape(self, settings: "Settings") -> tuple[int, ...]:
        return (len(settings.popularity.levels),)


@dataclasses.dataclass(frozen=True)
class DayOfWeek(Op):
    """Day of the week in UTC.

    Columns:
        time: [batch] int64, microseconds since 1970-01-01 UTC.

    Returns:
        [batch] int64: 0 missing, 1 Monday to 7 Sunday (ISO 8601).
    """

    missing: ClassVar[str] = "0"

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        days = columns[0].values // _DAY
        return scatter(columns[0], (days + 3) % 7 + 1, MISSING)  # 1970-01-01 was a Thursday

    def categories(self, settings: "Settings") -> int:
        return 8


@dataclasses.dataclass(frozen=True)
class HourWave(Op):
    """Sine or cosine of the hour of the day in UTC, so that 23 and 0 are neighbours.

    Columns:
        time: [batch] int64, microseconds since 1970-01-01 UTC.

    Returns:
        [batch] float32: sin or cos of 2 pi hour / 24, hour in 0 .. 23; 0 where missing, which no hour gives in both.
    """

    wave: str
    missing: ClassVar[str] = "0"

    def __post_init__(self) -> None:
        if self.wave not in ("sin", "cos"):
            raise ValueError(f"HourWave takes 'sin' or 'cos', not {self.wave!r}.")

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        wave: Callable = {"sin": math.sin, "cos": math.cos}[self.wave]
        table = tf.constant([wave(2 * math.pi * hour / 24) for hour in range(24)], tf.float32)
        return scatter(columns[0], tf.gather(table, columns[0].values % _DAY // HOUR), 0.0)


@dataclasses.dataclass(frozen=True)
class Ratio(Op):
    """Share of trials that hit, such as likes per view; of several kinds of hits, their sum.

    Columns:
        hits, ...: [batch] int64 counts >= 0; a missing one counts as 0.
        trials: [batch] int64 count >= 0, the last column.

    Returns:
        [batch] float32, hits / trials; 0 where trials is 0 or missing.
    """

    missing: ClassVar[str] = "0"

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        *hits, trials = (scatter(column, tf.cast(column.values, tf.float64), 0.0) for column in columns)
        return tf.cast(tf.math.divide_no_nan(tf.add_n(hits), trials), tf.float32)


def present_only(values: "tf.Tensor") -> "tf.SparseTensor":
    """[batch] or [batch, n] dense as a SparseTensor, without the values that count as missing."""
    import tensorflow as tf

    matrix = values if values.shape.rank == 2 else tf.reshape(values, [-1, 1])
    return drop_missing(
        tf.SparseTensor(
            tf.where(tf.ones_like(matrix, tf.bool)), tf.reshape(matrix, [-1]), tf.shape(matrix, out_type=tf.int64)
        )
    )


def drop_missing(column: "tf.SparseTensor") -> "tf.SparseTensor":
    """The column without empty strings, NaN and infinities."""
    import tensorflow as tf

    if column.dtype == tf.string:
        kept = tf.where(tf.not_equal(column.values, ""))[:, 0]
    elif column.dtype.is_floating:
        kept = tf.where(tf.math.is_finite(column.values))[:, 0]
    else:
        return column
    return tf.SparseTensor(tf.gather(column.indices, kept), tf.gather(column.values, kept), column.dense_shape)
