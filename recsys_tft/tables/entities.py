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
    """The first row of each key, or of each key and UPDATED, sorted, as versions; and the other rows."""
    keys = [name for name in (key, UPDATED) if name in rows.column_names]
    rows = rows.sort_by([(name, "ascending") for name in (*keys, ROW)])
    first = np.zeros(len(rows), bool)
    if ids.GIVEN + key in rows.column_names:
        originals, codes = rows[ids.GIVEN + key], rows[key].to_numpy()
        same = pa.array(np.flatnonzero(codes[1:] == codes[:-1]))
        ids.check_same(key, originals.take(same), originals.slice(1).take(same))
    first[begins(*(rows[name].to_numpy() for name in keys))] = True
    return versions.of_rows(rows.filter(pa.array(first)), key), rows.filter(pa.array(~first))


def repeated_reason(rows: pa.Table, key: str) -> str:
    """The reason why the other rows of `drop_duplicates` are unusable."""
    what = f"{key} with this {UPDATED}" if UPDATED in rows.column_names else key
    return f"{what} occurs in an earlier row"


def with_earlier(rows: pa.Table, earlier: pa.Table, key: str) -> pa.Table:
    """Rows of a table, and those of an earlier one whose keys, or keys and UPDATED, it does not have.

    Args:
        rows: with ROW.
        earlier: of the same columns, without ROW, which becomes -1.
        key: the name of their key.
    """
    keys = [name for name in (key, UPDATED) if name in rows.column_names]
    keys_of_rows, keys_of_earlier = ([table[name].to_numpy() for name in keys] for table in (rows, earlier))
    is_there = (
        are_among(keys_of_rows, keys_of_earlier) if UPDATED in keys else np.isin(keys_of_earlier[0], keys_of_rows[0])
    )
    given_name = ids.GIVEN + key
    if given_name in rows.column_names:
        ids.check_same(
            key, earlier[given_name], rows[given_name].take(pc.index_in(earlier[key], rows[key].combine_chunks()))
        )
    kept = earlier.filter(pa.array(~is_there))
    kept = kept.append_column(ROW, pa.array(np.full(len(kept), -1)))
    return pa.concat_tables([rows, kept.select(rows.column_names)]).combine_chunks()


def known_durations(videos: pa.Table) -> tuple[pa.Table, int]:
    """The videos with null for a `video_duration` of 0, and the number of these rows."""
    durations = videos["video_duration"]
    durations_or_null = nulled(durations, zero_is_missing=True)
    place = videos.column_names.index("video_duration")
    return videos.set_column(
        place, "video_duration", durations_or_null
    ), durations_or_null.null_count - durations.null_count


def add_channels(videos: pa.Table, channels: pa.Table) -> pa.Table:
    """The videos with the columns of their channels, without keys; null for unknown channels.

    If channels have versions, so have the videos: one begins whenever a video or its channel changes.

    Args:
        videos: with `channel_id`, by increasing `video_id`, or versions of them.
        channels: by increasing `channel_id`, or versions of them.
    """
    channel, has_channel = _channels_of(videos, channels)
    if is_versioned(channels):
        dated_videos = videos if is_versioned(videos) else versions.dated(videos, np.full(len(videos), versions.ALWAYS))
        video_rows, rows, since = versions.together(
            dated_videos, "video_id", channels, "channel_id", channel, has_channel
        )
        videos = versions.dated(dated_videos.take(pa.array(video_rows)), since)
    else:
        rows = np.where(has_channel, find_sorted(channels["channel_id"].to_numpy(), channel), -1)
    for name in channels.column_names:
        if name not in (*ids.beside([KEYS["channels"]], channels), UPDATED, SINCE, ROW):
            videos = videos.append_column(name, take_or_null(channels[name], rows))
    return videos


