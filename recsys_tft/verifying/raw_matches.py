"""The raw rows of rows on disk."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import HISTORY
from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import examples
from recsys_tft.features import Entity, Feature, context_columns
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.point_in_time import outcomes, recent
from recsys_tft.point_in_time.pair_columns import PairColumns
from recsys_tft.raw_replay import raw_periods
from recsys_tft.raw_replay.raw_counters import DatedVideos
from recsys_tft.raw_replay.raw_periods import Known
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.time_lookups import find_sorted, rows_at


@dataclasses.dataclass(frozen=True)
class Matches:
    """Raw rows of one entity, matched with the [n] rows on disk that may have been made of them.

    Attributes:
        raw: distinct raw rows.
        owner: [m] int64 numbers of rows on disk, increasing; repeated for each raw row that it may be made of.
        row: [m] int64 the raw row.
        missing: [k] int64 numbers of rows on disk without a raw row.
    """

    raw: pa.Table
    owner: np.ndarray
    row: np.ndarray
    missing: np.ndarray


def by_key(raw: pa.Table, key: str, keys_on_disk: np.ndarray) -> Matches:
    """The rows of users or videos: each key has one.

    Args:
        raw: by increasing key.
        key: its name.
        keys_on_disk: [n] int64 keys of rows on disk.
    """
    keys, inverse = np.unique(keys_on_disk, return_inverse=True)
    places = find_sorted(raw[key].to_numpy(), keys)
    position = np.cumsum(places >= 0) - 1
    is_there = places[inverse] >= 0
    rows = raw.take(pa.array(places[places >= 0]))
    return Matches(rows, np.flatnonzero(is_there), position[inverse][is_there], np.flatnonzero(~is_there))


def labelled(raw: RawRows, user_ids: np.ndarray, cuts: Cuts | None, settings: Settings) -> Known:
    """The exposures of users, given [n] int64 ids."""
    return raw_periods.labelled(raw.of_users(pa.array(np.unique(user_ids))), cuts, settings)


def by_exposure(raw: RawRows, labels: Known, user_ids: np.ndarray, times: np.ndarray, settings: Settings) -> Matches:
    """Values at exposures; if those of one user at one instant differ, each is a candidate.

    Args:
        raw: the raw tables.
        labels: the exposures of these users.
        user_ids: [n] int64 of rows on disk.
        times: [n] int64 of rows on disk.
        settings: of the run.
    """
    exposures = labels.exposures
    context = [column.name for column in context_columns(settings)]
    names = ["user_id", "interaction_time", *context, "previously_watched_category"]
    names += [examples.COUNTED_VIDEO] if examples.COUNTED_VIDEO in exposures.column_names else []
    rows = pl.DataFrame(exposures.select(names)).with_row_index("row")
    first = rows.unique(names, keep="first", maintain_order=True)["row"].to_arrow()
    # These are equal for all exposures of a user at an instant.
    counts = (*recent.USER_COLUMNS, *outcomes.USER_COLUMNS)
    others = (name for name in (*HISTORY, *counts) if name in exposures.column_names)
    candidates = exposures.take(first).select([*names, *others])
    candidates = ids.plain(examples.with_given_ids(candidates, raw.users, raw.lookup))
    candidates = candidates.sort_by([("user_id", "ascending"), ("interaction_time", "ascending")])
    users, moments = (candidates[name].to_numpy() for name in ("user_id", "interaction_time"))
    pairs = np.stack([np.concatenate([users, user_ids]), np.concatenate([moments, times])], axis=1)
    codes = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    stored, wanted_codes = codes[: len(users)], codes[len(users) :]
    first, last = np.searchsorted(stored, wanted_codes), np.searchsorted(stored, wanted_codes, side="right")
    owner = np.repeat(np.arange(len(wanted_codes)), last - first)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    return Matches(candidates, owner, first[owner] + within, np.flatnonzero(first == last))


def by_video(videos: DatedVideos, video_ids: np.ndarray, times: np.ndarray) -> Matches:
    """The rows of videos at exposures, with their counters.

    Args:
        videos: all of them.
        video_ids: [n] int64 of rows on disk.
        times: [n] int64 of rows on disk.
    """
    is_there = find_sorted(videos.videos["video_id"].to_numpy(), video_ids) >= 0
    taken, row = np.unique(videos.rows_at(video_ids[is_there], times[is_there]), return_inverse=True)
    return Matches(videos.take(taken), np.flatnonzero(is_there), row, np.flatnonzero(~is_there))


def by_user(users: pa.Table, user_ids: np.ndarray, times: np.ndarray) -> Matches:
    """The rows of users at exposures.

    Args:
        users: by increasing `user_id`, or versions of them.
        user_ids: [n] int64 of rows on disk.
        times: [n] int64 of rows on disk.
    """
    rows = rows_at(users, "user_id", user_ids, times)
    taken, row = np.unique(rows[rows >= 0], return_inverse=True)
    return Matches(users.take(pa.array(taken)), np.flatnonzero(rows >= 0), row, np.flatnonzero(rows < 0))


def by_pairs(
    features: Sequence[Feature],
    exposures: Matches,
    raw: RawRows,
    videos: DatedVideos,
    labels: Known,
    keys: Mapping[str, np.ndarray],
    delay: int,
) -> Iterator[tuple[Matches, list[Feature]]]:
    """The columns of users and videos that each feature of pairs reads, at exposures.

    Args:
        features: of pairs.
        exposures: of `by_exposure`, for these rows.
        raw: the raw tables.
        videos: all of them.
        labels: the exposures of these users.
        keys: `user_id`, `video_id` and `interaction_time` of [n] rows on disk.
        delay: microseconds until an event is known.
    """
    user_ids, video_ids, times = (keys[name][exposures.owner] for name in ("user_id", "video_id", "interaction_time"))
    places = {
        "user": rows_at(raw.users, "user_id", user_ids, times),
        "video": rows_at(videos.videos, "video_id", video_ids, times),
    }
    matched = np.flatnonzero(np.minimum(*places.values()) >= 0)
    tables, rows = [videos.videos], [places["video"][matched]]
    if videos.counts is not None:
        tables.insert(0, videos.counts.drop_columns(["video_id"]))
        rows.insert(0, rows_at(videos.counts, "video_id", video_ids[matched], times[matched]))
    exposure_rows = exposures.raw
    if any(column.late for feature in features for column in feature.columns):
        exposure_rows = outcomes.with_expected(exposure_rows, outcomes.worth(labels.begun, videos.counts), delay)
    tables_of_entities = {Entity.USER: [raw.users], Entity.EXPOSURE: [exposure_rows], Entity.VIDEO: tables}
    tables_of_entities = {
        entity: [ids.shown(table) for table in entity_tables] for entity, entity_tables in tables_of_entities.items()
    }
    rows_of_entities = {
        Entity.USER: [places["user"][matched]],
        Entity.EXPOSURE: [exposures.row[matched]],
        Entity.VIDEO: rows,
    }
    tallies = outcomes.Tallies(labels.steps, raw.lookup, user_ids[matched], video_ids[matched], times[matched], delay)
    columns = PairColumns(tables_of_entities, rows_of_entities, delay, tallies)
    owner = exposures.owner[matched]
    missing = np.setdiff1d(np.arange(len(keys["user_id"])), owner)
    for feature in features:
        pairs = pa.table([column_values.all() for column_values in columns.of(feature)], list(feature.sources))
        yield Matches(pairs, owner, np.arange(len(pairs)), missing), [feature]
