"""What is known of users at any moment: what was known earlier, and their events since, by the main job's rules."""

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import examples
from recsys_tft.labelling.exposures import KEY
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.point_in_time import outcomes
from recsys_tft.point_in_time.carried import Carried, Period, is_seen
from recsys_tft.point_in_time.user_context import UserContext, recent_counts
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.versions import ALWAYS
from recsys_tft.time_lookups import begins, find_sorted


class KnownUsers:
    """Users as of any moments, of which none is before the first one that all of `before` is known at.

    Args:
        events: of these users, sorted as by `exposures.sort_events`: whole exposures, of which `before` holds nothing
            but what was until `before.until`.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        cuts: where exposures are cut; what is before the first one is in `before`.
        settings: of the run.
        before: what is known of these users besides.

    Attributes:
        steps: of outcomes.STEP_SCHEMA, of all exposures.
        begun: the exposures of the events, as `outcomes.begun` returns them.
    """

    def __init__(
        self, events: pa.Table, users: pa.Table, videos: VideoLookup, cuts: Cuts, settings: Settings, before: Carried
    ):
        found, became, _, _ = examples.weighted_exposures(events, videos, cuts, settings, before)
        own = outcomes.step_table(became, before.until)
        self.steps, self.begun = pa.concat_tables([before.steps, own]), outcomes.begun(own, before.until)
        found = found.filter(pa.array(found["split"].to_numpy() > 0))
        self._keys, self._positives = found.select([*KEY, "label"]), examples.positives_of(found, before)
        self._events, self._users, self._videos = events, users, videos
        self._settings, self._before = settings, before

    @property
    def nbytes(self) -> int:
        """How many bytes of tables it holds."""
        return sum(table.nbytes for table in (self._events, self.steps, *self._before.tables.values()))

    def at(self, users: np.ndarray, times: np.ndarray) -> pa.Table:
        """[n] rows: previously_watched_category, HISTORY, recent.USER_COLUMNS and outcomes.USER_COLUMNS.

        Args:
            users: [n] int64 ids.
            times: [n] int64.
        """
        context = UserContext(
            _moments(users, times),
            self._events,
            self._positives,
            self.steps,
            self._users,
            self._videos,
            self._settings,
            self._before,
        )
        return context.at_once()

    def recent(self, users: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
        """recent.USER_COLUMNS of `at` alone, which change as time goes by; none where they are turned off."""
        return recent_counts(self._events, _moments(users, times), self._settings, self._before)

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Users, and videos that they have opened, or do not want by a negative signal: [n] int64 each, by both."""
        pairs, events = self._before.pairs, self._events
        chosen = pairs["seen"].to_numpy(), is_seen(events, self._settings)
        user, video = (
            np.concatenate([pairs[name].to_numpy()[chosen[0]], events[name].to_numpy()[chosen[1]]])
            for name in ("user_id", "video_id")
        )
        order = np.lexsort((video, user))
        rows = order[begins(user[order], video[order])]
        return user[rows], video[rows]

    def carry(self, until: int) -> Carried:
        """What is known of the users at a moment, by which all events are over."""
        nobody = np.zeros(0, np.int64)  # is fitted on
        period = Period(self._events, self._keys, self._positives, self.steps, nobody, self._before, None)
        return period.carry(self._videos, until, self._settings)

    def last(self, users: np.ndarray) -> np.ndarray:
        """[n] int64: the last moment at which anything happened that is known, the delay of counters included.

        Args:
            users: [n] increasing ids.
        """
        before, found = self._before, np.full(len(users), ALWAYS)
        dated = ((each, "time") for each in (before.viewed, before.counts, self.steps))
        for table, name in ((self._events, "interaction_time"), (before.positives, "since"), *dated):
            np.maximum.at(found, find_sorted(users, table["user_id"].to_numpy()), table[name].to_numpy())
        return found + self._settings.counters.delay_microseconds


def _moments(users: np.ndarray, times: np.ndarray) -> pa.Table:
    return pa.table({"user_id": users, "interaction_time": times})
