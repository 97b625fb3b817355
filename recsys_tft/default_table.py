"""The feature table that comes with the library: its raw columns, signals and features.

A user's own table extends DEFAULT: docs/your-own-features.md.
"""

from typing import Any

from recsys_tft.columns import FLOAT, INT64, INTS, STRING, STRINGS, TIMESTAMP, UPDATED, Accuracy, Column, tallied
from recsys_tft.cooccurrence import Cooccurrence
from recsys_tft.features import CANDIDATE, QUERY, RANKER, Feature, FeatureTable, flag_columns
from recsys_tft.number_ops import Age, Bucket, DayOfWeek, HourWave, Level, Log, Ratio, ZScore
from recsys_tft.ops import Bag, History, Lookup, SetLookup
from recsys_tft.positive_rates import Affinity, Excess, PositiveRate
from recsys_tft.signals import Signal
from recsys_tft.titles.text_embedding import TextEmbedding
from recsys_tft.vocabularies import Vocabulary

# Optional columns that recommending shows and filters by, and that `check` inspects.
TITLE, COUNTRY, CHILD_CATEGORIES, AGE = "title", "country", "child_categories", "age"

SIGNALS = (
    Signal("impression", has_column=False, viewing=False),
    Signal("click", "clicked"),
    Signal("watch", has_column=False),
    Signal("like", "liked"),
    Signal("comment", "commented"),
    Signal("share", "shared"),
)

COLUMNS: tuple[Column, ...] = (
    Column("user_id", "users", INT64, required=True, built_in=True, key="user_id"),
    Column(UPDATED, "users", TIMESTAMP, built_in=True),
    Column(COUNTRY, "users", STRING),
    Column("user_language", "users", STRING),
    Column("age", "users", INT64, minimum=0),
    Column("previously_watched_category", "users", STRING, accuracy=Accuracy.AS_OF, built_in=True),
    Column("history_video_ids", "users", INTS, accuracy=Accuracy.AS_OF, built_in=True, key="video_id"),
    Column("history_categories", "users", STRINGS, accuracy=Accuracy.AS_OF, built_in=True),
    Column("video_id", "videos", INT64, required=True, built_in=True, key="video_id"),
    Column(UPDATED, "videos", TIMESTAMP, built_in=True),
    Column("channel_id", "videos", INT64, built_in=True, key="channel_id"),
    Column(TITLE, "videos", STRING),
    Column("category", "videos", STRING, built_in=True),
    Column(CHILD_CATEGORIES, "videos", STRINGS),
    Column("video_duration", "videos", FLOAT, minimum=0, zero_is_missing=True, built_in=True),
    Column("popularity", "videos", STRING, accuracy=Accuracy.COUNTED, built_in=True),
    Column("video_language", "videos", STRING),
    Column("tags", "videos", STRINGS),
    Column("view_count", "videos", INT64, minimum=0, accuracy=Accuracy.COUNTED, built_in=True),
    Column("like_count", "videos", INT64, minimum=0, accuracy=Accuracy.COUNTED, built_in=True),
    Column("comment_count", "videos", INT64, minimum=0, accuracy=Accuracy.COUNTED, built_in=True),
    Column("published_at", "videos", TIMESTAMP, built_in=True),
    Column("channel_id", "channels", INT64, required=True, built_in=True, key="channel_id"),
    Column(UPDATED, "channels", TIMESTAMP, built_in=True),
    Column("channel_subscriber_count", "channels", INT64, minimum=0, accuracy=Accuracy.SNAPSHOT),
    Column("user_id", "interactions", INT64, required=True, built_in=True, key="user_id"),
    Column("video_id", "interactions", INT64, required=True, built_in=True, key="video_id"),
    Column("interaction_time", "interactions", TIMESTAMP, required=True, built_in=True),
    Column("interaction_type", "interactions", STRING, built_in=True),
    *flag_columns(SIGNALS),
    Column("watch_time", "interactions", FLOAT, minimum=0, built_in=True),
    Column("device", "interactions", STRING),
)

# Columns by which the exposures of a user are grouped.
_GROUPS = {"category": "category", "channel": "channel_id", "tags": "tags"}


def _counts(table: str, option: str, *names: str) -> tuple[Column, ...]:
    """Counts that the job computes if a section of the settings enables them: of videos, or at an exposure."""
    accuracy = Accuracy.VERSIONED if table == "videos" else Accuracy.AS_OF
    kept: dict[str, Any] = {"minimum": 0, "accuracy": accuracy, "built_in": True, "computed": True, "option": option}
    return tuple(Column(name, table, INT64, **kept) for name in names)


# Columns that the job computes, with the settings `recent`, `positive_rates` and `cooccurrence`.
COMPUTED: tuple[Column, ...] = (
    *_counts("videos", "recent", *(f"{what}_{days}d" for what in ("views", "likes") for days in (1, 7, 30))),
    *_counts("interactions", "recent", "user_events_1d", "user_events_30d", "user_view_count", "user_like_count"),
    *_counts("videos", "positive_rates", "shown_count", "positive_count"),
    *_counts("interactions", "positive_rates", "user_shown_count", "user_positive_count"),
    Column(
        "user_expected_count",
        "interactions",
        FLOAT,
        minimum=0,
        accuracy=Accuracy.AS_OF,
        built_in=True,
        computed=True,
        option="positive_rates",
        late=True,
    ),
    *(column for group in _GROUPS for column in tallied(f"user_{group}", _GROUPS[group])),
    # The video of a positive exposure of the training split, for the co-occurrence counts.
    Column(
        "counted_video_id",
        "interactions",
        INT64,
        built_in=True,
        computed=True,
        option="cooccurrence",
        key="video_id",
    ),
)


