"""The feature table: each engineered feature is one row, and everything else is a view of these rows.

To add a feature, add its row to FEATURES; the graph, the data sets, the schemas, the towers, CatBoost's columns, the
docs and `recsys-tft features` follow.
"""

import dataclasses
import enum
from typing import TYPE_CHECKING

from recsys_tft.columns import COLUMNS, COMPUTED, UPDATED, Accuracy, Column
from recsys_tft.cooccurrence import Cooccurrence
from recsys_tft.errors import did_you_mean
from recsys_tft.number_ops import Age, Bucket, DayOfWeek, HourWave, Level, Log, Ratio, ZScore
from recsys_tft.ops import Bag, History, Lookup, Op, SetLookup
from recsys_tft.titles.title_embedding import TitleEmbedding
from recsys_tft.vocabularies import Vocabulary

if TYPE_CHECKING:
    from recsys_tft.configuration.settings import Settings


class Use(enum.Enum):
    """Who reads a feature."""

    QUERY = "query tower"
    CANDIDATE = "candidate tower"
    RANKER = "ranker"


class Entity(enum.Enum):
    """What a feature is a property of: each entity is transformed once, and rows are joined from the results."""

    USER = "user"
    VIDEO = "video"
    EXPOSURE = "exposure"
    PAIR = "pair"  # of an exposure and a video: what an op that `joins` makes of both


QUERY, CANDIDATE, RANKER = Use.QUERY, Use.CANDIDATE, Use.RANKER

# Raw columns by name. Keys appear in several tables; their first row is the entity's own. UPDATED says which row of an
# entity holds, and is a property of none.
RAW: dict[str, Column] = {column.name: column for column in reversed((*COLUMNS, *COMPUTED)) if column.name != UPDATED}


def entity_of(column: Column) -> Entity:
    """The entity whose rows carry a column; what is computed as of an exposure belongs to the exposure."""
    if column.accuracy is Accuracy.AS_OF or column.table == "interactions":
        return Entity.EXPOSURE
    return Entity.USER if column.table == "users" else Entity.VIDEO


@dataclasses.dataclass(frozen=True)
class Feature:
    """One row of the feature table.

    Attributes:
        name: `<column>_<what it is now>`.
        sources: the raw columns that it reads, in the order that the op wants.
        op: what becomes of them.
        used_by: who reads it.
        option: the section of the settings that has to be enabled for it; None: it is always there.

    Raises:
        ValueError: at construction, if a source does not exist, or the sources belong to different entities, which
            cannot be computed before the join unless the op joins them.
    """

    name: str
    sources: tuple[str, ...]
    op: Op
    used_by: tuple[Use, ...]
    option: str | None = None

    def __post_init__(self) -> None:
        for source in self.sources:
            if source not in RAW:
                raise ValueError(f"Feature '{self.name}' reads unknown column '{source}'.{did_you_mean(source, RAW)}")
        if len({entity_of(RAW[source]) for source in self.sources}) != 1 and not self.op.joins:
            raise ValueError(f"Feature '{self.name}' reads {self.sources}, columns of more than one entity.")

    @property
    def entity(self) -> Entity:
        return Entity.PAIR if self.op.joins else entity_of(RAW[self.sources[0]])

    def is_on(self, settings: "Settings") -> bool:
        """Whether its option is enabled, without which the graph does not even ask for its sources."""
        return self.option is None or getattr(settings, self.option).enabled

    def is_active(self, settings: "Settings") -> bool:
        """Whether the settings ask for it."""
        return self.is_on(settings) and self.op.is_active(settings)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The vocabulary whose tokens it holds."""
        return self.op.vocabulary if isinstance(self.op, Lookup) else None

    @property
    def accuracy(self) -> Accuracy:
        """As of when it is known: the least certain of its sources."""
        found = {RAW[source].accuracy for source in self.sources}
        order = (Accuracy.SNAPSHOT, Accuracy.COUNTED, Accuracy.VERSIONED, Accuracy.AS_OF, Accuracy.STATIC)
        return next(accuracy for accuracy in order if accuracy in found)

    @property
    def is_counted(self) -> bool:
        """Whether it changes with the counters of a video, so that the video's versions have it."""
        return any(RAW[source].accuracy is Accuracy.COUNTED for source in self.sources)

    @property
    def is_versioned(self) -> bool:
        """Whether it is of a moment, so that the versions of a video alone have it."""
        return any(RAW[source].accuracy is Accuracy.VERSIONED for source in self.sources)

    @property
    def is_categorical(self) -> bool:
        """Whether it numbers categories, as CatBoost's native categorical features do."""
        return isinstance(self.op, Lookup | Bucket | DayOfWeek)


LANGUAGE = Vocabulary("language")  # shared by users and videos
VIDEO_ID, CATEGORY = Vocabulary("video_id", integers=True), Vocabulary("category")