def _channels_of(videos: pa.Table, channels: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """[n] int64 the channel of each video, and [n] bool whether it is known."""
    channel_ids = videos["channel_id"]
    codes = pc.fill_null(channel_ids, 0).to_numpy()
    rows = np.where(channel_ids.is_valid().to_numpy(), find_sorted(channels["channel_id"].to_numpy(), codes), -1)
    given_name = ids.GIVEN + "channel_id"
    if given_name in videos.column_names:
        ids.check_same("channel_id", videos[given_name], take_or_null(channels[given_name], rows))
    return codes, rows >= 0


_GIVEN = f"{ids.GIVEN}video_id"
_CHANNEL_UPDATED = f"channel_{UPDATED}"  # start of the first version of a video's channel


@dataclasses.dataclass(frozen=True)
class VideoLookup:
    """Columns of all videos for labels and history; small enough for each worker (about 20 bytes per video, and text
    ids).

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
        """From usable videos, without their channels' columns; versions that differ only in other columns are dropped.

        Args:
            videos: usable ones.
            channels: usable ones.
            kind: of the ids of videos.
            groups: the columns by which exposures are grouped.
        """
        dated = [name for name in (SINCE, UPDATED) if name in videos.column_names]
        rows = videos.select([*ids.beside(["video_id"], videos), *dated, *cls.told(groups)])
        if UPDATED in channels.column_names:
            channel, is_known = _channels_of(videos, channels)
            first = np.where(is_known, find_sorted(channels["channel_id"].to_numpy(), channel), -1)
            rows = rows.append_column(_CHANNEL_UPDATED, take_or_null(channels[UPDATED], first))
        compared = [name for name in rows.column_names if name not in dated and not name.startswith(ids.GIVEN)]
        return cls(rows.take(pa.array(begins(*(codes(rows[name]) for name in compared)))) if dated else rows, kind)

    @staticmethod
    def told(groups: Iterable[str]) -> list[str]:
        """The columns of the lookup besides ids, given the columns by which exposures are grouped."""
        return list(dict.fromkeys(["video_duration", "category", *groups]))

    def groups(self, column: str) -> Groups:
        """Groups by the values of a column."""
        if column not in self._groups:
            self._groups[column] = Groups.of(self.rows[column])
        return self._groups[column]

    @functools.cached_property
    def _groups(self) -> dict[str, Groups]:
        return {}

    @property
    def is_versioned(self) -> bool:
        """Whether a video may have several versions."""
        return is_versioned(self.rows)

    def position(self, video_ids: np.ndarray, times: np.ndarray) -> np.ndarray:
        """[m] int64: the row of each video at each time, -1 if unknown."""
        return rows_at(self.rows, "video_id", video_ids, times)

    @property
    def has_text_ids(self) -> bool:
        """Whether `video_id` are codes of text ids."""
        return _GIVEN in self.rows.column_names

    def order(self, video_ids: np.ndarray) -> np.ndarray:
        """[m] int64 ranks of known videos by their ids; strings are compared by their bytes."""
        if not self.has_text_ids:
            return video_ids
        return self._ranks[find_sorted(self.rows["video_id"].to_numpy(), video_ids)]

    @functools.cached_property
    def _ranks(self) -> np.ndarray:
        """[n] int64: the rank of each row's id."""
        return ids.ranks(self.rows[_GIVEN], self.kind)

    def given(self, video_ids: np.ndarray) -> pa.Array | None:
        """[m] binary original ids of codes, null for unknown videos; None if codes are the ids."""
        if not self.has_text_ids:
            return None
        rows = find_sorted(self.rows["video_id"].to_numpy(), video_ids)
        return take_or_null(self.rows[_GIVEN], rows).combine_chunks()

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
        updated_names = {table: name for table, name in names.items() if name in self.rows.column_names}
        return {table: early(self.rows[name], positions, times) for table, name in updated_names.items()}


def early(updated: pa.ChunkedArray, rows: np.ndarray, times: np.ndarray) -> int:
    """The number of [m] times before their version, which can only be a first one."""
    return int((pc.fill_null(updated, versions.ALWAYS).to_numpy()[rows] >= times).sum())
