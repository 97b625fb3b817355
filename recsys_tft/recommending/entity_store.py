"""`serving/store/N/`: the raw rows that a recommender asks the models about, in files that are mapped, not loaded.

    users.arrow     the latest raw columns, by increasing user_id; previously_watched_category, the history and, where
                    the run has them, recent events as of the end
    videos.arrow    the latest raw columns and those of the channel, by increasing video_id; counters as of the end,
                    where the run counts them, and recent ones with `first_seen`, where it has them; `events`: how many
                    the video has
    seen.arrow      user_id, video_ids: what the user has opened, or does not want by a negative signal

The end is the first moment after the last event: what is told of it is what a training row at that moment would have.
In production these are a user service and a catalogue service; here they stand in for both.
"""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import point_in_time
from recsys_tft.columns import UPDATED
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import COUNTRY
from recsys_tft.errors import InputError, readable
from recsys_tft.labelling import examples, history, labels, recent
from recsys_tft.labelling.splits import Cuts
from recsys_tft.point_in_time import find_sorted, take_or_null
from recsys_tft.raw_replay.raw_counters import DatedVideos
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.serving.serving_folders import EXPORT_AGAIN
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.event_signals import is_viewing

EVENTS = "events"
_HELD = {"users.arrow": ("user_id",), "videos.arrow": ("video_id", EVENTS), "seen.arrow": ("user_id", "video_ids")}


def write(folder: pathlib.Path, rows: RawRows, videos: pa.Table, cuts: Cuts | None, settings: Settings) -> None:
    """Writes the three files.

    Args:
        folder: to be made.
        rows: the raw tables.
        videos: as `current_videos` returns them.
        cuts: where the run's windows end.
        settings: of the run.
    """
    folder.mkdir(parents=True)
    viewing = is_viewing(rows.events, settings.table.bits)
    viewings = rows.events.filter(pa.array(viewing))
    users = _with_history(rows, _with_last_category(rows, viewings), cuts, settings)
    _write(folder / "users.arrow", _with_recent(rows, users, settings))
    ids = videos["video_id"].to_numpy()
    counts = np.bincount(find_sorted(ids, rows.events["video_id"].to_numpy()), minlength=len(ids))
    _write(folder / "videos.arrow", videos.append_column(EVENTS, pa.array(counts, pa.int64())))
    refused = labels.is_negative(rows.events["signals"].to_numpy(), settings)
    _write(folder / "seen.arrow", _seen(rows.events.filter(pa.array(viewing | refused))))


def current_videos(rows: RawRows, videos: DatedVideos) -> pa.Table:
    """The latest raw rows of all videos, with what is counted of them as of the end."""
    return _undated(videos.latest_with_counts_at(_end(rows)))


def _undated(table: pa.Table) -> pa.Table:
    return table.select([name for name in table.column_names if name not in (UPDATED, point_in_time.SINCE)])


def _latest_lookup(rows: RawRows) -> VideoLookup:
    """What is told of watched videos, as they are at last."""
    return VideoLookup(rows.latest_videos.select(["video_id", "video_duration", "category"]))


def _end(rows: RawRows) -> int:
    """The first moment after the last event."""
    return int(rows.events["interaction_time"].to_numpy().max(initial=0)) + 1


def _with_history(rows: RawRows, users: pa.Table, cuts: Cuts | None, settings: Settings) -> pa.Table:
    """The users with the videos that they were positive on last, unless the history is turned off."""
    if not settings.history.length:
        return users
    positives = examples.positives(rows.events, rows.lookup, cuts, settings)
    ids = users["user_id"].to_numpy()
    times, length = np.full(len(ids), _end(rows)), settings.history.length
    found = history.histories(positives, users, _latest_lookup(rows), ids, times, length)
    for name, values in found.items():
        users = users.set_column(users.column_names.index(name), name, values)
    return users


def _with_recent(rows: RawRows, users: pa.Table, settings: Settings) -> pa.Table:
    """The users with what they did lately, where the run has that."""
    if not settings.recent.enabled:
        return users
    ids = users["user_id"].to_numpy()
    moments = np.full(len(ids), _end(rows) - settings.counters.delay_microseconds)
    for name, values in recent.of_users(rows.events, ids, moments, settings).items():
        users = users.append_column(name, pa.array(values))
    return users


