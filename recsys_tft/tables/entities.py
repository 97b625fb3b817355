"""Users, videos and channels: one row per key, or one per version of a key."""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids
from recsys_tft.columns import KEYS, UPDATED, IdKind
from recsys_tft.missing import nulled
from recsys_tft.tables import versions
from recsys_tft.tables.raw_tables import ROW
from recsys_tft.tables.video_groups import Groups, codes
from recsys_tft.time_lookups import SINCE, are_among, begins, find_sorted, is_versioned, rows_at, take_or_null


def drop_duplicates(rows: pa.Table, key: str) -> tuple[pa.Table, pa.Table]:
    """(first row of each key, or of each key and UPDATED, in this order, as versions; the other rows)."""
    keys = [name for name in (key, UPDATED) if name in rows.column_names]
    rows = rows.sort_by([(name, "ascending") for name in (*keys, ROW)])
    first = np.zeros(len(rows), bool)
    if ids.GIVEN + key in rows.column_names:
        given, codes = rows[ids.GIVEN + key], rows[key].to_numpy()
        same = pa.array(np.flatnonzero(codes[1:] == codes[:-1]))
        ids.check_same(key, given.take(same), given.slice(1).take(same))
    first[begins(*(rows[name].to_numpy() for name in keys))] = True
    return versions.of_rows(rows.filter(pa.array(first)), key), rows.filter(pa.array(~first))


def repeated_reason(rows: pa.Table, key: str) -> str:
    """The reasons why the other rows that `drop_duplicates` gives are unusable."""
    what = f"{key} with this {UPDATED}" if UPDATED in rows.column_names else key
    return f"{what} occurs in an earlier row"


def with_earlier(rows: pa.Table, earlier: pa.Table, key: str) -> pa.Table:
    """Rows of a table, and those of an earlier one of keys, or of keys and UPDATED, that it does not have.

    Args:
        rows: with ROW.
        earlier: of the same columns, without ROW, which becomes -1.
        key: the name of their key.
    """
    keys = [name for name in (key, UPDATED) if name in rows.column_names]
    known, wanted = ([table[name].to_numpy() for name in keys] for table in (rows, earlier))
    is_there = are_among(known, wanted) if UPDATED in keys else np.isin(wanted[0], known[0])
    given = ids.GIVEN + key
    if given in rows.column_names:
        ids.check_same(key, earlier[given], rows[given].take(pc.index_in(earlier[key], rows[key].combine_chunks())))
    kept = earlier.filter(pa.array(~is_there))
    kept = kept.append_column(ROW, pa.array(np.full(len(kept), -1)))
    return pa.concat_tables([rows, kept.select(rows.column_names)]).combine_chunks()


def known_durations(videos: pa.Table) -> tuple[pa.Table, int]:
    """The videos with null where `video_duration` is 0, and how many of their rows are so."""
    durations = videos["video_duration"]
    known = nulled(durations, zero_is_missing=True)
    place = videos.column_names.index("video_duration")
    return videos.set_column(place, "video_duration", known), known.null_count - durations.null_count


def add_channels(videos: pa.Table, channels: pa.Table) -> pa.Table:
    """The videos with the columns of their channels, the keys apart; nulls for a channel that is not there.

    Where channels have versions, so have the videos: one begins whenever a video or its channel changes.

    Args:
        videos: with `channel_id`, by increasing `video_id`, or versions of them.
        channels: by increasing `channel_id`, or versions of them.
    """
    channel, has_channel = _channels_of(videos, channels)
    if is_versioned(channels):
        begun = videos if is_versioned(videos) else versions.dated(videos, np.full(len(videos), versions.ALWAYS))
        own, rows, since = versions.together(begun, "video_id", channels, "channel_id", channel, has_channel)
        videos = versions.dated(begun.take(pa.array(own)), since)
    else:
        rows = np.where(has_channel, find_sorted(channels["channel_id"].to_numpy(), channel), -1)
    for name in channels.column_names:
        if name not in (*ids.beside([KEYS["channels"]], channels), UPDATED, SINCE, ROW):
            videos = videos.append_column(name, take_or_null(channels[name], rows))
    return videos


