"""Raw columns of the four tables, and their types. `default_table` has the default ones."""

import dataclasses
import enum
import math

import pyarrow as pa

INT64, FLOAT, STRING, BOOL = pa.int64(), pa.float32(), pa.string(), pa.bool_()
TIMESTAMP = pa.timestamp("us", tz="UTC")
STRINGS, INTS, FLOATS = pa.list_(STRING), pa.list_(INT64), pa.list_(FLOAT)
TYPES = (INT64, FLOAT, STRING, BOOL, TIMESTAMP, STRINGS, INTS, FLOATS)  # that a column may have

END_OF_TIME = 7_258_118_400_000_000  # 2200-01-01 UTC in microseconds, the first time that is rejected
UPDATED = "updated_at"  # start of a version of a user, video or channel; with it a key may have several rows
TABLES = ("users", "videos", "channels", "interactions")
AT_EXPOSURE = ("first_present", "first_event")  # the event that gives an exposure its value
# Reserved names: columns of the job's own tables, and arguments of `recommend`.
TAKEN = frozenset({
    "candidate_row", "draws", "events", "exposure", "first_seen", "label", "log_q", "signals", "since", "source",
    "version", "watch_share", "weight", "split",
    "config", "debug", "explain", "help", "index", "json", "k", "output_dir", "time",
})  # fmt: skip
HISTORY = ("history_video_ids", "history_categories")  # of users, the most recent first
FIRST_SEEN = "first_seen"  # of a video, the time of its first event by any user
KEYS = {"users": "user_id", "videos": "video_id", "channels": "channel_id"}


class IdKind(enum.StrEnum):
    """The kinds of ids that tables may have."""

    AUTO = "auto"  # not detected yet, treated as integers until then
    INTEGER = "integer"
    UINT64 = "uint64"  # some are 2^63 or more; decimal text in rows, as tf.Example cannot hold them
    STRING = "string"
    UUID = "uuid"  # 16 bytes; text of 36 characters in rows

    @property
    def is_text(self) -> bool:
        """Whether rows, graphs and messages have them as text."""
        return self not in (IdKind.AUTO, IdKind.INTEGER)


class Accuracy(enum.Enum):
    """The point in time at which a column's value is known."""

    STATIC = "static"  # does not change
    SNAPSHOT = "snapshot"  # as of the moment when the tables were written
    COUNTED = "snapshot or as-of"  # by the setting counters.source
    AS_OF = "as-of"  # computed from events strictly before the exposure
    VERSIONED = "as-of, thinned"  # counted from such events in the versions of a video


class Tally(enum.Enum):
    """A count of a user's earlier exposures to videos of one group."""

    SHOWN = "how many there were"
    POSITIVE = "how many of them are positive"
    LAST = "the time of the last one"


@dataclasses.dataclass(frozen=True)
class OfGroup:
    """Tallies of a user's earlier exposures to videos with the same value as the row's video.

    Attributes:
        column: of videos, such as `category`; videos without a value have no tally. If it is a list, such as `tags`, a
            video is in several groups: counts are summed, and the last time is the latest.
        tally: the kind of count.
    """

    column: str
    tally: Tally


@dataclasses.dataclass(frozen=True)
class Column:
    """One raw column.

    Attributes:
        name: in the tables, the graph's inputs and serving requests.
        table: its table; for computed columns the one whose rows it describes.
        type: the Arrow type that it is read as, one of TYPES.
        required: whether the table is unusable without it.
        minimum: rows with a smaller value are rejected; None for no limit. If set, infinite values are rejected too.
        zero_is_missing: whether 0 means missing, as for the duration of a video.
        accuracy: the point in time of its value.
        built_in: whether the job itself reads or makes it, so that no feature table can drop it.
        computed: whether the job makes it, so that no raw table holds it.
        at_exposure: for a column of interactions, the value at an exposure of several events: of the first event with
            a value (`first_present`), or of the first event, even if missing (`first_event`).
        option: the section of the settings that makes the job compute it.
        key: the one of KEYS whose ids it holds, as scalars or in lists; None for no such ids.
        kind: of these ids.
        of_group: its tally of the user and of videos like the row's; None for other columns.
        late: whether it depends on counters of other videos, so that it is computed when rows are joined.
    """

    name: str
    table: str
    type: pa.DataType
    required: bool = False
    minimum: float | None = None
    accuracy: Accuracy = Accuracy.STATIC
    zero_is_missing: bool = False
    built_in: bool = False
    computed: bool = False
    at_exposure: str = AT_EXPOSURE[0]
    option: str | None = None
    key: str | None = None
    kind: IdKind = IdKind.AUTO
    of_group: OfGroup | None = None
    late: bool = False

    def of_kind(self, kind: IdKind) -> "Column":
        """The same column with ids of another kind."""
        value = STRING if kind.is_text else INT64
        return dataclasses.replace(self, kind=kind, type=pa.list_(value) if self.is_list else value)

    @property
    def limits(self) -> tuple[float, float] | None:
        """The least usable value, and the first one above that is not; None if all are."""
        if self.required and pa.types.is_timestamp(self.type):
            return 0, END_OF_TIME
        return None if self.minimum is None else (self.minimum, math.inf)

    @property
    def wanted(self) -> str:
        """The allowed values, in words."""
        if pa.types.is_timestamp(self.type):
            return "microseconds since 1970 UTC, before 2200"
        return f"{'a finite number of ' if pa.types.is_floating(self.type) else ''}at least {self.minimum}"

    @property
    def is_list(self) -> bool:
        """Whether one row holds any number of values."""
        return pa.types.is_list(self.type)

    @property
    def graph_type(self) -> pa.DataType:
        """The type of one value in the transform graph: int64 (booleans and times too), float32 or string."""
        value = self.type.value_type if self.is_list else self.type
        return pa.int64() if pa.types.is_timestamp(value) or pa.types.is_boolean(value) else value


def tallied(name: str, group: str) -> tuple[Column, ...]:
    """The columns NAME_shown_count, NAME_positive_count and NAME_last_time, which the job computes.

    Of the user's earlier exposures to videos with the same value as the row's video in a column: how many there were,
    how many of them are positive, and the time of the last one (microseconds since 1970).

    Args:
        name: such as `user_format`.
        group: a column of videos, such as `format`, or a list without ids, such as `tags`.

    Examples:
        >>> [column.name for column in tallied("user_format", "format")]
        ['user_format_shown_count', 'user_format_positive_count', 'user_format_last_time']
    """
    kinds = {"shown_count": Tally.SHOWN, "positive_count": Tally.POSITIVE, "last_time": Tally.LAST}
    return tuple(
        Column(
            f"{name}_{suffix}",
            "interactions",
            INT64,
            minimum=None if tally is Tally.LAST else 0,
            accuracy=Accuracy.AS_OF,
            built_in=True,
            computed=True,
            option="positive_rates",
            of_group=OfGroup(group, tally),
        )
        for suffix, tally in kinds.items()
    )
