"""`serving/store/N/`: the raw rows that a recommender asks the models about, in files that are mapped, not loaded.

    users.arrow     the latest raw columns, by increasing user_id; previously_watched_category, the history and, where
                    the run has them, recent events as of the end
    videos.arrow    the latest raw columns and those of the channel, by increasing video_id; counters as of the end,
                    where the run counts them, and recent ones with `first_seen`, where it has them; `events`: how many
                    the video has
    seen.arrow      user_id, video_ids: what the user has opened, or does not want by a negative signal

Rows whose ids are text are by increasing `code/user_id` or `code/video_id`: see ids.py.

The end is the first moment after the last event: what is told of it is what a training row at that moment would have.
In production these are a user service and a catalogue service; here they stand in for both.
"""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids, point_in_time
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
_CODE = "code/"  # before the name of a key that is text: by what its rows are in order
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
    _write(folder / "users.arrow", _with_recent(rows, users, settings), "user_id")
    codes = videos["video_id"].to_numpy()
    counts = np.bincount(find_sorted(codes, rows.events["video_id"].to_numpy()), minlength=len(codes))
    _write(folder / "videos.arrow", videos.append_column(EVENTS, pa.array(counts, pa.int64())), "video_id")
    refused = labels.is_negative(rows.events["signals"].to_numpy(), settings)
    _write(folder / "seen.arrow", _seen(rows, rows.events.filter(pa.array(viewing | refused))), "user_id")


def current_videos(rows: RawRows, videos: DatedVideos) -> pa.Table:
    """The latest raw rows of all videos, with what is counted of them as of the end."""
    return _undated(videos.latest_with_counts_at(_end(rows)))


def _undated(table: pa.Table) -> pa.Table:
    return table.select([name for name in table.column_names if name not in (UPDATED, point_in_time.SINCE)])


def _latest_lookup(rows: RawRows) -> VideoLookup:
    """What is told of watched videos, as they are at last."""
    latest = rows.latest_videos
    return VideoLookup(
        latest.select([*ids.beside(["video_id"], latest), "video_duration", "category"]), rows.lookup.kind
    )


def _end(rows: RawRows) -> int:
    """The first moment after the last event."""
    return int(rows.events["interaction_time"].to_numpy().max(initial=0)) + 1


def _with_history(rows: RawRows, users: pa.Table, cuts: Cuts | None, settings: Settings) -> pa.Table:
    """The users with the videos that they were positive on last, unless the history is turned off."""
    if not settings.history.length:
        return users
    positives = examples.positives(rows.events, rows.lookup, cuts, settings)
    videos, user_ids = _latest_lookup(rows), users["user_id"].to_numpy()
    times, length = np.full(len(user_ids), _end(rows)), settings.history.length
    found, known = history.histories(positives, users, videos, user_ids, times, length), users
    for name, values in found.items():
        users = users.set_column(users.column_names.index(name), name, values)
    given = ids.GIVEN + history.COLUMNS[0]
    if given in users.column_names:
        shown = examples.with_given_ids(users, known, videos)[history.COLUMNS[0]]
        users = users.set_column(users.column_names.index(given), given, shown.cast(pa.list_(pa.binary())))
    return users


def _with_recent(rows: RawRows, users: pa.Table, settings: Settings) -> pa.Table:
    """The users with what they did lately, where the run has that."""
    if not settings.recent.enabled:
        return users
    user_ids = users["user_id"].to_numpy()
    moments = np.full(len(user_ids), _end(rows) - settings.counters.delay_microseconds)
    for name, values in recent.of_users(rows.events, user_ids, moments, settings).items():
        users = users.append_column(name, pa.array(values))
    return users


def _with_last_category(rows: RawRows, viewings: pa.Table) -> pa.Table:
    """The users with the category that they watched last, where they have watched any video."""
    name = "previously_watched_category"
    user, video, time = (viewings[key].to_numpy() for key in ("user_id", "video_id", "interaction_time"))
    latest = _undated(rows.latest_users)
    users = latest["user_id"].to_numpy()
    never = np.full(len(users), np.iinfo(np.int64).max)
    videos = _latest_lookup(rows)
    last = point_in_time.last_before(user, time, users, never, tie=videos.order(video))
    positions = np.where(last >= 0, videos.position(video, time)[last], -1) if len(video) else last
    known = pc.if_else(pa.array(last >= 0), videos.category(positions), latest[name])
    return latest.set_column(latest.column_names.index(name), name, known)


def _seen(rows: RawRows, viewings: pa.Table) -> pa.Table:
    """Each user's distinct videos."""
    pairs = np.unique(np.stack([viewings["user_id"].to_numpy(), viewings["video_id"].to_numpy()]), axis=1)
    users, starts = np.unique(pairs[0], return_index=True)
    offsets = pa.array(np.append(starts, pairs.shape[1]), pa.int64())
    seen = {"user_id": users, "video_ids": pa.LargeListArray.from_arrays(offsets, _videos_of(rows, pairs[1]))}
    given = ids.GIVEN + "user_id"
    if given in rows.users.column_names:
        seen[given] = rows.users[given].take(pa.array(find_sorted(rows.users["user_id"].to_numpy(), users)))
    return pa.table(seen)


