"""The raw columns: what each of the four tables holds, and of what kind."""

import dataclasses
import enum
import math

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
END_OF_TIME = 7_258_118_400_000_000  # 2200-01-01 UTC in microseconds, the first time that is rejected
UPDATED = "updated_at"  # since when a row of users, videos or channels holds; with it a key may have several


class Accuracy(enum.Enum):
    """As of when a column's value is known."""

    STATIC = "static"  # does not change
    SNAPSHOT = "snapshot"  # as of the moment when the tables were written
    COUNTED = "snapshot or as-of"  # by the setting counters.source
    AS_OF = "as-of"  # computed from events strictly before the exposure
    VERSIONED = "as-of, thinned"  # counted from such events in the versions of a video


@dataclasses.dataclass(frozen=True)
class Column:
    """One raw column.

    Attributes:
        name: what the tables, the graph's inputs and serving requests call it.
        table: the table that holds it; of what the job computes, the one whose rows it describes.
        type: the Arrow type that it is read as; integers are int64, floats float32, strings UTF-8.
        required: whether the table is unusable without it.
        minimum: rows with a smaller value are rejected; None for no limit. So are infinite ones where this is set.
        zero_is_missing: whether 0 tells nothing, as no video lasts for no time.
        accuracy: as of when its value is known.
    """

    name: str
    table: str
    type: pa.DataType
    required: bool = False
    minimum: float | None = None
    accuracy: Accuracy = Accuracy.STATIC
    zero_is_missing: bool = False

    @property
    def limits(self) -> tuple[float, float] | None:
        """The least value that can be used, and the first one above that cannot; None where all can."""
        if self.required and pa.types.is_timestamp(self.type):
            return 0, END_OF_TIME
        return None if self.minimum is None else (self.minimum, math.inf)

    @property
    def wanted(self) -> str:
        """What a value is within the limits, in words."""
        if pa.types.is_timestamp(self.type):
            return "microseconds since 1970 UTC, before 2200"
        return f"{'a finite number of ' if pa.types.is_floating(self.type) else ''}at least {self.minimum}"

    @property
    def is_list(self) -> bool:
        """Whether one row holds any number of values."""
        return pa.types.is_list(self.type)

    @property
    def graph_type(self) -> pa.DataType:
        """The type of one value as the transform graph reads it: int64, float32 or string."""
        value = self.type.value_type if self.is_list else self.type
        return pa.int64() if pa.types.is_timestamp(value) else value


INTERACTION_TYPES = ("impression", "click", "watch", "like", "comment", "share")
# Boolean columns that stand for an interaction type in a table with one wide row per exposure.
WIDE_SIGNALS = {"clicked": "click", "liked": "like", "commented": "comment", "shared": "share"}

COLUMNS: tuple[Column, ...] = (
    Column("user_id", "users", pa.int64(), required=True),
    Column(UPDATED, "users", TIMESTAMP),
    Column("country", "users", pa.string()),
    Column("user_language", "users", pa.string()),
    Column("age", "users", pa.int64(), minimum=0),
    Column("previously_watched_category", "users", pa.string(), accuracy=Accuracy.AS_OF),
    Column("history_video_ids", "users", pa.list_(pa.int64()), accuracy=Accuracy.AS_OF),
    Column("history_categories", "users", pa.list_(pa.string()), accuracy=Accuracy.AS_OF),
    Column("video_id", "videos", pa.int64(), required=True),
    Column(UPDATED, "videos", TIMESTAMP),
    Column("channel_id", "videos", pa.int64()),
    Column("title", "videos", pa.string()),
    Column("category", "videos", pa.string()),
    Column("child_categories", "videos", pa.list_(pa.string())),
    Column("video_duration", "videos", pa.float32(), minimum=0, zero_is_missing=True),
    Column("popularity", "videos", pa.string(), accuracy=Accuracy.COUNTED),
    Column("video_language", "videos", pa.string()),
    Column("tags", "videos", pa.list_(pa.string())),
    Column("view_count", "videos", pa.int64(), minimum=0, accuracy=Accuracy.COUNTED),
    Column("like_count", "videos", pa.int64(), minimum=0, accuracy=Accuracy.COUNTED),
    Column("comment_count", "videos", pa.int64(), minimum=0, accuracy=Accuracy.COUNTED),
    Column("published_at", "videos", TIMESTAMP),
    Column("channel_id", "channels", pa.int64(), required=True),
    Column(UPDATED, "channels", TIMESTAMP),
    Column("channel_subscriber_count", "channels", pa.int64(), minimum=0, accuracy=Accuracy.SNAPSHOT),
    Column("user_id", "interactions", pa.int64(), required=True),
    Column("video_id", "interactions", pa.int64(), required=True),
    Column("interaction_time", "interactions", TIMESTAMP, required=True),
    Column("interaction_type", "interactions", pa.string()),
    *(Column(name, "interactions", pa.bool_()) for name in WIDE_SIGNALS),
    Column("watch_time", "interactions", pa.float32(), minimum=0),
    Column("device", "interactions", pa.string()),
)

# What no table holds: the job computes it where the settings `recent` and `cooccurrence` ask for it.
COMPUTED: tuple[Column, ...] = (
    *(
        Column(f"{what}_{days}d", "videos", pa.int64(), minimum=0, accuracy=Accuracy.VERSIONED)
        for what in ("views", "likes")
        for days in (1, 7, 30)
    ),
    *(
        Column(name, "interactions", pa.int64(), minimum=0, accuracy=Accuracy.AS_OF)
        for name in ("user_events_1d", "user_events_30d", "user_view_count", "user_like_count")
    ),
    # The video of a positive exposure of the training window, by which it is counted in what videos have in common.
    Column("counted_video_id", "interactions", pa.int64()),
)

TABLES = ("users", "videos", "channels", "interactions")
KEYS = {"users": "user_id", "videos": "video_id", "channels": "channel_id"}


def columns_of(table: str) -> dict[str, Column]:
    """The columns of one of the TABLES, by name."""
    return {column.name: column for column in COLUMNS if column.table == table}
