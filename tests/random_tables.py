"""Hypothesis strategies for small raw tables full of ties, and for settings to run them with."""

import dataclasses
import math
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from drawn_rows import OneOfEach
from hypothesis import strategies as st

from recsys_tft.columns import KEYS, TABLES, IdKind
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import FeatureTable

Row = dict[str, Any]

START = 1_709_251_200_000_000  # 2024-03-01 00:00 UTC
END_OF_TIME = 7_258_118_400_000_000  # 2200-01-01 00:00 UTC, the first time that is rejected
HALF_HOUR = 30 * 60 * 1_000_000
GAPS = (1, 60_000_000, HALF_HOUR - 1, HALF_HOUR, HALF_HOUR + 1, 24 * 2 * HALF_HOUR)
# Ids that sort differently as strings, and that a double cannot tell apart.
IDS = (-3, 2, 9, 10, 2**53, 2**53 + 1)
UNKNOWN_ID = 99
LEAST = -(2**63)  # which is missing, as NaN and "" are
# The same of other kinds, in another order than the numbers: by characters, by bytes, by length, by value.
ODD_IDS: dict[IdKind, dict[int, Any]] = {
    kind: dict(zip((*IDS, UNKNOWN_ID), own, strict=True))
    for kind, own in {
        IdKind.STRING: ("7", "007", "\U0001f4f1/\n", "\uffee", "A", "a" * 200, "A\0"),
        IdKind.UUID: [str(uuid.UUID(int=n << 100 | 255 - n)) for n in (9, 3, 255, 1, 7, 200, 8)],
        IdKind.UINT64: [2**64 - 1, *(2**63 + n for n in (9, 0, 10, 2**62, 1, 2))],
    }.items()
}
KINDS = (IdKind.INTEGER, IdKind.INTEGER, IdKind.STRING, IdKind.STRING, IdKind.UUID, IdKind.UINT64)
_CHANNELS = {
    IdKind.STRING: {1: " ", 2: "\ud7ff"},
    IdKind.UUID: {1: str(uuid.UUID(int=1)), 2: str(uuid.UUID(int=2))},
    IdKind.UINT64: {1: 2**63 + 1, 2: 2**64 - 2},
}
CATEGORIES = (None, "", "music", "Sport", "économie")
# By bytes, the last two are in another order than in UTF-16.
DEVICES = (None, "", "tv", "TV", "phone", "écran", "\U0001f4f1", "\uffee")
DURATIONS = (None, math.nan, 0.0, 2.5, 10.0, 25.0, 100.0)
RATIOS = (0.4, 0.25, 0.5, 0.0)  # times any of DURATIONS, each is exact in float32, and so is its half
FRACTIONS = (
    ("0.8", "0.1"),
    ("0.5", "0.25"),
    ("0.7", "0.1"),
    ("0.55", "0.15"),
    ("0.6", "0.4"),
    ("0.1", "0.2"),
    ("0.9", "0.05"),
)
OPTIONAL = (
    "age",
    "category",
    "clicked",
    "device",
    "history_categories",
    "history_video_ids",
    "previously_watched_category",
    "video_duration",
    "watch_time",
)
CONTEXT = {  # values of further columns of interactions, by their type; NaN, "" and the least int64 are missing
    "string": (None, "", "home", "Home", "é"),
    "int64": (None, LEAST, 0, 7, 2**53 + 1),
    "float": (None, math.nan, 0.5, -2.0),
    "bool": (None, True, False),
    "timestamp[us, tz=UTC]": (None, 0, START, START + 1),
    "list<item: string>": (None, [], ["", None], ["b"], ["a", "c"], ["a"]),
    "list<item: int64>": (None, [], [LEAST], [3, 1], [3], [-1]),
    "list<item: float>": (None, [], [math.nan], [0.5, 2.0], [-1.0]),
}
WEIGHTS = {"like": 1.0, "comment": 1.0, "share": 1.0, "watch": 1.0, "click": 0.5, "impression": 0.1}


@dataclasses.dataclass(frozen=True)
class RawTables:
    """Four raw tables as dicts per row; times in microseconds. A column that no row has is absent."""

    users: list[Row]
    videos: list[Row]
    interactions: list[Row]
    channels: list[Row]
    long: bool
    table: FeatureTable = DEFAULT
    ids: IdKind = IdKind.INTEGER


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """Random settings: either the fractions or val_from (and perhaps test_from) are set."""

    positive: dict[str, float]
    min_watch_ratio: float
    gap_minutes: int
    negative_ratio: int
    popularity_alpha: float
    train: str | None
    val: str | None
    kind: str
    val_from: int | None
    test_from: int | None
    seed: int
    history_length: int = 20
    conflict: str = "negative"
    table: FeatureTable = DEFAULT
    ids: IdKind = IdKind.INTEGER


