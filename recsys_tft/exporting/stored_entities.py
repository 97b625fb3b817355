"""Writes `serving/store/N/`, the raw rows of users and videos that a recommender reads: see entity_store.py."""

import itertools
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids, time_lookups
from recsys_tft.columns import HISTORY, KEYS, UPDATED
from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import examples
from recsys_tft.exporting import stored_tallies
from recsys_tft.features import FeatureTable
from recsys_tft.labelling import labels
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.point_in_time import history, outcomes, recent
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.raw_replay import raw_periods
from recsys_tft.raw_replay.raw_counters import DatedVideos
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.recommending.entity_store import CODE, EVENTS
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.event_signals import is_viewing
from recsys_tft.time_lookups import find_sorted


def write(
    folder: pathlib.Path,
    rows: RawRows,
    videos: pa.Table,
    counts: pa.Table | None,
    cuts: Cuts | None,
    settings: Settings,
) -> None:
    """Write the three files.

    Args:
        folder: a new one.
        rows: the raw tables.
        videos: as `current_videos` returns them.
        counts: of `DatedVideos`.
        cuts: where the run's splits end.
        settings: of the run.
    """
    folder.mkdir(parents=True)
    viewing = is_viewing(rows.events, settings.table.bits)
    viewings = rows.events.filter(pa.array(viewing))
    known = raw_periods.labelled(rows, cuts, settings)
    at_end = known.last.period.carry(rows.lookup, end(rows), settings)
    users = _with_history(rows, _with_last_category(rows, viewings), at_end, settings)
    users = _with_outcomes(rows, _with_recent(rows, users, settings), counts, at_end, known.begun, settings)
    _write(folder / "users.arrow", users, "user_id")
    codes = videos["video_id"].to_numpy()
    events = np.bincount(find_sorted(codes, rows.events["video_id"].to_numpy()), minlength=len(codes))
    _write(folder / "videos.arrow", videos.append_column(EVENTS, pa.array(events, pa.int64())), "video_id")
    refused = labels.is_negative(rows.events["signals"].to_numpy(), settings)
    _write(folder / "seen.arrow", _seen(rows, rows.events.filter(pa.array(viewing | refused))), "user_id")


def described(table: FeatureTable) -> dict[str, dict[str, Any]]:
    """The type of each column of users, videos and channels: `type`, `key` of ids, `text` if it is embedded."""
    texts = {source for feature in table.features if feature.op.embeds_text for source in feature.sources}
    return {
        name: {"type": str(column.type)}
        | ({"key": column.key} if column.key else {})
        | ({"text": True} if name in texts else {})
        for name, column in itertools.chain.from_iterable(table.columns_of(entity).items() for entity in KEYS)
        if name != UPDATED
    }


def current_videos(rows: RawRows, videos: DatedVideos) -> pa.Table:
    """The latest raw rows of all videos, with their counters at the end of the data."""
    return _undated(videos.latest_with_counts_at(end(rows)))


def _undated(table: pa.Table) -> pa.Table:
    return table.select([name for name in table.column_names if name not in (UPDATED, time_lookups.SINCE)])


def _latest_lookup(rows: RawRows) -> VideoLookup:
    """The lookup of watched videos, in their latest versions."""
    latest = rows.latest_videos
    return VideoLookup(latest.select([*ids.beside(["video_id"], latest), *VideoLookup.told(())]), rows.lookup.kind)


def end(rows: RawRows) -> int:
    """The first moment after the last event, in microseconds since 1970: the as-of time of the store."""
    return int(rows.events["interaction_time"].to_numpy().max(initial=0)) + 1


def _with_history(rows: RawRows, users: pa.Table, at_end: Carried, settings: Settings) -> pa.Table:
    """The users with their histories, unless these are turned off."""
    if not settings.history.length:
        return users
    positives = history.Positives(*(column.to_numpy() for column in at_end.positives.columns))
    videos, user_ids = _latest_lookup(rows), users["user_id"].to_numpy()
    times, length = np.full(len(user_ids), end(rows)), settings.history.length
    columns, before = history.histories(positives, users, videos, user_ids, times, length), users
    for name, values in columns.items():
        users = users.set_column(users.column_names.index(name), name, values)
    given_name = ids.GIVEN + HISTORY[0]
    if given_name in users.column_names:
        shown = examples.with_given_ids(users, before, videos)[HISTORY[0]]
        users = users.set_column(users.column_names.index(given_name), given_name, shown.cast(pa.list_(pa.binary())))
    return users


