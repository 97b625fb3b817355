"""What raw interactions in memory make of videos, as the main job works it out one partition at a time."""

import dataclasses

import numpy as np
import pyarrow as pa

from recsys_tft import counters, examples, recent
from recsys_tft.entities import find_sorted
from recsys_tft.raw_rows import RawRows
from recsys_tft.settings import Settings
from recsys_tft.splits import Cuts


@dataclasses.dataclass(frozen=True)
class CountedVideos:
    """Videos of which something is as of a moment: their counters, or what is recent.

    Attributes:
        videos: the raw rows by increasing `video_id`, with the counters that the training window makes, if these are
            counted; and when they were first seen, if that is asked for.
        versions: of these videos, as `counters.versions`.
        delay: microseconds until an event shows in the counters.
    """

    videos: pa.Table
    versions: pa.Table
    delay: int

    def rows_at(self, video_ids: np.ndarray, times: np.ndarray) -> np.ndarray:
        """[n] int64: which version an exposure of each known video at each time sees."""
        return counters.Timeline(self.versions).last_before(video_ids, times - self.delay)

    def take(self, rows: np.ndarray) -> pa.Table:
        """The raw rows of videos with what [n] versions hold."""
        found = self.versions.take(pa.array(rows))
        owner = find_sorted(self.videos["video_id"].to_numpy(), found["video_id"].to_numpy())
        videos = self.videos.take(pa.array(owner))
        columns = dict(zip(videos.column_names, videos.columns, strict=True))
        return pa.table(columns | {name: found[name] for name in found.column_names[2:]})


def count(raw: RawRows, cuts: Cuts | None, settings: Settings) -> CountedVideos | None:
    """The videos with their counters and what is recent; None where the videos table tells all.

    Args:
        raw: the raw tables.
        cuts: where the run's windows end.
        settings: of the run.
    """
    if not (raw.counted or settings.recent.enabled):
        return None
    windows = examples.windows_of(raw.events, cuts, settings)
    increments = counters.increments(raw.events, settings.labels.exposure_gap, windows)
    videos, ids, delay = raw.videos, raw.videos["video_id"].to_numpy(), settings.counters.delay_microseconds
    if raw.counted:
        videos = counters.with_totals(videos, counters.of_training(increments), raw.counted)
    if not settings.recent.enabled:
        return CountedVideos(videos, counters.versions(ids, increments, settings.counters), delay)
    videos = recent.with_first_seen(videos, recent.first_seen(raw.events))
    changes = recent.changes(increments, settings.recent)
    return CountedVideos(
        videos, counters.versions(ids, changes, settings.counters, recent.values(bool(raw.counted))), delay
    )