def _with_last_category(rows: RawRows, viewings: pa.Table) -> pa.Table:
    """The users with the category that they watched last, where they have watched any video."""
    name = "previously_watched_category"
    user, video, time = (viewings[key].to_numpy() for key in ("user_id", "video_id", "interaction_time"))
    latest = _undated(rows.latest_users)
    users = latest["user_id"].to_numpy()
    never = np.full(len(users), np.iinfo(np.int64).max)
    last = point_in_time.last_before(user, time, users, never, tie=video)
    videos = _latest_lookup(rows)
    positions = np.where(last >= 0, videos.position(video, time)[last], -1) if len(video) else last
    known = pc.if_else(pa.array(last >= 0), videos.category(positions), latest[name])
    return latest.set_column(latest.column_names.index(name), name, known)


def _seen(viewings: pa.Table) -> pa.Table:
    """Each user's distinct videos."""
    pairs = np.unique(np.stack([viewings["user_id"].to_numpy(), viewings["video_id"].to_numpy()]), axis=1)
    users, starts = np.unique(pairs[0], return_index=True)
    offsets = pa.array(np.append(starts, pairs.shape[1]), pa.int64())
    return pa.table({"user_id": users, "video_ids": pa.LargeListArray.from_arrays(offsets, pa.array(pairs[1]))})


def _write(path: pathlib.Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())


class EntityStore:
    """The store of one export.

    Args:
        folder: `serving/store/N`.

    Attributes:
        video_ids: [videos] int64, increasing.

    Raises:
        InputError: if it is not there.
    """

    def __init__(self, folder: pathlib.Path):
        if not (folder / "users.arrow").exists():
            raise InputError(f"{folder}: no store there; run recsys-tft export first.")
        self._users, self._videos, self._seen = (_read(folder / f"{n}.arrow") for n in ("users", "videos", "seen"))
        self._user_ids, self._seen_ids = (table["user_id"].to_numpy() for table in (self._users, self._seen))
        self.video_ids = self._videos["video_id"].to_numpy()

    def user(self, user_id: int | None) -> pa.Table:
        """The user's row; no row for an unknown user."""
        row = self._position(self._user_ids, user_id)
        return self._users.slice(max(row, 0), int(row >= 0))

    def knows(self, user_id: int | None) -> bool:
        """Whether the user has a row."""
        return self._position(self._user_ids, user_id) >= 0

    def seen(self, user_id: int | None) -> np.ndarray:
        """[n] int64 videos that the user has opened, or does not want by a negative signal."""
        row = self._position(self._seen_ids, user_id)
        return self._seen["video_ids"][row].values.to_numpy() if row >= 0 else np.zeros(0, np.int64)

    def videos(self, video_ids: np.ndarray) -> pa.Table:
        """The rows of [n] known videos, in this order."""
        return self._videos.take(pa.array(find_sorted(self.video_ids, video_ids)))

    def countries(self) -> list[str]:
        """The countries that users have."""
        found = pc.unique(self._users[COUNTRY]) if COUNTRY in self._users.column_names else pa.array([])
        return [country.decode(errors="replace") for country in found.drop_null().to_pylist()]

    def categories(self, video_ids: pa.ListArray) -> pa.ListArray:
        """The categories of lists of videos, in this order; null of a video that is unknown or has none."""
        ids = pc.fill_null(video_ids.flatten(), EMPTY_IDS).to_numpy()
        found = take_or_null(self._videos["category"], find_sorted(self.video_ids, ids)).combine_chunks()
        sizes = pc.fill_null(pc.list_value_length(video_ids), 0).to_numpy()
        return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(sizes)), pa.int32()), found)

    @staticmethod
    def _position(ids: np.ndarray, user_id: int | None) -> int:
        return -1 if user_id is None else int(find_sorted(ids, np.array([user_id]))[0])


def _read(path: pathlib.Path) -> pa.Table:
    with readable(path, EXPORT_AGAIN), pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all().combine_chunks()
        table.validate()
        for key in _HELD[path.name]:
            table.schema.field(key)
        return table