@st.composite
def times(draw: st.DrawFn) -> list[int]:
    """Two to nine distinct times, in order, with gaps on and next to half an hour."""
    found = [START]
    for gap in draw(st.lists(st.sampled_from(GAPS), min_size=1, max_size=8)):
        found.append(found[-1] + gap)
    return found


# Made once, as Hypothesis looks through each strategy that is new to it. It also writes out the values that functions
# have by default, of which a feature table is a long one.
_TIMES = times()
_SOME_IDS = st.lists(st.sampled_from(IDS), min_size=1, unique=True)
_DROPPED = st.sets(st.sampled_from(OPTIONAL), max_size=2)


def _chosen(table: FeatureTable | None) -> FeatureTable:
    return DEFAULT if table is None else table


@st.composite
def tables(
    draw: st.DrawFn,
    *,
    bad_rows: bool = False,
    long: bool | None = None,
    ratio: float = 0.4,
    versions: bool = False,
    least: int = 0,
    table: FeatureTable | None = None,
) -> RawTables:
    """Tables of 1-6 users, 1-6 videos and `least` to 40 interactions; `ratio` is what watch times tie with.

    With `versions` some of the entity tables have several rows per key, at the instants of interactions and others.
    """
    table = _chosen(table)
    is_long = draw(st.booleans()) if long is None else long
    user_ids, video_ids = draw(_SOME_IDS), draw(_SOME_IDS)
    users = _with_values(draw, [{"user_id": user_id} for user_id in user_ids], _USER_VALUES)
    videos = _with_values(draw, [{"video_id": video_id} for video_id in video_ids], _VIDEO_VALUES)
    instants = draw(_TIMES)
    flags = not is_long or draw(st.booleans())
    event = _event(user_ids, videos, instants, is_long, flags, ratio, table)
    interactions = draw(event.rows(draw(st.integers(least, 40))))
    channels: list[Row] = [{"channel_id": channel, "channel_subscriber_count": n} for channel, n in ((1, 0), (2, None))]
    moments = st.sampled_from((0, *instants, instants[-1] + HALF_HOUR))
    of_users = of_videos = st.just({})
    if versions:
        changing = draw(st.sets(st.sampled_from(tuple(KEYS)), min_size=1))
        of_users, of_videos = (_time(moments) if name in changing else st.just({}) for name in ("users", "videos"))
        users = _versions(draw, users, _USER_VALUES, moments) if "users" in changing else users
        videos = _versions(draw, videos, _VIDEO_VALUES, moments) if "videos" in changing else videos
        channels = _versions(draw, channels, _CHANNEL_VALUES, moments) if "channels" in changing else channels
    if bad_rows:
        users = _mixed(draw, users, _bad(_bad_user(user_ids), of_users))
        videos = _mixed(draw, videos, _bad(_bad_video(video_ids), of_videos))
        interactions = _mixed(draw, interactions, _bad_event(event.row, is_long))
    dropped = draw(_DROPPED)
    users, videos, interactions = (_without(rows, dropped) for rows in (users, videos, interactions))
    return RawTables(users, videos, interactions, channels, is_long, table)


@st.composite
def run_settings(draw: st.DrawFn, table: FeatureTable | None = None) -> RunSettings:
    """Any settings; explicit cuts lie on, or next to, times that `times` gives."""
    table = _chosen(table)
    explicit = draw(st.booleans())
    train, val = (None, None) if explicit else draw(st.sampled_from(FRACTIONS))
    val_from = test_from = None
    if explicit:
        val_from = START + sum(draw(st.lists(st.sampled_from(GAPS), min_size=1, max_size=4)))
        later = draw(st.none() | st.sampled_from(GAPS))
        test_from = None if later is None else val_from + later
    weights = WEIGHTS | {s.name: 0.75 for s in table.signals if s.name not in WEIGHTS and not s.negative}
    names = draw(st.sets(st.sampled_from(tuple(weights)), min_size=1))
    other = draw(st.sampled_from((None, 0.25, 2.0)))
    return RunSettings(
        positive={name: weights[name] if other is None or name == "like" else other for name in sorted(names)},
        min_watch_ratio=draw(st.sampled_from(RATIOS)),
        gap_minutes=draw(st.sampled_from((30, 30, 1, 60))),
        negative_ratio=draw(st.integers(0, 4)),
        popularity_alpha=draw(st.sampled_from((0.0, 0.75, 1.0))),
        kind="time" if explicit else draw(st.sampled_from(("time", "time_per_user"))),
        train=train,
        val=val,
        val_from=val_from,
        test_from=test_from,
        seed=draw(st.integers(0, 3)),
        history_length=draw(st.sampled_from((20, 3, 1, 0))),
        conflict=draw(st.sampled_from(("negative", "negative", "positive"))) if table.bits.negative else "negative",
        table=table,
    )


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    bad_rows: bool = False,
    versions: bool | None = None,
    least: int = 0,
    table: FeatureTable | None = None,
    kinds: tuple[IdKind, ...] = KINDS,
) -> tuple[RawTables, RunSettings]:
    """Settings, and tables whose watch times tie with their watch ratio; half of them with versions, if not told."""
    chosen = draw(run_settings(table))
    has = draw(st.booleans()) if versions is None else versions
    raw = draw(tables(bad_rows=bad_rows, ratio=chosen.min_watch_ratio, versions=has, least=least, table=table))
    kind = draw(st.sampled_from(kinds))
    return with_ids(raw, kind), dataclasses.replace(chosen, ids=kind)