def _with_recent(rows: RawRows, users: pa.Table, settings: Settings) -> pa.Table:
    """The users with their recent activity, if the run has it."""
    if not settings.recent.enabled:
        return users
    user_ids = users["user_id"].to_numpy()
    moments = np.full(len(user_ids), end(rows) - settings.counters.delay_microseconds)
    for name, values in recent.user_counts(recent.counts_of(rows.events, settings), user_ids, moments).items():
        users = users.append_column(name, pa.array(values))
    return users


def _with_outcomes(
    rows: RawRows, users: pa.Table, counts: pa.Table | None, at_end: Carried, begun: pa.Table, settings: Settings
) -> pa.Table:
    """The users with the outcomes of their exposures, overall and by group, if the run has them."""
    if not settings.positive_rates.enabled:
        return users
    user_ids = users["user_id"].to_numpy()
    moment = end(rows) - settings.counters.delay_microseconds
    moments = np.full(len(user_ids), moment)
    for name, values in outcomes.user_counts(at_end.steps, user_ids, moments).items():
        users = users.append_column(name, pa.array(values))
    if outcomes.reads_expected(settings):
        expected = outcomes.expected(outcomes.worth(begun, counts), user_ids, moments)
        users = users.append_column(outcomes.EXPECTED, pa.array(expected, pa.float32()))
    for group in outcomes.groups(settings):
        names = {
            c.of_group.tally: c.name
            for c in outcomes.group_columns(settings)
            if c.of_group and c.of_group.column == group
        }
        for name, lists in stored_tallies.of_users(rows, at_end.steps, user_ids, moment, group, names).items():
            users = users.append_column(name, lists)
    return users


def _with_last_category(rows: RawRows, viewings: pa.Table) -> pa.Table:
    """The users with the category that they watched last, where they have watched any video."""
    name = "previously_watched_category"
    user, video, time = (viewings[key].to_numpy() for key in ("user_id", "video_id", "interaction_time"))
    latest = _undated(rows.latest_users)
    users = latest["user_id"].to_numpy()
    never = np.full(len(users), np.iinfo(np.int64).max)
    videos = _latest_lookup(rows)
    last = time_lookups.last_before(user, time, users, never, tie=videos.order(video))
    positions = np.where(last >= 0, videos.position(video, time)[last], -1) if len(video) else last
    categories = pc.if_else(pa.array(last >= 0), videos.category(positions), latest[name])
    return latest.set_column(latest.column_names.index(name), name, categories)


def _seen(rows: RawRows, viewings: pa.Table) -> pa.Table:
    """Each user's distinct videos."""
    pairs = np.unique(np.stack([viewings["user_id"].to_numpy(), viewings["video_id"].to_numpy()]), axis=1)
    users, starts = np.unique(pairs[0], return_index=True)
    offsets = pa.array(np.append(starts, pairs.shape[1]), pa.int64())
    seen = {"user_id": users, "video_ids": pa.LargeListArray.from_arrays(offsets, _videos_of(rows, pairs[1]))}
    given_name = ids.GIVEN + "user_id"
    if given_name in rows.users.column_names:
        seen[given_name] = rows.users[given_name].take(pa.array(find_sorted(rows.users["user_id"].to_numpy(), users)))
    return pa.table(seen)


def _videos_of(rows: RawRows, codes: np.ndarray) -> pa.Array:
    """[n] original ids of known videos; texts as a dictionary array, as many are the same."""
    distinct = time_lookups.distinct(codes)
    original = rows.lookup.given(distinct)
    if original is None:
        return pa.array(codes)
    return pa.DictionaryArray.from_arrays(pa.array(np.searchsorted(distinct, codes), pa.int32()), original)


def _write(path: pathlib.Path, table: pa.Table, key: str) -> None:
    if ids.GIVEN + key in table.column_names:
        table = table.append_column(CODE + key, table[key])
    table = ids.shown(table)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())