def _group_features(name: str) -> tuple[Feature, ...]:
    """The ranker's features of a user and the videos of a group."""
    shown, positive = f"{name}_shown_count", f"{name}_positive_count"
    of_user = ("user_positive_count", "user_shown_count")
    return (
        Feature(f"{name}_affinity", (positive, shown, *of_user), Affinity(), RANKER, option="positive_rates"),
        Feature(f"{name}_share", (positive, "user_positive_count"), Ratio(), RANKER, option="positive_rates"),
        Feature(f"{name}_shown_log", shown, Log(), RANKER, option="positive_rates"),
    )


_LANGUAGE = Vocabulary("language", dim=16)  # shared by users and videos
_VIDEO_ID, _CATEGORY = Vocabulary("video_id", integers=True, dim=32), Vocabulary("category", dim=32)
_AGE = Bucket("age", boundaries=(18, 25, 35, 45, 55, 65), dim=8)  # years
_DURATION = Bucket("duration", boundaries=(60, 300, 600, 1800, 3600), dim=8)  # seconds

FEATURES: tuple[Feature, ...] = (
    Feature("user_id_token", "user_id", Lookup(Vocabulary("user_id", integers=True, dim=32)), (QUERY, RANKER)),
    Feature("country_token", COUNTRY, Lookup(Vocabulary("country", dim=8)), (QUERY, RANKER)),
    Feature(
        "previously_watched_category_token",
        "previously_watched_category",
        Lookup(Vocabulary("previously_watched_category", dim=32)),
        QUERY,
    ),
    Feature("history_video_ids_tokens", "history_video_ids", History(_VIDEO_ID), QUERY),
    Feature("history_categories_tokens", "history_categories", History(_CATEGORY), QUERY),
    Feature("user_language_token", "user_language", Lookup(_LANGUAGE), (QUERY, RANKER)),
    Feature("age_z", "age", ZScore(), (QUERY, RANKER)),
    Feature("age_bucket", "age", _AGE, QUERY),
    Feature("video_id_token", "video_id", Lookup(_VIDEO_ID), (CANDIDATE, RANKER)),
    Feature("category_token", "category", Lookup(_CATEGORY), (CANDIDATE, RANKER)),
    Feature("child_categories_token", CHILD_CATEGORIES, SetLookup(Vocabulary("child_categories")), RANKER),
    Feature("video_language_token", "video_language", Lookup(_LANGUAGE), (CANDIDATE, RANKER)),
    Feature("title_embedding", TITLE, TextEmbedding(), CANDIDATE),
    Feature("video_duration_log_z", "video_duration", ZScore(log1p=True), (CANDIDATE, RANKER)),
    Feature("video_duration_bucket", "video_duration", _DURATION, CANDIDATE),
    Feature("popularity_onehot", ("popularity", "view_count"), Level(), CANDIDATE),
    Feature("tags_tokens", "tags", Bag(Vocabulary("tags", dim=32)), CANDIDATE),
    Feature("view_count_log_z", "view_count", ZScore(log1p=True), RANKER),
    Feature("like_count_log_z", "like_count", ZScore(log1p=True), RANKER),
    Feature("comment_count_log_z", "comment_count", ZScore(log1p=True), RANKER),
    Feature("channel_subscriber_count_log_z", "channel_subscriber_count", ZScore(log1p=True), RANKER),
    Feature("like_ratio", ("like_count", "view_count"), Ratio(), RANKER),
    Feature("comment_ratio", ("comment_count", "view_count"), Ratio(), RANKER),
    Feature("engagement_rate", ("like_count", "comment_count", "view_count"), Ratio(), RANKER),
    Feature("device_token", "device", Lookup(Vocabulary("device")), RANKER),
    Feature("interaction_time_day", "interaction_time", DayOfWeek(), RANKER),
    Feature("interaction_time_hour_sin", "interaction_time", HourWave("sin"), RANKER),
    Feature("interaction_time_hour_cos", "interaction_time", HourWave("cos"), RANKER),
    *(
        Feature(f"{what}_{days}d_log", (f"{what}_{days}d",), Log(), RANKER, option="recent")
        for what in ("views", "likes")
        for days in (1, 7, 30)
    ),
    Feature("video_age_log", ("interaction_time", "published_at"), Age(), RANKER, option="recent"),
    Feature("user_events_1d_log", "user_events_1d", Log(), RANKER, option="recent"),
    Feature("user_events_30d_log", "user_events_30d", Log(), RANKER, option="recent"),
    Feature("user_like_rate", ("user_like_count", "user_view_count"), Ratio(), RANKER, option="recent"),
    Feature("shown_count_log", "shown_count", Log(), RANKER, option="positive_rates"),
    Feature("positive_rate", ("positive_count", "shown_count"), PositiveRate(), RANKER, option="positive_rates"),
    Feature("user_shown_count_log", "user_shown_count", Log(), RANKER, option="positive_rates"),
    Feature(
        "user_positive_rate",
        ("user_positive_count", "user_shown_count"),
        PositiveRate(),
        RANKER,
        option="positive_rates",
    ),
    Feature(
        "user_excess",
        ("user_positive_count", "user_expected_count", "user_shown_count"),
        Excess(),
        RANKER,
        option="positive_rates",
    ),
    *(feature for group in _GROUPS for feature in _group_features(f"user_{group}")),
    Feature(
        "history_cooccurrence",
        ("history_video_ids", "video_id", "counted_video_id"),
        Cooccurrence(),
        RANKER,
        option="cooccurrence",
    ),
)

DEFAULT = FeatureTable((*COLUMNS, *COMPUTED), SIGNALS, FEATURES)
