"""`serving/store/N/`: the raw rows that are the models' inputs, in memory-mapped files.

    users.arrow     the latest raw columns, by increasing user_id; previously_watched_category, the history and, if the
                    run has them, recent events and outcomes of exposures at the end (tallies.py)
    videos.arrow    the latest raw columns and those of the channel, by increasing video_id; counters at the end, if the
                    run counts them, and recent ones with `first_seen`, if it has them; the number of `events`
    seen.arrow      user_id, video_ids: the videos that the user opened or gave a negative signal

Rows whose ids are text are by increasing `code/user_id` or `code/video_id` (ids.py).

The end is the first moment after the last event; values are those of a training row at that moment. In production a
user service and a catalogue service would take the place of these files.
"""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids
from recsys_tft.default_table import COUNTRY
from recsys_tft.errors import InputError, readable
from recsys_tft.recommending.catalogue import EVENTS
from recsys_tft.serving.serving_folders import EXPORT_AGAIN
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.time_lookups import find_sorted, take_or_null

CODE = "code/"  # prefix of the codes of text ids, by which rows are sorted
_HELD = {"users.arrow": ("user_id",), "videos.arrow": ("video_id", EVENTS), "seen.arrow": ("user_id", "video_ids")}


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
        table, code = _read(path), CODE + key
        self._codes = table[code if code in table.column_names else key].to_numpy()
        self.table = table.drop_columns([code] if code in table.column_names else [])
        self.ids = table[key].combine_chunks()

    def positions(self, wanted_ids: pa.Array) -> np.ndarray:
        """[n] int64: the rows of [n] ids; -1 if null or not there."""
        present = wanted_ids.is_valid().to_numpy(zero_copy_only=False)
        rows = find_sorted(self._codes, pc.fill_null(ids.codes_of(wanted_ids), EMPTY_IDS).to_numpy())
        if not pa.types.is_integer(self.ids.type):  # different ids may have the same code
            same = pc.equal(self.ids.take(pa.array(rows, mask=rows < 0)), wanted_ids)
            present &= pc.fill_null(same, False).to_numpy(zero_copy_only=False)
        return np.where(present, rows, -1)

    def position(self, wanted_id: int | str | bytes | None) -> int:
        """The row of one id, -1 if there is none."""
        return int(self.positions(pa.array([wanted_id], self.ids.type))[0])


class EntityStore:
    """The store of one export.

    Ids are as in the tables: integers, or the bytes of a string or UUID, for which a str is accepted too.

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
        """[videos] ids of all videos, in the order of the rows: increasing int64, or bytes."""
        return self._videos.ids.to_numpy(zero_copy_only=False)

    @property
    def users(self) -> pa.Table:
        """The rows of all users."""
        return self._users.table

    @property
    def all_videos(self) -> pa.Table:
        """The rows of all videos."""
        return self._videos.table

    def user(self, user_id: int | str | bytes | None) -> pa.Table:
        """The user's row; no row for an unknown user."""
        row = self._users.position(user_id)
        return self._users.table.slice(max(row, 0), int(row >= 0))

    def knows(self, user_id: int | str | bytes | None) -> bool:
        """Whether the user has a row."""
        return self._users.position(user_id) >= 0

    def seen(self, user_id: int | str | bytes | None) -> pa.Array:
        """[n] videos that the user opened or gave a negative signal."""
        row = self._seen.position(user_id)
        video_ids = self._seen.table["video_ids"][row].values if row >= 0 else pa.nulls(0, self._videos.ids.type)
        return video_ids.dictionary_decode() if pa.types.is_dictionary(video_ids.type) else video_ids

    def rows_of(self, video_ids: pa.Array | np.ndarray | Sequence[int | str | bytes]) -> np.ndarray:
        """[n] int64: the row numbers of [n] videos.

        Raises:
            InputError: if one is not known.
        """
        wanted_ids = pa.array(video_ids, self._videos.ids.type)
        rows = self._videos.positions(wanted_ids)
        if (rows < 0).any():
            raise InputError(f"The export has no video {wanted_ids[int(np.argmin(rows))].as_py()!r}.")
        return rows

    def known_rows(self, video_ids: pa.Array) -> np.ndarray:
        """[m] int64: the row numbers of those among [n] videos that have a row."""
        rows = self._videos.positions(video_ids)
        return rows[rows >= 0]

    def videos(self, video_ids: pa.Array | np.ndarray | Sequence[int | str | bytes]) -> pa.Table:
        """The rows of [n] videos, in this order.

        Raises:
            InputError: if one is not known.
        """
        return self._videos.table.take(pa.array(self.rows_of(video_ids)))

    def numbers(self, video_ids: pa.Array) -> np.ndarray:
        """[n] int64 keys of [n] known videos in an approximate index: their ids, or else their rows."""
        return video_ids.to_numpy() if pa.types.is_integer(video_ids.type) else self._videos.positions(video_ids)

    def numbered(self, numbers: np.ndarray) -> pa.Array:
        """The ids of [n] `numbers`."""
        array = pa.array(numbers)
        return array if pa.types.is_integer(self._videos.ids.type) else self._videos.ids.take(array)

    def some_users(self, most: int) -> list[int | str]:
        """The ids of some users, as in the tables."""
        return [user.decode() if isinstance(user, bytes) else user for user in self._users.ids[:most].to_pylist()]

    def usual(self, name: str, most: int) -> list[str]:
        """The most frequent texts in a column of users, the most frequent first; empty for other columns."""
        users = self._users.table
        if name not in users.column_names or not pa.types.is_binary(users.schema.field(name).type):
            return []
        counts = pc.value_counts(users[name].combine_chunks().drop_null())
        order = np.argsort(-counts.field("counts").to_numpy(), kind="stable")[:most]
        return [value.decode(errors="replace") for value in counts.field("values").take(order).to_pylist()]

    def groups(self, column: str, values: pa.ChunkedArray) -> pa.Array:
        """Replace codes of text ids in [n] values of a column of videos by original ids; null for unknown ones."""
        stored = self._videos.table[column].combine_chunks()
        if pa.types.is_list(stored.type) or stored.type == values.type:
            return values.combine_chunks()
        return stored.take(pc.index_in(values.combine_chunks(), ids.codes_of(stored)))

    def countries(self) -> list[str]:
        """The countries that users have."""
        users = self._users.table
        countries = pc.unique(users[COUNTRY]) if COUNTRY in users.column_names else pa.array([])
        return [country.decode(errors="replace") for country in countries.drop_null().to_pylist()]

    def categories(self, video_ids: pa.ListArray) -> pa.ListArray:
        """The categories of lists of videos, in this order; null for a video that is unknown or has none."""
        rows = self._videos.positions(video_ids.flatten())
        categories = take_or_null(self._videos.table["category"], rows).combine_chunks()
        sizes = pc.fill_null(pc.list_value_length(video_ids), 0).to_numpy()
        return pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(sizes)), pa.int32()), categories)


def _read(path: pathlib.Path) -> pa.Table:
    with readable(path, EXPORT_AGAIN), pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all().combine_chunks()
        table.validate()
        for key in _HELD[path.name]:
            table.schema.field(key)
        return table
