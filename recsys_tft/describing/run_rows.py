"""Columns that a run describes: of its raw tables and of its rows, by data set and split."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import HISTORY, UPDATED, Column
from recsys_tft.configuration.settings import Settings
from recsys_tft.describing import figures
from recsys_tft.describing.columns import Described, Kind, count_rows, describe
from recsys_tft.describing.sketches import Rows
from recsys_tft.features import Entity, Feature, context_columns
from recsys_tft.labelling.exposures import KEY
from recsys_tft.run_layout import data_sets
from recsys_tft.run_layout.data_sets import DATA_SETS, DataSet, is_written
from recsys_tft.time_lookups import find_sorted, rows_at

ALL = ("all",)  # the one split of what is not divided by time
USERS, VIDEOS, EXPOSURES, EVENTS = "raw_users", "raw_videos", "raw_exposures", "raw_interactions"
SHOWN_USERS, SHOWN_VIDEOS = "shown_users", "shown_videos"  # the raw ones, each as often as a split has exposures of it
SHOWN_SCHEMA = pa.schema({"video_id": pa.int64(), "split": pa.int8(), "exposures": pa.int64()})
SIGNALS, REPEATED, GAP = "signals", "repeated", "seconds_since_last"  # what is told of events besides their columns
_KEYS = {
    "interaction_time": Kind.MOMENT,
    "label": Kind.TEXT,
    "source": Kind.TEXT,
    "weight": Kind.NUMBER,
    "watch_share": Kind.NUMBER,
    "log_q": Kind.NUMBER,
}


def kind_of(feature: Feature, settings: Settings) -> Kind:
    """The kind of a feature's values."""
    if feature.is_categorical:
        return Kind.TOKEN
    return Kind.VECTOR if feature.op.shape(settings) else Kind.NUMBER


def raw_kind(column: Column) -> Kind:
    """The kind of a raw column's values; id lists and histories are described by their lengths only."""
    value = column.type.value_type if column.is_list else column.type
    if column.is_list and (column.key or column.name in HISTORY):
        return Kind.LENGTH
    if column.key:
        return Kind.ID
    if pa.types.is_timestamp(value):
        return Kind.TIME
    return Kind.NUMBER if pa.types.is_integer(value) or pa.types.is_floating(value) else Kind.TEXT


def kinds(data_set: DataSet, settings: Settings) -> dict[str, Kind]:
    """The kinds of the columns of a data set, except `candidate_row`, which is a row number."""
    keys = [name for names in data_set.keys.values() for name in names if is_written(name, settings)]
    found = {name: _KEYS.get(name, Kind.ID) for name in keys if name != "candidate_row"}
    return {**found, **{feature.name: kind_of(feature, settings) for feature in data_set.features(settings)}}


def raw_kinds(name: str, settings: Settings) -> dict[str, Kind]:
    """The kinds of the raw columns of users, of videos with their channels, of exposures or of events."""
    if name == EVENTS:
        own = {"watch_time": Kind.NUMBER, **{column.name: raw_kind(column) for column in context_columns(settings)}}
        return {"interaction_time": Kind.MOMENT, SIGNALS: Kind.TEXT, REPEATED: Kind.TEXT, GAP: Kind.NUMBER, **own}
    if name == EXPOSURES:
        known = {"label": Kind.TEXT, "weight": Kind.NUMBER}
        every = [*context_columns(settings), *(settings.table.raw[each] for each in _as_of(settings))]
        return {**known, **{column.name: raw_kind(column) for column in every}}
    tables = ("users",) if name in (USERS, SHOWN_USERS) else ("videos", "channels")
    every = [column for table in tables for column in settings.table.columns_of(table).values()]
    return {column.name: raw_kind(column) for column in every if column.name != UPDATED}


def _as_of(settings: Settings) -> list[str]:
    return [name for name in ("previously_watched_category", *HISTORY) if name in settings.table.raw]


