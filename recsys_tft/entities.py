"""Users, videos and channels: one row per key."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.raw_tables import ROW


def drop_duplicates(rows: pa.Table, key: str) -> tuple[pa.Table, pa.Table]:
    """(first row of each key, in order of the key; the other rows)."""
    rows = rows.sort_by([(key, "ascending"), (ROW, "ascending")])
    first = np.concatenate([[True], np.diff(rows[key].to_numpy()) != 0])[: len(rows)]
    return rows.filter(pa.array(first)), rows.filter(pa.array(~first))


def find_sorted(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[m] int64: the position of each wanted key in the increasing [n] keys, -1 if it is not there."""
    if not len(keys):
        return np.full(len(wanted), -1)
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, found, -1)


def take_or_null(values: pa.ChunkedArray, positions: np.ndarray) -> pa.ChunkedArray:
    """values at [m] positions; null where the position is -1."""
    return values.take(pa.array(positions, mask=positions < 0))


def add_subscribers(videos: pa.Table, channels: pa.Table) -> pa.Table:
    """The videos with `channel_subscriber_count` of their channel; null for a channel that is not there.

    Args:
        videos: with `channel_id`.
        channels: by increasing `channel_id`.
    """
    wanted = videos["channel_id"]
    positions = find_sorted(channels["channel_id"].to_numpy(), pc.fill_null(wanted, 0).to_numpy())
    positions[wanted.is_null().to_numpy()] = -1
    return videos.append_column(
        "channel_subscriber_count", take_or_null(channels["channel_subscriber_count"], positions)
    )


@dataclasses.dataclass(frozen=True)
class VideoLookup:
    """What labels and history need to know of every video; small enough for each worker to hold (about 20 bytes each).

    Attributes:
        rows: `video_id`, `video_duration` and `category` of all usable videos, by increasing id.
    """

    rows: pa.Table

    def position(self, video_ids: np.ndarray) -> np.ndarray:
        """[m] int64: the row of each video, -1 for one that is unknown."""
        return find_sorted(self.rows["video_id"].to_numpy(), video_ids)

    def duration(self, positions: np.ndarray) -> np.ndarray:
        """[m] float32 seconds, NaN where missing."""
        durations = pc.fill_null(self.rows["video_duration"], float("nan")).to_numpy()
        return durations[positions]

    def category(self, positions: np.ndarray) -> pa.ChunkedArray:
        """[m] binary; null for position -1."""
        return take_or_null(self.rows["category"], positions)