def with_ids(raw: RawTables, kind: IdKind) -> RawTables:
    """The same tables with ids of another kind; of strings, the empty one is missing."""
    if kind is IdKind.INTEGER:
        return raw
    missing = {None: None, LEAST: "" if kind is IdKind.STRING else None}
    videos = ODD_IDS[kind] | missing
    known = {"user_id": videos, "video_id": videos, "channel_id": videos | _CHANNELS[kind]}

    def of_row(row: Row) -> Row:
        own = {name: known[name][row[name]] for name in known if name in row}
        told = row.get("history_video_ids")
        return row | own | ({"history_video_ids": [videos[one] for one in told]} if told else {})

    changed = {name: list(map(of_row, getattr(raw, name))) for name in TABLES}
    return dataclasses.replace(raw, ids=kind, **changed)


def _with_values(draw: st.DrawFn, rows: list[Row], values: OneOfEach) -> list[Row]:
    return [row | own for row, own in zip(rows, draw(values.rows(len(rows))), strict=True)]


def _versions(draw: st.DrawFn, rows: list[Row], values: OneOfEach, moments: st.SearchStrategy) -> list[Row]:
    """One to four versions of each row, the same key never twice at one moment, in any order."""
    several = st.lists(moments, min_size=1, max_size=4, unique=True)
    found = [row | {"updated_at": moment} for row in rows for moment in draw(several)]
    return draw(st.permutations(_with_values(draw, found, values)))


def _time(moments: st.SearchStrategy[int]) -> st.SearchStrategy[Row]:
    """When a row that is unusable may say that it begins."""
    return (moments | st.sampled_from((None, -1, END_OF_TIME))).map(lambda moment: {"updated_at": moment})


def _bad(rows: st.SearchStrategy[Row], more: st.SearchStrategy[Row]) -> st.SearchStrategy[Row]:
    return st.builds(lambda row, own: row | own, rows, more)