def of_joined(
    data_set: DataSet,
    tables: Mapping[object, pa.Table],
    codes: Mapping[object, np.ndarray],
    inside: Sequence[np.ndarray],
    sizes: Mapping[object, int],
    settings: Settings,
) -> Described:
    """Describe joined rows, of which no table exists: each part of their columns has a table of its own.

    Args:
        data_set: of the rows.
        tables: the columns of each part.
        codes: by part [n] int64, which row of its table each of [n] rows has.
        inside: for each split the rows in it.
        sizes: how many rows there are of users and of videos.
        settings: of the run.
    """

    def rows_of(part: object, size: int) -> Rows:
        return Rows.of([codes[part][own] for own in inside], size)

    clusters = {entity: rows_of(entity, size) for entity, size in sizes.items()}
    found: Described = {}
    of_columns = kinds(data_set, settings)
    for part, table in tables.items():
        rows = clusters[part] if part in clusters else rows_of(part, len(table))
        found |= describe(table, of_columns, rows, data_set.name)
        if part == data_sets.OUTCOME:
            found |= count_rows(rows, data_set.name, clusters[Entity.USER], clusters[Entity.VIDEO])
    return found


def of_entities(data_set: DataSet, rows: pa.Table, settings: Settings) -> Described:
    """Describe engineered users or videos, each of which counts once."""
    every = Rows.every(len(rows))
    return {**describe(rows, kinds(data_set, settings), every, data_set.name), **count_rows(every, data_set.name)}


def of_raw(name: str, table: pa.Table, settings: Settings) -> Described:
    """Describe raw users or videos, each of which counts once."""
    rows = Rows.every(len(table))
    return {**describe(table, raw_kinds(name, settings), rows, name), **count_rows(rows, name)}


def of_shown_users(users: pa.Table, exposures: pa.Table, numbers: Sequence[int], settings: Settings) -> Described:
    """Describe raw users, or versions of them, as they were at exposures, by the splits of these numbers."""
    user, time, split = (exposures[name].to_numpy() for name in ("user_id", "interaction_time", "split"))
    places = rows_at(users, "user_id", user, time)
    rows = Rows.of([places[split == number] for number in numbers], len(users))
    return _of_shown(SHOWN_USERS, users, rows, settings)


def shown(exposures: pa.Table) -> pa.Table:
    """The number of exposures of each video in each split, of SHOWN_SCHEMA."""
    ones = pa.array(np.ones(len(exposures), np.int64))
    return merge_shown([pa.table([exposures["video_id"], exposures["split"], ones], SHOWN_SCHEMA)])


def merge_shown(parts: Sequence[pa.Table]) -> pa.Table:
    """The sums of parts, of SHOWN_SCHEMA."""
    every = pl.DataFrame(pa.concat_tables(parts))
    sums = every.group_by("video_id", "split").agg(pl.sum("exposures")).sort("split", "video_id")
    return sums.to_arrow().cast(SHOWN_SCHEMA)


def of_shown_videos(videos: pa.Table, shown: pa.Table, numbers: Sequence[int], settings: Settings) -> Described:
    """Describe raw videos by the splits of these numbers.

    Args:
        videos: one row of each, by increasing `video_id`.
        shown: of SHOWN_SCHEMA, of these and other videos.
        numbers: of the splits.
        settings: of the run.
    """
    video, split, exposures = (shown[name].to_numpy() for name in SHOWN_SCHEMA.names)
    place = find_sorted(videos["video_id"].to_numpy(), video)
    chosen = [np.flatnonzero((split == number) & (place >= 0)) for number in numbers]
    every = np.concatenate(chosen)
    rows = Rows(place[every], exposures[every], np.cumsum([0, *map(len, chosen)]))
    return _of_shown(SHOWN_VIDEOS, videos, rows, settings)


def _of_shown(name: str, table: pa.Table, rows: Rows, settings: Settings) -> Described:
    return {**describe(ids.shown(table), raw_kinds(name, settings), rows, name), **count_rows(rows, name, rows)}


def of_exposures(exposures: pa.Table, numbers: Sequence[int], settings: Settings) -> Described:
    """Describe raw exposures, sorted by users, by the splits of these numbers."""
    rows, users = _in_splits(exposures, exposures["split"].to_numpy(), numbers)
    return {
        **describe(exposures, raw_kinds(EXPOSURES, settings), rows, EXPOSURES),
        **count_rows(rows, EXPOSURES, users),
    }


def _in_splits(table: pa.Table, split: np.ndarray, numbers: Sequence[int]) -> tuple[Rows, Rows]:
    """The rows of each split, and how many of them each user has; the table is sorted by users."""
    places = [np.flatnonzero(split == number) for number in numbers]
    rows = Rows(np.concatenate(places), None, np.cumsum([0, *map(len, places)]))
    user = table["user_id"].to_numpy()
    number = np.cumsum(np.append(0, user[1:] != user[:-1]))[: len(user)]
    return rows, Rows.of([number[each] for each in places], len(user))


