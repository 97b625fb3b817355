"""The ops on numbers, and on times as numbers: z-scores, logarithms, buckets, levels, waves and ratios."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import row_settings
from recsys_tft.columns import STRING, Column
from recsys_tft.ops import SETTING, Fitting, Op, other_than, scatter
from recsys_tft.statistics import CountQuantiles, MeanAndDeviation, Statistic
from recsys_tft.storage.json_files import to_json
from recsys_tft.vocabularies import MISSING_TOKEN

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from recsys_tft.configuration.settings import Settings

_DAY = 86_400_000_000  # microseconds
HOUR = 3_600_000_000  # microseconds
LONG_AGO = -(2**62)  # microseconds since 1970; no difference from it leaves the range of int64


def no_number(columns: Sequence[Column]) -> str | None:
    """The reason why an op on numbers refuses text columns, if there are any."""
    texts = [column for column in columns if column.graph_type == STRING]
    return f"reads numbers, not {texts[0].name}, which is {texts[0].type}" if texts else None


def _log1p(values: "tf.Tensor") -> "tf.Tensor":
    """log(1 + x) as float32; below 0 counts as 0."""
    import tensorflow as tf

    # In float64, as the last bit of TensorFlow's logarithm depends on the position in the batch; rounding removes it.
    wide = tf.cast(values, tf.float64)
    return tf.cast(tf.math.log1p(tf.maximum(wide, 0.0)), tf.float32)


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

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(1, columns) or no_number(columns)

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> "tuple[tf.Tensor, Statistic]":
        return self._scaled(columns[0].values), MeanAndDeviation()

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        mean, deviation = tf.unstack(fitting.fitted[name])
        scaled = self._scaled(columns[0].values)
        return scatter(columns[0], tf.math.divide_no_nan(scaled - mean, deviation), 0.0)

    def describe(
        self, name: str, columns: Sequence[str], fitted: "np.ndarray | None", settings: "Settings"
    ) -> Mapping[str, str]:
        assert fitted is not None
        mean, deviation = map(float, fitted)
        document = {"column": columns[0], "log1p": self.log1p, "mean": mean, "std": deviation}
        return {f"normalizers/{name}.json": to_json(document)}

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

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(1, columns) or no_number(columns)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        return scatter(columns[0], _log1p(columns[0].values), 0.0)


@dataclasses.dataclass(frozen=True)
class Age(Op):
    """Logarithm of the days since a moment, log(1 + whole hours / 24); nothing is fitted.

    It depends on whole hours alone, which have far fewer distinct values than pairs of moments.

    Columns:
        time: [batch] int64, microseconds since 1970-01-01 UTC.
        since: [batch] int64, likewise, an earlier moment; later ones count as `time`.

    Returns:
        [batch] float32; 0 where either is missing.
    """

    missing: ClassVar[str] = "0 (new)"
    joins: ClassVar[bool] = True
    is_coarse: ClassVar[bool] = True

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(2, columns) or no_number(columns)

    def coarse(self, columns: Sequence[pa.Array]) -> Sequence[pa.Array]:
        """Whole hours, and the moment 0; both missing where either is."""
        unknown = pc.or_(*(column.is_null() for column in columns)).to_numpy(zero_copy_only=False)
        time, since = (pc.fill_null(column, 0).to_numpy() for column in columns)
        hours = np.maximum(time - np.maximum(since, LONG_AGO), 0) // HOUR
        mask = unknown if unknown.any() else None
        return [pa.array(values, mask=mask) for values in (hours * HOUR, np.zeros_like(hours))]

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        time, since = (scatter(column, column.values, 0) for column in columns)
        is_known = tf.reduce_all([scatter(column, tf.ones_like(column.values), 0) > 0 for column in columns], axis=0)
        hours = tf.where(is_known, tf.maximum(time - tf.maximum(since, LONG_AGO), 0) // HOUR, 0)
        return _log1p(tf.cast(hours, tf.float64) / 24)


@dataclasses.dataclass(frozen=True)
class Bucket(Op):
    """Number of the half-open interval that a value lies in.

    Columns:
        x: [batch] int64 or float32.

    Returns:
        [batch] int64: 0 missing, 1 below the first boundary, i + 1 from boundary i on: boundaries [18, 25] make
        1: x < 18, 2: 18 <= x < 25, 3: 25 <= x.

    Attributes:
        name: below `buckets` of the settings, which may override the boundaries.
        boundaries: increasing.
        dim: width of the embedding table.

    Raises:
        InputError: at construction, if the boundaries do not increase as 32-bit floats.
    """

    name: str
    boundaries: tuple[float, ...] = dataclasses.field(default=(), metadata=SETTING)
    dim: int | None = dataclasses.field(default=None, metadata=SETTING)
    missing: ClassVar[str] = "bucket 0"

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(1, columns) or no_number(columns)

    def __post_init__(self) -> None:
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        row_settings.check_boundaries(f"Bucket('{self.name}')", self.boundaries)
        row_settings.check_options(f"Bucket('{self.name}')", dim=self.dim)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        boundaries = list(self._boundaries(fitting.settings))
        buckets = tf.raw_ops.Bucketize(input=tf.cast(columns[0].values, tf.float32), boundaries=boundaries)
        return scatter(columns[0], tf.cast(buckets, tf.int64) + 1, MISSING_TOKEN)

    def categories(self, settings: "Settings") -> int:
        return len(self._boundaries(settings)) + 2

    def boundaries_by_name(self) -> Mapping[str, tuple[float, ...]]:
        return {self.name: self.boundaries}

    def describe(
        self, name: str, columns: Sequence[str], fitted: "np.ndarray | None", settings: "Settings"
    ) -> Mapping[str, str]:
        boundaries = list(self._boundaries(settings))
        document = {"column": columns[0], "boundaries": boundaries, "buckets": bucket_names(boundaries)}
        return {f"buckets/{name}.json": to_json(document)}

    def _boundaries(self, settings: "Settings") -> tuple[float, ...]:
        return settings.buckets.get(self.name, self.boundaries)


def bucket_names(boundaries: list[float]) -> list[str]:
    """The names of buckets, from bucket 0 on."""
    between = [f"{low:g} <= x < {high:g}" for low, high in itertools.pairwise(boundaries)]
    return ["missing", f"x < {boundaries[0]:g}", *between, f"{boundaries[-1]:g} <= x"]


@dataclasses.dataclass(frozen=True)
class Level(Op):
    """One-hot of a popularity level: of the given one, or else of a count.

    The levels and the quantiles between them are `popularity.levels` and `.quantiles` of the settings; the counts at
    these quantiles are fitted, and a count equal to one of them belongs to the higher level.

    Columns:
        level: [batch] string, in any case.
        count: [batch] int64 >= 0.

    Returns:
        [batch, levels] float32; zeros if both are missing, and for an unknown level.
    """

    missing: ClassVar[str] = "from the count; zeros without one"

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(2, columns) or no_number(columns[1:])

    def statistic(self, columns: Sequence["tf.SparseTensor"], settings: "Settings") -> "tuple[tf.Tensor, Statistic]":
        return self._counts(columns[1]), CountQuantiles(tuple(settings.popularity.quantiles))

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        levels = fitting.settings.popularity.levels
        level_column, count = columns
        derived = tf.searchsorted(fitting.fitted[name], self._counts(count), side="right")
        is_level = tf.equal(
            tf.strings.lower(level_column.values)[:, None], tf.constant([level.lower() for level in levels])
        )
        index = tf.where(tf.reduce_any(is_level, 1), tf.argmax(is_level, 1, tf.int32), -1)
        level = scatter(level_column, index, -2)
        return tf.one_hot(tf.where(level == -2, scatter(count, derived, -1), level), len(levels))

    def describe(
        self, name: str, columns: Sequence[str], fitted: "np.ndarray | None", settings: "Settings"
    ) -> Mapping[str, str]:
        assert fitted is not None
        boundaries = [float(edge) if abs(edge) != float("inf") else None for edge in fitted]
        document = {"columns": tuple(columns), "levels": settings.popularity.levels, "boundaries": boundaries}
        return {f"buckets/{name}.json": to_json(document)}

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

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(1, columns) or no_number(columns)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        days = columns[0].values // _DAY
        return scatter(columns[0], (days + 3) % 7 + 1, MISSING_TOKEN)  # 1970-01-01 was a Thursday

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

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return other_than(1, columns) or no_number(columns)

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

    def refuses(self, columns: Sequence[Column]) -> str | None:
        return "reads hits and trials, two columns or more" if len(columns) < 2 else no_number(columns)

    def apply(self, name: str, columns: Sequence["tf.SparseTensor"], fitting: Fitting) -> "tf.Tensor":
        import tensorflow as tf

        *hits, trials = (scatter(column, tf.cast(column.values, tf.float64), 0.0) for column in columns)
        return tf.cast(tf.math.divide_no_nan(tf.add_n(hits), trials), tf.float32)
