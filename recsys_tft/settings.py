"""Every setting, its default and its limits; all are checked before any data is read."""

import datetime
import itertools
import math
import os
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args, get_origin

import pydantic
import yaml

from recsys_tft import durations
from recsys_tft.columns import INTERACTION_TYPES, TABLES, columns_of
from recsys_tft.errors import InputError, did_you_mean
from recsys_tft.output import read_text
from recsys_tft.title_encoder import Pair as EncoderPair


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


Increasing = Annotated[
    tuple[float, ...],
    pydantic.Field(min_length=1),
    pydantic.AfterValidator(lambda values: _increasing(values)),
]


Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(ge=0, lt=1)]


def _duration(text: str) -> str:
    durations.microseconds(text)
    return text


Duration = Annotated[str, pydantic.AfterValidator(_duration)]


def _increasing(values: tuple[float, ...]) -> tuple[float, ...]:
    if not all(map(math.isfinite, values)) or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"must be finite and increase, such as [1, 2, 3], not {list(values)}")
    return values


def _microseconds(time: datetime.datetime) -> int:
    aware = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
    return (aware - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


class EmbeddingSettings(_Section):
    """Widths of the embedding tables that the two-tower model learns."""

    user_id_dim: pydantic.PositiveInt = 32
    video_id_dim: pydantic.PositiveInt = 32
    category_dim: pydantic.PositiveInt = 32
    country_dim: pydantic.PositiveInt = 8
    language_dim: pydantic.PositiveInt = 16
    previously_watched_category_dim: pydantic.PositiveInt = 32
    tags_dim: pydantic.PositiveInt = 32
    age_bucket_dim: pydantic.PositiveInt = 8
    video_duration_bucket_dim: pydantic.PositiveInt = 8
    default_dim: pydantic.PositiveInt = 16

    def width(self, table: str) -> int:
        """Of the table of a vocabulary, or of a feature that numbers its categories itself."""
        return getattr(self, f"{table}_dim", self.default_dim)


class BucketSettings(_Section):
    """Boundaries of the bucketed columns: years of age, seconds of video."""

    age: Increasing = (18, 25, 35, 45, 55, 65)
    duration: Increasing = (60, 300, 600, 1800, 3600)

    def __getitem__(self, name: str) -> tuple[float, ...]:
        return getattr(self, name)


class PopularitySettings(_Section):
    """The popularity levels, from low to high, and the quantiles of view_count between them."""

    levels: tuple[str, ...] = ("low", "medium", "high", "viral")
    quantiles: Increasing = (0.5, 0.8, 0.95)

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> "PopularitySettings":
        if len(self.levels) != len(self.quantiles) + 1:
            raise ValueError(f"{len(self.levels)} levels need {len(self.levels) - 1} quantiles, not {self.quantiles}")
        if not 0 < self.quantiles[0] <= self.quantiles[-1] < 1:
            raise ValueError(f"quantiles must lie between 0 and 1, not {self.quantiles}")
        return self


class VocabularySettings(_Section):
    """How one vocabulary is cut, and into how many hash buckets the rest falls."""

    n_oov: pydantic.PositiveInt = 1
    min_count: pydantic.NonNegativeInt = 1
    max_size: pydantic.PositiveInt | None = None


class LabelSettings(_Section):
    """Which rules make an exposure positive, and with what weight."""

    positive: dict[str, float] = {
        "like": 1.0,
        "comment": 1.0,
        "share": 1.0,
        "watch": 1.0,
        "click": 0.5,
        "impression": 0.1,
    }
    exposure_gap_minutes: Annotated[float, pydantic.Field(ge=0.001, allow_inf_nan=False)] = 30

    @pydantic.field_validator("positive")
    @classmethod
    def _known_rules(cls, positive: dict[str, float]) -> dict[str, float]:
        for rule, weight in positive.items():
            if rule not in INTERACTION_TYPES:
                raise ValueError(f"has the unknown rule '{rule}'.{did_you_mean(rule, INTERACTION_TYPES)}")
            if not (weight > 0 and math.isfinite(weight)):
                raise ValueError(f"gives '{rule}' the weight {weight}, which must be above 0")
        if not positive:
            raise ValueError("names no rule, so that nothing is positive")
        return positive

    @property
    def exposure_gap(self) -> int:
        """Microseconds without an event after which a new exposure begins."""
        return round(self.exposure_gap_minutes * 60_000_000)


class CounterSettings(_Section):
    """Where view_count, like_count and comment_count come from.

    `snapshot` reads the columns of the videos table; `as_of` counts the interactions before each exposure; `auto` is
    `as_of` where the videos table has none of these columns.
    """

    source: Literal["auto", "snapshot", "as_of"] = "auto"
    delay: Duration = "0s"
    growth: Annotated[float, pydantic.Field(ge=0, le=10, allow_inf_nan=False)] = 0.1
    every: Duration = "1d"

    @pydantic.field_validator("every")
    @classmethod
    def _some_time(cls, every: str) -> str:
        if not durations.microseconds(every):
            raise ValueError(f"must be more than nothing, such as 1d, not '{every}'")
        return every

    @property
    def delay_microseconds(self) -> int:
        """How long an event takes until counters show it."""
        return durations.microseconds(self.delay)

    @property
    def every_microseconds(self) -> int:
        """After which time a version that is out of date is followed by another one."""
        return durations.microseconds(self.every)


class HistorySettings(_Section):
    """How many of the videos that a user was positive on last the query tower reads; 0 turns the history off."""

    length: Annotated[int, pydantic.Field(ge=0, le=1000)] = 20


class RecentSettings(_Section):
    """Whether the ranker reads the recent views and likes of videos, their age, and the recent events of users.

    The old end of what counts as recent moves on in so many `steps` as its days have.
    """

    enabled: bool = False
    steps: Annotated[int, pydantic.Field(ge=1, le=1000)] = 24


class SplitSettings(_Section):
    """Where the training, validation and test windows end: shares of the exposures, or fixed times (UTC).

    The shares are of all exposures in order of time, of each user's in order of time, or of each user's at random.
    """

    kind: Literal["time", "time_per_user", "random_per_user"] = "time"
    train: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.8
    val: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.1
    val_from: datetime.datetime | None = None
    test_from: datetime.datetime | None = None

    @pydantic.model_validator(mode="after")
    def _fit_together(self) -> "SplitSettings":
        shares = {name for name in ("train", "val") if getattr(self, name) != type(self).model_fields[name].default}
        if self.val_from is None and self.test_from is not None:
            raise ValueError("test_from needs val_from")
        if self.val_from is not None and self.kind != "time":
            raise ValueError(f"{self.kind} cuts each user's exposures by train and val; val_from is for kind time")
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
        return _microseconds(self.val_from), self.test_from and _microseconds(self.test_from)


class RankerSettings(_Section):
    """What a ranker example is, and how CatBoost is trained on them."""

    negative_sample_ratio: pydantic.NonNegativeInt = 3
    min_watch_ratio: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.4
    popularity_alpha: Annotated[float, pydantic.Field(ge=0, le=2)] = 0.0
    objective: Literal["classifier", "yetirank"] = "classifier"
    iterations: pydantic.PositiveInt = 200
    learning_rate: Positive = 0.15
    depth: Annotated[int, pydantic.Field(ge=1, le=16)] = 6
    l2_leaf_reg: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 3.0
    max_ctr_complexity: Annotated[int, pydantic.Field(ge=1, le=4)] = 2
    early_stopping_rounds: pydantic.PositiveInt = 30
    shap_rows: pydantic.PositiveInt = 5000


class TwoTowerSettings(_Section):
    """How the two-tower model is built and trained."""

    dim: pydantic.PositiveInt = 32
    hidden: tuple[pydantic.PositiveInt, ...] = ()
    title: bool = True
    title_dim: pydantic.PositiveInt = 32
    compare_title: bool = True
    normalize: bool = False
    temperature: Positive = 1.0
    sampling_correction: bool = True
    batch_size: Annotated[int, pydantic.Field(ge=2)] = 1024
    epochs: pydantic.PositiveInt = 50
    patience: pydantic.PositiveInt = 3
    learning_rate: Positive = 0.003
    weight_decay: Share = 0.0
    dropout: Share = 0.4
    unseen: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 1.0
    history_dropout: Share = 0.2
    shuffle_rows: pydantic.PositiveInt = 2_000_000
    eval_users: pydantic.PositiveInt = 10_000


class OutputSettings(_Section):
    """How the rows are written."""

    format: Literal["tfrecord", "parquet"] = "tfrecord"
    users_per_shard: pydantic.PositiveInt = 8192
    videos_per_shard: pydantic.PositiveInt = 65_536
    inline_title_embedding: bool = False


class BlockSettings(_Section):
    """Videos that are not shown: by id, by category or child category, by channel."""

    videos: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()


class FilterSettings(_Section):
    """Which candidates a recommender leaves out."""

    seen: bool = True
    max_age_days: Positive | None = None
    blocked: BlockSettings = BlockSettings()
    unavailable: dict[str, BlockSettings] = {}


class OrderSettings(_Section):
    """How a recommender orders what the ranker has scored."""

    first: pydantic.PositiveInt = 10
    per_channel: pydantic.PositiveInt | None = 2
    per_category: pydantic.PositiveInt | None = 5
    freshness_boost: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.05
    freshness_half_life_days: Positive = 7.0
    exploration_share: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.1
    cold_below_events: pydantic.NonNegativeInt = 5


class RecommenderSettings(_Section):
    """The four stages: how many candidates are retrieved and ranked, which are filtered out, and their order."""

    candidates: pydantic.PositiveInt = 500
    ranked: pydantic.PositiveInt = 200
    filters: FilterSettings = FilterSettings()
    order: OrderSettings = OrderSettings()


BeamValue = bool | int | float | str | list[str]


class Settings(_Section):
    """All settings of a run; `configs/processing_config.yaml` shows each with its default."""

    seed: Annotated[int, pydantic.Field(ge=0, lt=2**63)] = 0
    columns: dict[str, dict[str, str]] = {}
    max_rejected_fraction: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.05
    embeddings: EmbeddingSettings = EmbeddingSettings()
    buckets: BucketSettings = BucketSettings()
    popularity: PopularitySettings = PopularitySettings()
    vocabularies: dict[str, VocabularySettings] = {}
    title_encoder: Annotated[str, pydantic.Field(min_length=1)] | EncoderPair = "minilm"
    title_precision: Literal["float32", "bfloat16"] = "float32"
    encoder_cache: str | None = None
    labels: LabelSettings = LabelSettings()
    counters: CounterSettings = CounterSettings()
    history: HistorySettings = HistorySettings()
    recent: RecentSettings = RecentSettings()
    split: SplitSettings = SplitSettings()
    ranker: RankerSettings = RankerSettings()
    two_tower: TwoTowerSettings = TwoTowerSettings()
    output: OutputSettings = OutputSettings()
    recommender: RecommenderSettings = RecommenderSettings()
    beam: dict[str, BeamValue] = {}

    @pydantic.field_validator("columns")
    @classmethod
    def _known_columns(cls, columns: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for table, names in columns.items():
            if table not in TABLES:
                raise ValueError(f"has the unknown table '{table}'.{did_you_mean(table, TABLES)}")
            for own, name in names.items():
                if name not in columns_of(table):
                    hint = did_you_mean(name, columns_of(table))
                    raise ValueError(f"maps '{own}' of {table} to the unknown column '{name}'.{hint}")
            if len(set(names.values())) < len(names):
                raise ValueError(f"maps two columns of {table} to one name in {names}")
        return columns

    @pydantic.field_validator("vocabularies")
    @classmethod
    def _known_vocabularies(cls, vocabularies: dict[str, Any]) -> dict[str, Any]:
        from recsys_tft.features import VOCABULARIES

        known = ["default", *(vocabulary.name for vocabulary in VOCABULARIES)]
        for name in vocabularies:
            if name not in known:
                raise ValueError(f"has the unknown vocabulary '{name}'.{did_you_mean(name, known)}")
        return vocabularies

    def vocabulary(self, name: str) -> VocabularySettings:
        """The settings of one vocabulary: its own, else `default`'s, else the defaults."""
        return self.vocabularies.get(name) or self.vocabularies.get("default") or VocabularySettings()

    @property
    def beam_arguments(self) -> tuple[str, ...]:
        """The options of `beam` as on a command line; a list is an option given several times."""
        return tuple(argument for name, value in self.beam.items() for argument in _arguments(name, value))

    def replace(self, changes: dict[str, Any]) -> "Settings":
        """A checked copy with e.g. `{"seed": 1, "ranker": {"negative_sample_ratio": 5}}` changed."""
        return parse(_merge(self.model_dump(exclude_unset=True), changes), "the options")


def _arguments(name: str, value: "BeamValue") -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    return [f"--{name}={one}" for one in (value if isinstance(value, list) else [value])]


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


# What of `ranker` may differ between a run and a training on its rows.
RANKER_TRAINING = frozenset(
    (
        "objective",
        "iterations",
        "learning_rate",
        "depth",
        "l2_leaf_reg",
        "max_ctr_complexity",
        "early_stopping_rounds",
        "shap_rows",
    )
)


def parse(values: Any, source: str) -> Settings:
    """Settings from a mapping that holds what differs from the defaults.

    Raises:
        InputError: naming `source`, the key and what would be right, for the first setting that is wrong.
    """
    if not isinstance(values, dict):
        raise InputError(f"{source}: expected a mapping of settings, found {type(values).__name__}.")
    try:
        return Settings.model_validate(values)
    except pydantic.ValidationError as error:
        raise InputError(f"{source}: {_explain(error.errors()[0])}") from None


def _explain(error: dict[str, Any]) -> str:
    path = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"unknown setting '{path}'.{did_you_mean(str(error['loc'][-1]), _known_keys(error['loc'][:-1]))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{path} {message}".strip() + ("" if message[-1] in ".?" else ".")
    return f"{path} is {error['input']!r}: {message[0].lower()}{message[1:]}."


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    section: Any = Settings
    for name in path:
        is_mapping = get_origin(section) is dict
        section = get_args(section)[1] if is_mapping else section.model_fields[str(name)].annotation
    return list(section.model_fields)


def _text(path: str | os.PathLike[str]) -> str:
    if "://" in str(path):
        return read_text(str(path))
    with open(path, encoding="utf-8") as file:  # without importing Beam, which takes seconds
        return file.read()


def load(path: str | os.PathLike[str]) -> Settings:
    """Settings from a YAML file, local or on any Beam filesystem.

    Raises:
        InputError: if the file cannot be read, is not YAML, or holds a wrong setting.
    """
    try:
        values = yaml.safe_load(_text(path))
    except OSError as error:
        raise InputError(f"{path}: cannot read the config ({error.strerror or error}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML file ({' '.join(str(error).split())}).") from None
    return parse({} if values is None else values, str(path))
