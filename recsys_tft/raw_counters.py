"""The counters of videos by the raw interactions in memory, as the main job counts them one partition at a time."""

import dataclasses

import numpy as np
import pyarrow as pa

from recsys_tft import counters, examples
from recsys_tft.entities import find_sorted
from recsys_tft.raw_rows import RawRows
from recsys_tft.settings import Settings
from recsys_tft.splits import Cuts


@dataclasses.dataclass(frozen=True)
class CountedVideos:
    """Videos whose counters are as of a moment.

    Attributes:
        videos: the raw rows by increasing `video_id`, with the counters that the training window makes.
        versions: of these videos, as `counters.versions`.
        delay: microseconds until an event shows in the counters.
    """

    videos: pa.Table
    versions: pa.Table
    delay: int

    def rows_at(self, video_ids: np.ndarray, times: np.ndarray) -> np.ndarray:
        """[n] int64: which version an exposure of each known video at each time sees."""
        return counters.last_before(self.versions, video_ids, times - self.delay)

    def take(self, rows: np.ndarray) -> pa.Table:
        """The raw rows of videos with the counters of [n] versions."""
        found = self.versions.take(pa.array(rows))
        owner = find_sorted(self.videos["video_id"].to_numpy(), found["video_id"].to_numpy())
        videos = self.videos.take(pa.array(owner))
        columns = dict(zip(videos.column_names, videos.columns, strict=True))
        return pa.table(columns | {name: found[name] for name in counters.COUNTERS})


def count(raw: RawRows, cuts: Cuts | None, settings: Settings) -> CountedVideos | None:
    """The videos with their counters; None where the videos table tells them.

    Args:
        raw: the raw tables.
        cuts: where the run's windows end.
        settings: of the run.
    """
    if not raw.counted:
        return None
    windows = examples.windows_of(raw.events, cuts, settings)
    increments = counters.increments(raw.events, settings.labels.exposure_gap, windows)
    videos = counters.with_totals(raw.videos, counters.of_training(increments), raw.counted)
    versions = counters.versions(videos["video_id"].to_numpy(), increments, settings.counters)
    return CountedVideos(videos, versions, settings.counters.delay_microseconds)