FEATURES: tuple[Feature, ...] = (
    Feature("user_id_token", ("user_id",), Lookup(Vocabulary("user_id", integers=True)), (QUERY,)),
    Feature("country_token", ("country",), Lookup(Vocabulary("country")), (QUERY, RANKER)),
    Feature(
        "previously_watched_category_token",
        ("previously_watched_category",),
        Lookup(Vocabulary("previously_watched_category")),
        (QUERY,),
    ),
    Feature("history_video_ids_tokens", ("history_video_ids",), History(VIDEO_ID), (QUERY,)),
    Feature("history_categories_tokens", ("history_categories",), History(CATEGORY), (QUERY,)),
    Feature("user_language_token", ("user_language",), Lookup(LANGUAGE), (QUERY, RANKER)),
    Feature("age_z", ("age",), ZScore(), (QUERY, RANKER)),
    Feature("age_bucket", ("age",), Bucket("age"), (QUERY,)),
    Feature("video_id_token", ("video_id",), Lookup(VIDEO_ID), (CANDIDATE,)),
    Feature("category_token", ("category",), Lookup(CATEGORY), (CANDIDATE, RANKER)),
    Feature("child_categories_token", ("child_categories",), SetLookup(Vocabulary("child_categories")), (RANKER,)),
    Feature("video_language_token", ("video_language",), Lookup(LANGUAGE), (CANDIDATE, RANKER)),
    Feature("title_embedding", ("title",), TitleEmbedding(), (CANDIDATE,)),
    Feature("video_duration_log_z", ("video_duration",), ZScore(log1p=True), (CANDIDATE, RANKER)),
    Feature("video_duration_bucket", ("video_duration",), Bucket("duration"), (CANDIDATE,)),
    Feature("popularity_onehot", ("popularity", "view_count"), Level(), (CANDIDATE,)),
    Feature("tags_tokens", ("tags",), Bag(Vocabulary("tags")), (CANDIDATE,)),
    Feature("view_count_log_z", ("view_count",), ZScore(log1p=True), (RANKER,)),
    Feature("like_count_log_z", ("like_count",), ZScore(log1p=True), (RANKER,)),
    Feature("comment_count_log_z", ("comment_count",), ZScore(log1p=True), (RANKER,)),
    Feature("channel_subscriber_count_log_z", ("channel_subscriber_count",), ZScore(log1p=True), (RANKER,)),
    Feature("like_ratio", ("like_count", "view_count"), Ratio(), (RANKER,)),
    Feature("comment_ratio", ("comment_count", "view_count"), Ratio(), (RANKER,)),
    Feature("engagement_rate", ("like_count", "comment_count", "view_count"), Ratio(), (RANKER,)),
    Feature("device_token", ("device",), Lookup(Vocabulary("device")), (RANKER,)),
    Feature("interaction_time_day", ("interaction_time",), DayOfWeek(), (RANKER,)),
    Feature("interaction_time_hour_sin", ("interaction_time",), HourWave("sin"), (RANKER,)),
    Feature("interaction_time_hour_cos", ("interaction_time",), HourWave("cos"), (RANKER,)),
    *(
        Feature(f"{what}_{days}d_log", (f"{what}_{days}d",), Log(), (RANKER,), option="recent")
        for what in ("views", "likes")
        for days in (1, 7, 30)
    ),
    Feature("video_age_log", ("interaction_time", "published_at"), Age(), (RANKER,), option="recent"),
    Feature("user_events_1d_log", ("user_events_1d",), Log(), (RANKER,), option="recent"),
    Feature("user_events_30d_log", ("user_events_30d",), Log(), (RANKER,), option="recent"),
    Feature("user_like_rate", ("user_like_count", "user_view_count"), Ratio(), (RANKER,), option="recent"),
    Feature(
        "history_cooccurrence",
        ("history_video_ids", "video_id", "counted_video_id"),
        Cooccurrence(),
        (RANKER,),
        option="cooccurrence",
    ),
)

BY_NAME: dict[str, Feature] = {feature.name: feature for feature in FEATURES}
VOCABULARIES: tuple[Vocabulary, ...] = tuple(dict.fromkeys(f.vocabulary for f in FEATURES if f.vocabulary))


def select(*uses: Use, entity: Entity | None = None) -> tuple[Feature, ...]:
    """The rows of the table that any of `uses` reads (all rows without one), of one entity if it is named."""
    return tuple(
        feature
        for feature in FEATURES
        if (not uses or set(uses) & set(feature.used_by)) and entity in (None, feature.entity)
    )


def switched_on(settings: "Settings") -> tuple[Feature, ...]:
    """The rows of the table whose options are enabled."""
    return tuple(feature for feature in FEATURES if feature.is_on(settings))


def raw_columns(features: tuple[Feature, ...] = FEATURES) -> tuple[Column, ...]:
    """The raw columns that features read, each once, in the table's order."""
    return tuple(RAW[name] for name in dict.fromkeys(source for f in features for source in f.sources))