def of_events(events: pa.Table, split: np.ndarray, numbers: Sequence[int], settings: Settings) -> Described:
    """Describe sorted events, by the splits of these numbers."""
    user, video, time = (events[name].to_numpy() for name in KEY)
    signals = events["signals"].to_numpy()
    same = (user[1:] == user[:-1]) & (video[1:] == video[:-1])
    gap = np.append(np.nan, np.where(same, np.diff(time) / 1e6, np.nan)).astype(np.float32)[: len(user)]
    again = np.append(False, same & (np.diff(time) == 0) & (signals[1:] == signals[:-1]))[: len(user)]
    bits = settings.table.bits
    named, place = _distinct(signals)
    texts = [
        "+".join(n for n, bit in zip(bits.names, bits.each, strict=True) if bit & each) or "none" for each in named
    ]
    told = events.select([column.name for column in context_columns(settings)])
    told = told.append_column("interaction_time", events["interaction_time"])
    told = told.append_column("watch_time", events["watch_time"])
    told = told.append_column(SIGNALS, pa.DictionaryArray.from_arrays(pa.array(place), pa.array(texts, pa.string())))
    told = told.append_column(REPEATED, pa.array(again)).append_column(GAP, pa.array(gap))
    rows, users = _in_splits(events, split, numbers)
    return {**describe(told, raw_kinds(EVENTS, settings), rows, EVENTS), **count_rows(rows, EVENTS, users)}


def layout(
    settings: Settings, vocabularies: Mapping[str, Sequence[bytes]], splits: Sequence[str]
) -> tuple[dict[str, Sequence[str]], dict[str, dict[str, figures.Column]]]:
    """The splits of each data set, and facts about its columns.

    Args:
        settings: of the run.
        vocabularies: the values of each.
        splits: the names of the splits, in the order of their numbers.
    """
    split = {each.name: splits if each.splits else ALL for each in DATA_SETS}
    split |= {USERS: ALL, VIDEOS: ALL, **dict.fromkeys((SHOWN_USERS, SHOWN_VIDEOS, EXPOSURES, EVENTS), splits)}
    columns = {each.name: _columns(each, settings, vocabularies) for each in DATA_SETS}
    for name in (USERS, VIDEOS, SHOWN_USERS, SHOWN_VIDEOS, EXPOSURES, EVENTS):
        raw, of = settings.table.raw, "video" if name in (VIDEOS, SHOWN_VIDEOS) else "user"
        columns[name] = {
            column: figures.Column(kind, is_list=column in raw and raw[column].is_list, of=of)
            for column, kind in raw_kinds(name, settings).items()
        }
    return split, columns


def _distinct(signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct ones of [n] bits of signals, and which of them each is."""
    if signals.dtype.itemsize > 2:
        return np.unique(signals, return_inverse=True)
    named = np.flatnonzero(np.bincount(signals)).astype(signals.dtype)
    rank = np.zeros(np.iinfo(signals.dtype).max + 1, np.int64)
    rank[named] = np.arange(len(named))
    return named, rank[signals]


def _columns(
    data_set: DataSet, settings: Settings, vocabularies: Mapping[str, Sequence[bytes]]
) -> dict[str, figures.Column]:
    features = {feature.name: feature for feature in data_set.features(settings)}
    sizes = {name: len(values) for name, values in vocabularies.items()}
    found = {}
    for name, kind in kinds(data_set, settings).items():
        feature = features.get(name)
        if feature is None:
            of = "video" if name in ("log_q", "video_id") else "user"
            found[name] = figures.Column(kind, of=of)
            continue
        words, size, n_oov = None, None, 0
        if feature.vocabulary:
            vocabulary = feature.vocabulary
            size, n_oov = sizes[vocabulary.name], settings.vocabulary(vocabulary.name).n_oov
            if not (vocabulary.integers or vocabulary.ids):
                words = [value.decode(errors="backslashreplace") for value in vocabularies[vocabulary.name][:4096]]
        found[name] = figures.Column(
            kind,
            is_list=feature.op.shape(settings) is None,
            words=words,
            size=size,
            n_oov=n_oov,
            of="user" if feature.entity in (Entity.USER, Entity.EXPOSURE) else "video",
            sources=feature.sources,
        )
    return found
