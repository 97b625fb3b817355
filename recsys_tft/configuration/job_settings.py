"""Settings of the main job: labels, features and format of rows."""

import datetime
from fractions import Fraction
from typing import Annotated, Literal

import pydantic

from recsys_tft.columns import KEYS, IdKind
from recsys_tft.configuration import durations
from recsys_tft.configuration.setting_types import Count, Duration, Increasing, Moment, Number, Section, Word
from recsys_tft.errors import FindingsError, did_you_mean
from recsys_tft.features import FeatureTable
from recsys_tft.row_settings import LIMITS


def _microseconds(time: datetime.datetime) -> int:
    aware = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    return (aware - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


class IdSettings(Section):
    """Kinds of the ids in the user's tables; detected from the tables by default."""

    user_id: IdKind = IdKind.AUTO
    video_id: IdKind = IdKind.AUTO
    channel_id: IdKind = IdKind.AUTO

    @property
    def kinds(self) -> dict[str, IdKind]:
        """The known kinds, by key."""
        kinds = {key: getattr(self, key) for key in KEYS.values()}
        return {key: kind for key, kind in kinds.items() if kind is not IdKind.AUTO}


class PopularitySettings(Section):
    """The popularity levels, from low to high, and the quantiles of view_count between them."""

    levels: tuple[Word, ...] = ("low", "medium", "high", "viral")
    quantiles: Increasing = (0.5, 0.8, 0.95)

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> "PopularitySettings":
        if len(self.levels) != len(self.quantiles) + 1:
            raise ValueError(f"{len(self.levels)} levels need {len(self.levels) - 1} quantiles, not {self.quantiles}")
        if len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels must differ from each other, not {list(self.levels)}")
        if not 0 < self.quantiles[0] <= self.quantiles[-1] < 1:
            raise ValueError(f"quantiles must lie between 0 and 1, not {self.quantiles}")
        return self


class VocabularySettings(Section):
    """Limits of one vocabulary, and the number of hash buckets for all other values."""

    n_oov: Annotated[int, pydantic.Field(ge=LIMITS["n_oov"][0], le=LIMITS["n_oov"][1])] = 1
    min_count: Number = 1
    max_size: Count | None = None


_POSITIVE = {
    "like": 1.0,
    "comment": 1.0,
    "share": 1.0,
    "watch": 1.0,
    "click": 0.5,
    "impression": 0.1,
}


def _wrong_rules(positive: dict[str, float], table: FeatureTable) -> list[str]:
    rules = [signal.name for signal in table.signals if not signal.negative]
    negative = [signal.name for signal in table.signals if signal.negative]
    return [
        f"has the rule '{rule}', which is a negative signal, so that nothing is positive by it; name it only among the "
        "signals of the table"
        if rule in negative
        else f"has the unknown rule '{rule}'.{did_you_mean(rule, rules)}"
        for rule in positive
        if rule not in rules
    ]


class LabelSettings(Section):
    """Rules that make an exposure positive, with their weights.

    `conflict` decides about an exposure that fulfils a rule and has a negative signal.
    """

    positive: dict[str, float] = pydantic.Field(default=_POSITIVE)
    conflict: Literal["negative", "positive"] = "negative"
    exposure_gap_minutes: Annotated[float, pydantic.Field(ge=0.001, le=52_560_000)] = 30  # 100 years

    @pydantic.field_validator("positive")
    @classmethod
    def _usable_rules(cls, positive: dict[str, float], info: pydantic.ValidationInfo) -> dict[str, float]:
        problems = _wrong_rules(positive, info.context["table"]) if info.context and "table" in info.context else []
        problems += [
            f"gives '{rule}' the weight {weight}, which must be above 0, from 1e-06 to 1e+06"
            for rule, weight in positive.items()
            if not 1e-6 <= weight <= 1e6
        ]
        FindingsError.check(problems)
        if not positive:
            raise ValueError("names no rule, so no exposure is positive")
        return positive

    def check(self, table: FeatureTable) -> None:
        """Refuse rules that are not signals of the table, or negative ones.

        Raises:
            FindingsError: naming each.
        """
        FindingsError.check(_wrong_rules(self.positive, table), "positive")

    @property
    def exposure_gap(self) -> int:
        """Microseconds without an event after which a new exposure begins."""
        return round(self.exposure_gap_minutes * 60_000_000)


class CounterSettings(Section):
    """Source of view_count, like_count and comment_count.

    `snapshot` reads the columns of the videos table; `as_of` counts the interactions before each exposure; `auto` is
    `as_of` where the videos table has none of these columns.
    """

    source: Literal["auto", "snapshot", "as_of"] = "auto"
    delay: Duration = "0s"
    growth: Annotated[float, pydantic.Field(ge=0, le=10)] = 0.1
    every: Duration = "1d"

    @pydantic.field_validator("every")
    @classmethod
    def _some_time(cls, every: str) -> str:
        if not durations.microseconds(every):
            raise ValueError(f"must be above 0, such as 1d, not '{every}'")
        return every

    @property
    def delay_microseconds(self) -> int:
        """The delay until counters show an event."""
        return durations.microseconds(self.delay)

    @property
    def every_microseconds(self) -> int:
        """The least time between two versions."""
        return durations.microseconds(self.every)


class HistorySettings(Section):
    """Length of the watch history: the last videos that a user was positive on; 0 turns it off."""

    length: Annotated[int, pydantic.Field(ge=0, le=1000)] = 20


class RecentSettings(Section):
    """Whether the ranker reads the recent views and likes of videos, their age, and the recent events of users.

    The start of the recent window moves on in `steps` per day.
    """

    enabled: bool = False
    steps: Annotated[int, pydantic.Field(ge=1, le=1000)] = 24


class PositiveRatesSettings(Section):
    """Whether the ranker reads the share of earlier exposures that were positive: of the video, of the user, and of
    the user on videos of the same category or channel."""

    enabled: bool = True


class CooccurrenceSettings(Section):
    """Whether the ranker reads how often the candidate was liked together with the videos of the user's history.

    The most frequent `max_pairs` pairs of videos are kept, in 16 bytes each.
    """

    enabled: bool = False
    max_pairs: Count = 1_000_000


class SplitSettings(Section):
    """Ends of the training, validation and test splits: shares of the exposures, or fixed times (UTC).

    The shares are of all exposures in order of time, of each user's in order of time, or of each user's at random.
    """

    kind: Literal["time", "time_per_user", "random_per_user"] = "time"
    train: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.8
    val: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.1
    val_from: Moment = None
    test_from: Moment = None

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> "SplitSettings":
        shares = {name for name in ("train", "val") if getattr(self, name) != type(self).model_fields[name].default}
        if self.val_from is None and self.test_from is not None:
            raise ValueError("test_from needs val_from")
        if self.val_from is not None and self.kind != "time":
            raise ValueError(f"{self.kind} splits each user's exposures by train and val; val_from is for kind time")
        if self.val_from is not None and shares:  # the defaults are in a manifest beside val_from
            raise ValueError("takes either train and val, or val_from and test_from, not both")
        if self.train_share + self.val_share > 1:
            raise ValueError(f"train {self.train} and val {self.val} exceed 1 together")
        if self.val_from and self.test_from and _microseconds(self.val_from) > _microseconds(self.test_from):
            raise ValueError(f"val_from {self.val_from} is after test_from {self.test_from}")
        return self

    @property
    def train_share(self) -> Fraction:
        return Fraction(str(self.train))

    @property
    def val_share(self) -> Fraction:
        return Fraction(str(self.val))

    @property
    def test_share(self) -> Fraction:
        return 1 - self.train_share - self.val_share

    @property
    def fixed_cuts(self) -> tuple[int, int | None] | None:
        """(val_from, test_from) in microseconds since 1970, where they are given."""
        if self.val_from is None:
            return None
        return _microseconds(self.val_from), None if self.test_from is None else _microseconds(self.test_from)


class OutputSettings(Section):
    """Format of the rows."""

    format: Literal["tfrecord", "parquet"] = "tfrecord"
    compression: Literal["gzip", "zstd"] | None = None
    users_per_shard: Count = 8192
    user_exposures_per_shard: Count = 32_768
    videos_per_shard: Count = 65_536
    inline_title_embedding: bool = False

    @pydantic.model_validator(mode="after")
    def _readable(self) -> "OutputSettings":
        if self.format == "tfrecord" and self.compression == "zstd":
            raise ValueError("compression zstd is for the format parquet; TensorFlow reads TFRecords with gzip or none")
        return self
