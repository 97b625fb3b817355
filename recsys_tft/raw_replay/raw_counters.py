"""Videos at a moment, from raw tables in memory, with the same counts as in the main job."""

import dataclasses

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.point_in_time import counters, recent, video_counts
from recsys_tft.raw_replay import raw_periods
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.tables import versions
from recsys_tft.time_lookups import rows_at


@dataclasses.dataclass(frozen=True)
class DatedVideos:
    """Videos whose attributes and counts depend on the time.

    Attributes:
        videos: the raw rows by increasing `video_id`, or versions of them; with the counters of the training split, if
            these are counted, and the time when each was first seen, if recent counts are enabled.
        counts: versions of the counters, of recent counts, or of both, as `counters.versions`; None if nothing is
            counted.
    """

    videos: pa.Table
    counts: pa.Table | None

    @property
    def latest(self) -> pa.Table:
        """The latest row of each video."""
        return versions.latest(self.videos, "video_id")

    @property
    def uncounted(self) -> "DatedVideos":
        """The same without counts."""
        return DatedVideos(self.videos, None)

    def rows_at(self, video_ids: np.ndarray, times: np.ndarray) -> np.ndarray:
        """[n] int64: for an exposure of each known video at each time, the number of its row for `take`."""
        own = rows_at(self.videos, "video_id", video_ids, times)
        if self.counts is None:
            return own
        return own * len(self.counts) + rows_at(self.counts, "video_id", video_ids, times)

    def take(self, rows: np.ndarray) -> pa.Table:
        """The raw rows of videos with their counts, by [n] `rows_at`."""
        if self.counts is None:
            return self.videos.take(pa.array(rows))
        own, counted = np.divmod(rows, len(self.counts))
        return _with_counts(self.videos.take(pa.array(own)), self.counts.take(pa.array(counted)))

    def latest_with_counts_at(self, moment: int) -> pa.Table:
        """The latest row of each video, with its counts at a moment."""
        if self.counts is None:
            return self.latest
        ids = self.latest["video_id"].to_numpy()
        rows = rows_at(self.counts, "video_id", ids, np.full(len(ids), moment))
        return _with_counts(self.latest, self.counts.take(pa.array(rows)))


def _with_counts(videos: pa.Table, counts: pa.Table) -> pa.Table:
    columns = dict(zip(videos.column_names, videos.columns, strict=True))
    return pa.table(columns | {name: counts[name] for name in counts.column_names[2:]})


def dated_videos(raw: RawRows, cuts: Cuts | None, settings: Settings) -> DatedVideos:
    """The videos with their counters and recent counts, if the run has them.

    Args:
        raw: the raw tables.
        cuts: the ends of the run's splits.
        settings: of the run.
    """
    counted = bool(raw.counted)
    if not video_counts.are_counted(settings, counted):
        return DatedVideos(raw.videos, None)
    changes = raw_periods.changes(raw, cuts, settings, counted)
    totals, ids = video_counts.values(settings, counted, training=True), np.unique(raw.videos["video_id"].to_numpy())
    sums = counters.sums(counters.in_training(changes), totals)
    videos = counters.with_totals(raw.videos, [sums], raw.counted, totals)
    if settings.recent.enabled:
        videos = recent.with_first_seen(videos, recent.first_seen(raw.events))
        changes = recent.changes(changes, settings.recent)
    return DatedVideos(
        videos, counters.versions(ids, changes, settings.counters, video_counts.values(settings, counted))
    )