def _videos_of(rows: RawRows, codes: np.ndarray) -> pa.Array:
    """[n] ids of known videos as the tables have them; those that are text by a dictionary, as many are the same."""
    distinct = point_in_time.distinct(codes)
    given = rows.lookup.given(distinct)
    if given is None:
        return pa.array(codes)
    return pa.DictionaryArray.from_arrays(pa.array(np.searchsorted(distinct, codes), pa.int32()), given)


def _write(path: pathlib.Path, table: pa.Table, key: str) -> None:
    if ids.GIVEN + key in table.column_names:
        table = table.append_column(_CODE + key, table[key])
    table = ids.shown(table)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())


class _Rows:
    """Rows that are looked up by id.

    Args:
        path: of the file.
        key: the name of the id.

    Attributes:
        table: the rows.
        ids: of the rows, [n] int64 or binary.
    """

    def __init__(self, path: pathlib.Path, key: str):
        table, code = _read(path), _CODE + key
        self._codes = table[code if code in table.column_names else key].to_numpy()
        self.table = table.drop_columns([code] if code in table.column_names else [])
        self.ids = table[key].combine_chunks()

    def positions(self, wanted: pa.Array) -> np.ndarray:
        """[n] int64: the rows of [n] ids; -1 of one that is null or not there."""
        present = wanted.is_valid().to_numpy(zero_copy_only=False)
        found = find_sorted(self._codes, pc.fill_null(ids.codes_of(wanted), EMPTY_IDS).to_numpy())
        if not pa.types.is_integer(self.ids.type):  # ids of one code may be others
            same = pc.equal(self.ids.take(pa.array(found, mask=found < 0)), wanted)
            present &= pc.fill_null(same, False).to_numpy(zero_copy_only=False)
        return np.where(present, found, -1)

    def position(self, wanted: int | str | bytes | None) -> int:
        """The row of one id, -1 without it."""
        return int(self.positions(pa.array([wanted], self.ids.type))[0])


class EntityStore:
    """The store of one export.

    Ids are as the tables have them: integers, or the bytes of a string or UUID, for which a str may stand too.

    Args:
        folder: `serving/store/N`.

    Raises:
        InputError: if it is not there.
    """

    def __init__(self, folder: pathlib.Path):
        if not (folder / "users.arrow").exists():
            raise InputError(f"{folder}: no store there; run recsys-tft export first.")
        self._users, self._seen = (_Rows(folder / f"{name}.arrow", "user_id") for name in ("users", "seen"))
        self._videos = _Rows(folder / "videos.arrow", "video_id")

    @functools.cached_property
    def video_ids(self) -> np.ndarray:
        """[videos] of all, in the order of the rows: int64, increasing; or bytes."""
        return self._videos.ids.to_numpy(zero_copy_only=False)

    def user(self, user_id: int | str | bytes | None) -> pa.Table:
        """The user's row; no row for an unknown user."""
        row = self._users.position(user_id)
        return self._users.table.slice(max(row, 0), int(row >= 0))

    def knows(self, user_id: int | str | bytes | None) -> bool:
        """Whether the user has a row."""
        return self._users.position(user_id) >= 0

    def seen(self, user_id: int | str | bytes | None) -> pa.Array:
        """[n] videos that the user has opened, or does not want by a negative signal."""
        row = self._seen.position(user_id)
        found = self._seen.table["video_ids"][row].values if row >= 0 else pa.nulls(0, self._videos.ids.type)
        return found.dictionary_decode() if pa.types.is_dictionary(found.type) else found

    def videos(self, video_ids: pa.Array | np.ndarray | Sequence[int | str | bytes]) -> pa.Table:
        """The rows of [n] videos, in this order.

        Raises:
            InputError: if one is not known.
        """
        wanted = pa.array(video_ids, self._videos.ids.type)
        rows = self._videos.positions(wanted)
        if (rows < 0).any():
            raise InputError(f"The export has no video {wanted[int(np.argmin(rows))].as_py()!r}.")
        return self._videos.table.take(pa.array(rows))

    def numbers(self, video_ids: pa.Array) -> np.ndarray:
        """[n] int64 by which an approximate index knows [n] known videos: their ids, or else their rows."""
        return video_ids.to_numpy() if pa.types.is_integer(video_ids.type) else self._videos.positions(video_ids)

    def numbered(self, numbers: np.ndarray) -> pa.Array:
        """The ids of [n] `numbers`."""
        found = pa.array(numbers)
        return found if pa.types.is_integer(self._videos.ids.type) else self._videos.ids.take(found)

    def countries(self) -> list[str]:
        """The countries that users have."""
        users = self._users.table
        found = pc.unique(users[COUNTRY]) if COUNTRY in users.column_names else pa.array([])
        return [country.decode(errors="replace") for country in found.drop_null().to_pylist()]

    def categories(self, video_ids: pa.ListArray) -> pa.ListArray:
        """The categories of lists of videos, in this order; null of a video that is unknown or has none."""
        rows = self._videos.positions(video_ids.flatten())
        found = take_or_null(self._videos.table["category"], rows).combine_chunks()
        sizes = pc.fill_null(pc.list_value_length(video_ids), 0).to_numpy()
        return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(sizes)), pa.int32()), found)


def _read(path: pathlib.Path) -> pa.Table:
    with readable(path, EXPORT_AGAIN), pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all().combine_chunks()
        table.validate()
        for key in _HELD[path.name]:
            table.schema.field(key)
        return table