def write_tables(raw: RawTables, folder: Path, *, parts: int = 1) -> None:
    """Writes NAME.parquet per table, or a folder NAME of `parts` files whose names sort in the order of the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        whole = arrow_table(raw, table)
        if parts == 1:
            pq.write_table(whole, folder / f"{table}.parquet")
            continue
        (folder / table).mkdir()
        size = math.ceil(whole.num_rows / parts)
        for part in range(parts):
            pq.write_table(whole.slice(part * size, size), folder / table / f"part-{part:05d}.parquet")


def arrow_table(raw: RawTables, table: str) -> pa.Table:
    """One of the tables with the types of columns.py: the required columns and those that any row has."""
    rows: list[Row] = getattr(raw, table)
    layout = ("interaction_type",) if raw.long else tuple(raw.table.flags)
    empty_needs = layout if table == "interactions" and not rows else ()
    known = raw.table.columns_of(table)
    kept = {
        name: column.type
        for name, column in known.items()
        if column.required or name in empty_needs or any(name in row for row in rows)
    }
    integer, text = pa.int64(), pa.string()
    held = {IdKind.INTEGER: integer, IdKind.STRING: text, IdKind.UUID: pa.binary(16), IdKind.UINT64: pa.uint64()}
    keys = {name: pa.list_(held[raw.ids]) if known[name].is_list else held[raw.ids] for name in kept if known[name].key}
    kept |= keys
    values = {name: [row.get(name) for row in rows] for name in kept}
    if raw.ids is IdKind.UUID:
        values |= {name: list(map(_bytes, values[name])) for name in keys}
    return pa.table([pa.array(values[name], kind) for name, kind in kept.items()], schema=pa.schema(list(kept.items())))


def _bytes(value: Any) -> Any:
    """UUIDs as they are stored."""
    if isinstance(value, list):
        return list(map(_bytes, value))
    return value and uuid.UUID(value).bytes


def _without(rows: list[Row], dropped: set[str]) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in dropped} for row in rows]


def _mixed(draw: st.DrawFn, rows: list[Row], bad: st.SearchStrategy[Row]) -> list[Row]:
    """The rows with up to three bad ones at any place."""
    mixed = list(rows)
    for row in draw(st.lists(bad, max_size=3)):
        mixed.insert(draw(st.integers(0, len(mixed))), row)
    return mixed


_USER_VALUES = OneOfEach(
    {
        "previously_watched_category": CATEGORIES,
        "age": (None, LEAST, 0, 30),
        "country": (None, "", "DE", "FR"),
        "history_video_ids": (None, [], [9, None, 2, LEAST, UNKNOWN_ID, 10]),
        "history_categories": (None, [], ["music", None, "", "Sport"]),
    }
)
_VIDEO_VALUES = OneOfEach(
    {
        "channel_id": (None, LEAST, 1, 2, UNKNOWN_ID),
        "category": CATEGORIES,
        "video_duration": DURATIONS,
        "view_count": (None, LEAST, 0, 1000),
    }
)
_CHANNEL_VALUES = OneOfEach({"channel_subscriber_count": (None, 0, 5, 1000)})


def _event(
    user_ids: list[int],
    videos: list[Row],
    instants: list[int],
    long: bool,
    flags: bool,
    ratio: float,
    table: FeatureTable,
) -> OneOfEach:
    watch_times = [_watch_times(ratio * (video["video_duration"] or 10.0)) for video in videos]
    options: dict[str, Sequence[Any]] = {
        "user_id": user_ids,
        "video_id": range(len(videos)),
        "interaction_time": instants,
        "watch_time": range(_WATCHES),
    }
    options |= {"interaction_type": table.bits.names} if long else {}
    options |= dict.fromkeys(table.flags, (None, False, False, True)) if flags else {}
    options |= {column.name: CONTEXT[str(column.type)] for column in table.context}

    def finish(row: Row) -> Row:
        number, watch_time = row["video_id"], row["watch_time"]
        return row | {"video_id": videos[number]["video_id"], "watch_time": watch_times[number][watch_time]}

    return OneOfEach(options | {"device": DEVICES}, finish)


def _watch_times(threshold: float) -> tuple[float | None, ...]:
    """On and around the threshold, and halves of it, two of which make it up."""
    return None, math.nan, 0.0, 0.25, threshold, threshold / 2, threshold + 0.25, max(0.0, threshold - 0.25)


_WATCHES = len(_watch_times(1.0))


def _bad_user(user_ids: list[int]) -> st.SearchStrategy[Row]:
    """A missing id, an id that may be there already, or a negative age."""
    faults: tuple[Row, ...] = ({"user_id": None}, {"user_id": LEAST}, {}, {"age": -1})
    key = st.sampled_from(user_ids).map(lambda user_id: {KEYS["users"]: user_id})
    return st.builds(lambda own, values, fault: own | values | fault, key, _USER_VALUES.row, st.sampled_from(faults))


def _bad_video(video_ids: list[int]) -> st.SearchStrategy[Row]:
    """A missing id, an id that may be there already, or a negative number."""
    faults: tuple[Row, ...] = (
        {"video_id": None},
        {"video_id": LEAST},
        {},
        {"video_duration": -0.25},
        {"view_count": -1},
    )
    key = st.sampled_from((*video_ids, UNKNOWN_ID)).map(lambda video_id: {KEYS["videos"]: video_id})
    return st.builds(lambda own, values, fault: own | values | fault, key, _VIDEO_VALUES.row, st.sampled_from(faults))


def _bad_event(event: st.SearchStrategy[Row], long: bool) -> st.SearchStrategy[Row]:
    """An event with one fault."""
    faults: list[Row] = [
        {"user_id": None},
        {"video_id": None},
        {"user_id": LEAST},
        {"user_id": UNKNOWN_ID},
        {"video_id": UNKNOWN_ID},
        {"watch_time": -0.25},
        {"interaction_time": None},
        {"interaction_time": -1},
        {"interaction_time": END_OF_TIME},
    ]
    if long:
        faults += [{"interaction_type": None}, {"interaction_type": "swipe"}, {"interaction_type": "Click"}]
    return st.builds(lambda row, fault: row | fault, event, st.sampled_from(faults))
