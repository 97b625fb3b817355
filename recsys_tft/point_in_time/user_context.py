"""The point-in-time context of users at exposures, besides the history: the last category, and earlier activity."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import time_lookups
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import context_columns
from recsys_tft.labelling.exposures import KEY
from recsys_tft.point_in_time import history, outcomes, recent
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.event_signals import is_viewing
from recsys_tft.time_lookups import rows_at, take_or_null

_CATEGORY = "previously_watched_category"
COUNTED_VIDEO = "counted_video_id"  # null for an exposure that is not in the co-occurrence counts


class UserContext:
    """The context of the users of [m] exposures at their times.

    Args:
        exposures: by user, time and video, with all other columns.
        events: of their users, sorted as by `exposures.sort_events`.
        positives: of their users.
        steps: of outcomes.STEP_SCHEMA, of their users.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        settings: of the run.
        before: the state before the events.
    """

    def __init__(
        self,
        exposures: pa.Table,
        events: pa.Table,
        positives: history.Positives,
        steps: pa.Table,
        users: pa.Table,
        videos: VideoLookup,
        settings: Settings,
        before: Carried | None,
    ):
        self._exposures, self._users, self._videos = exposures, users, videos
        user, time = (exposures[name].to_numpy() for name in ("user_id", "interaction_time"))
        self._before = (*KEY, *(column.name for column in context_columns(settings)))
        self._viewed, self._has_viewed = _last_viewed(events, user, time, videos, settings, before)
        length = settings.history.length
        self._histories = history.Histories(positives, users, videos, user, time, length) if length else None
        self._counts = recent_counts(events, exposures, settings, before) | _outcomes(steps, exposures, settings)
        self._counts_pairs = settings.cooccurrence.enabled

    def of_parts(self, parts: Iterable[np.ndarray]) -> Iterator[pa.Table]:
        """The exposures in each part, with their context.

        Args:
            parts: row numbers, as `history.Histories.of_parts` takes them.
        """
        parts, of_histories = itertools.tee(parts)
        histories = self._histories.of_parts(of_histories) if self._histories else itertools.repeat({})
        yield from map(self._of, parts, histories)

    def at_once(self) -> pa.Table:
        """The context of all exposures, which need only `user_id` and `interaction_time`."""
        part = np.arange(len(self._exposures))
        histories = next(self._histories.of_parts([part])) if self._histories else {}
        return pa.table({**self._category(self._exposures, part), **histories, **self._counts})

    def _of(self, part: np.ndarray, histories: dict[str, pa.ChunkedArray]) -> pa.Table:
        exposures = self._exposures.take(pa.array(part))
        columns = dict(zip(exposures.column_names, exposures.columns, strict=True))
        columns["label"] = columns["label"].cast(pa.int64())
        before = {name: columns.pop(name) for name in self._before}
        counts = {name: values[part] for name, values in self._counts.items()}
        counted = _counted(exposures) if self._counts_pairs else {}
        return pa.table({**before, **self._category(exposures, part), **columns, **histories, **counts, **counted})

    def _category(self, exposures: pa.Table, part: np.ndarray) -> dict[str, pa.ChunkedArray]:
        """Category of the user's latest viewing before each exposure, or else of the users table, at that time."""
        user, moment = (exposures[name].to_numpy() for name in ("user_id", "interaction_time"))
        has_viewed = self._has_viewed[part]
        positions = np.where(has_viewed, self._videos.position(self._viewed[part], moment), -1)
        stored = take_or_null(self._users[_CATEGORY], rows_at(self._users, "user_id", user, moment))
        return {_CATEGORY: pc.if_else(pa.array(has_viewed), self._videos.category(positions), stored)}


def _last_viewed(
    events: pa.Table,
    users: np.ndarray,
    times: np.ndarray,
    videos: VideoLookup,
    settings: Settings,
    before: Carried | None,
) -> tuple[np.ndarray, np.ndarray]:
    """[m] int64: the video of each user's latest viewing strictly before each time; [m] bool: whether there is one."""
    viewing = is_viewing(events, settings.table.bits)
    user, video, time = (events[name].to_numpy()[viewing] for name in ("user_id", "video_id", "interaction_time"))
    if before:
        earlier = (column.to_numpy() for column in before.viewed.columns)
        user, video, time = map(np.concatenate, zip((user, video, time), earlier, strict=True))
    last = time_lookups.last_before(user, time, users, times, tie=videos.order(video))
    return (video[last] if len(video) else last), last >= 0


def recent_counts(
    events: pa.Table, exposures: pa.Table, settings: Settings, before: Carried | None
) -> dict[str, np.ndarray]:
    """recent.USER_COLUMNS as a feature store would serve them; empty if they are turned off."""
    if not settings.recent.enabled:
        return {}
    users, times = (exposures[name].to_numpy() for name in ("user_id", "interaction_time"))
    counts = recent.counts_of(events, settings, before.until if before else None)
    if before:
        counts = pa.concat_tables([before.counts, counts])
    return recent.user_counts(counts, users, times - settings.counters.delay_microseconds)


def _outcomes(steps: pa.Table, exposures: pa.Table, settings: Settings) -> dict[str, np.ndarray]:
    """outcomes.USER_COLUMNS as a feature store would serve them; empty if they are turned off."""
    if not settings.positive_rates.enabled:
        return {}
    users, times = (exposures[name].to_numpy() for name in ("user_id", "interaction_time"))
    return outcomes.user_counts(steps, users, times - settings.counters.delay_microseconds)


def _counted(exposures: pa.Table) -> dict[str, pa.Array]:
    """The column COUNTED_VIDEO: the videos of the training split's positives."""
    counts = exposures["label"].to_numpy() & (exposures["split"].to_numpy() == 0)
    return {COUNTED_VIDEO: pa.array(exposures["video_id"].to_numpy(), mask=~counts)}
