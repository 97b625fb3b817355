"""The point-in-time context of users at any moment, from a state and the events since, by the main job's rules."""

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
    """Users at any moments from `before.until` on.

    Args:
        events: of these users, sorted as by `exposures.sort_events`: whole exposures, of which `before` has only the
            events until `before.until`.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        cuts: where exposures are cut; events before the first cut are in `before`.
        settings: of the run.
        before: the state of these users.

    Attributes:
        steps: of outcomes.STEP_SCHEMA, of all exposures.
        begun: the exposures of the events, as `outcomes.started_exposures` returns them.
    """

    def __init__(
        self, events: pa.Table, users: pa.Table, videos: VideoLookup, cuts: Cuts, settings: Settings, before: Carried
    ):
        labelled, became, _, _ = examples.weighted_exposures(events, videos, cuts, settings, before)
        new_steps = outcomes.step_table(became, before.until)
        self.steps, self.begun = (
            pa.concat_tables([before.steps, new_steps]),
            outcomes.started_exposures(new_steps, before.until),
        )
        labelled = labelled.filter(pa.array(labelled["split"].to_numpy() > 0))
        self._keys, self._positives = labelled.select([*KEY, "label"]), examples.positives_of(labelled, before)
        self._events, self._users, self._videos = events, users, videos
        self._settings, self._before = settings, before

    @property
    def nbytes(self) -> int:
        """Bytes of the tables that it keeps."""
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
        """The recent.USER_COLUMNS of `at`, which change with time alone; empty if they are turned off."""
        return recent_counts(self._events, _moments(users, times), self._settings, self._before)

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """[n] int64 users and [n] int64 videos that they opened or gave a negative signal, sorted by both."""
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
        """The state of the users at a moment after all events."""
        nobody = np.zeros(0, np.int64)  # is fitted on
        period = Period(self._events, self._keys, self._positives, self.steps, nobody, self._before, None)
        return period.carry(self._videos, until, self._settings)

    def last(self, users: np.ndarray) -> np.ndarray:
        """[n] int64: the time of each user's last change, including the delay of counters.

        Args:
            users: [n] increasing ids.
        """
        before, latest = self._before, np.full(len(users), ALWAYS)
        dated = ((rows, "time") for rows in (before.viewed, before.counts, self.steps))
        for table, name in ((self._events, "interaction_time"), (before.positives, "since"), *dated):
            np.maximum.at(latest, find_sorted(users, table["user_id"].to_numpy()), table[name].to_numpy())
        return latest + self._settings.counters.delay_microseconds


def _moments(users: np.ndarray, times: np.ndarray) -> pa.Table:
    return pa.table({"user_id": users, "interaction_time": times})