def _channels_of(videos: pa.Table, channels: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """[n] int64 the channel of each video, and [n] bool whether it is known."""
    wanted = videos["channel_id"]
    codes = pc.fill_null(wanted, 0).to_numpy()
    found = np.where(wanted.is_valid().to_numpy(), find_sorted(channels["channel_id"].to_numpy(), codes), -1)
    given = ids.GIVEN + "channel_id"
    if given in videos.column_names:
        ids.check_same("channel_id", videos[given], take_or_null(channels[given], found))
    return codes, found >= 0


_GIVEN = f"{ids.GIVEN}video_id"
_CHANNEL_UPDATED = f"channel_{UPDATED}"  # since when the channel of a video has its first version


@dataclasses.dataclass(frozen=True)
class VideoLookup:
    """Facts about every video for labels and history; small enough for each worker to hold (about 20 bytes each,
    and ids that are text).

    Attributes:
        rows: `video_id`, `video_duration`, `category` and the columns by which exposures are grouped, of all usable
            videos, by increasing id; or versions of them.
        kind: of their ids.
    """

    rows: pa.Table
    kind: IdKind = IdKind.AUTO

    @classmethod
    def of(
        cls, videos: pa.Table, channels: pa.Table, kind: IdKind = IdKind.AUTO, groups: Iterable[str] = ()
    ) -> "VideoLookup":
        """From usable videos, before their channels' columns are added; versions that differ elsewhere are left out.

        Args:
            videos: usable ones.
            channels: usable ones.
            kind: of the ids of videos.
            groups: the columns by which exposures are grouped.
        """
        dated = [name for name in (SINCE, UPDATED) if name in videos.column_names]
        rows = videos.select([*ids.beside(["video_id"], videos), *dated, *cls.told(groups)])
        if UPDATED in channels.column_names:
            channel, known = _channels_of(videos, channels)
            first = np.where(known, find_sorted(channels["channel_id"].to_numpy(), channel), -1)
            rows = rows.append_column(_CHANNEL_UPDATED, take_or_null(channels[UPDATED], first))
        told = [name for name in rows.column_names if name not in dated and not name.startswith(ids.GIVEN)]
        return cls(rows.take(pa.array(begins(*(codes(rows[name]) for name in told)))) if dated else rows, kind)

    @staticmethod
    def told(groups: Iterable[str]) -> list[str]:
        """The columns that are told of videos, besides their ids, where exposures are grouped by some."""
        return list(dict.fromkeys(["video_duration", "category", *groups]))

    def groups(self, column: str) -> Groups:
        """By the values of a column."""
        if column not in self._groups:
            self._groups[column] = Groups.of(self.rows[column])
        return self._groups[column]

    @functools.cached_property
    def _groups(self) -> dict[str, Groups]:
        return {}

    @property
    def is_versioned(self) -> bool:
        """Whether a video may be another one later."""
        return is_versioned(self.rows)

    def position(self, video_ids: np.ndarray, times: np.ndarray) -> np.ndarray:
        """[m] int64: the row of each video as of each time, -1 for one that is unknown."""
        return rows_at(self.rows, "video_id", video_ids, times)

    @property
    def has_text_ids(self) -> bool:
        """Whether `video_id` are codes of ids that are text."""
        return _GIVEN in self.rows.column_names

    def order(self, video_ids: np.ndarray) -> np.ndarray:
        """[m] int64 numbers of known videos that are in the order of their ids; strings are compared by their bytes."""
        if not self.has_text_ids:
            return video_ids
        return self._ranks[find_sorted(self.rows["video_id"].to_numpy(), video_ids)]

    @functools.cached_property
    def _ranks(self) -> np.ndarray:
        """[n] int64: where the id of each row stands among all."""
        return ids.ranks(self.rows[_GIVEN], self.kind)

    def given(self, video_ids: np.ndarray) -> pa.Array | None:
        """[m] binary ids that these codes stand for, null of unknown videos; None where they are their own."""
        if not self.has_text_ids:
            return None
        found = find_sorted(self.rows["video_id"].to_numpy(), video_ids)
        return take_or_null(self.rows[_GIVEN], found).combine_chunks()

    def duration(self, positions: np.ndarray) -> np.ndarray:
        """[m] float32 seconds, NaN where missing."""
        return pc.fill_null(self.rows["video_duration"].take(pa.array(positions)), float("nan")).to_numpy()

    def category(self, positions: np.ndarray) -> pa.ChunkedArray:
        """[m] binary; null for position -1."""
        return take_or_null(self.rows["category"], positions)

    def early(self, video_ids: np.ndarray, times: np.ndarray) -> dict[str, int]:
        """The number of [m] times before a known video's first version, by table with versions."""
        positions = self.position(video_ids, times)
        names = {"videos": UPDATED, "channels": _CHANNEL_UPDATED}
        known = {table: name for table, name in names.items() if name in self.rows.column_names}
        return {table: early(self.rows[name], positions, times) for table, name in known.items()}


def early(updated: pa.ChunkedArray, rows: np.ndarray, times: np.ndarray) -> int:
    """The number of [m] times before their version, which is a first one, as others would not be taken."""
    return int((pc.fill_null(updated, versions.ALWAYS).to_numpy()[rows] >= times).sum())
