"""What is known of users at a moment, from which their later examples follow without the events before it.

Of each user that is a few numbers, and those of the videos that they saw; docs/daily.md says what is in each table.
"""

import dataclasses

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import labels
from recsys_tft.labelling.exposures import exposure_starts, sort_events
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.point_in_time import history, outcomes, recent
from recsys_tft.storage.sorting import lexsort
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.event_signals import is_viewing
from recsys_tft.time_lookups import begins, ends, find_sorted

_USER, _VIDEO = ("user_id", pa.int64()), ("video_id", pa.int64())
SCHEMAS = {
    "viewed": pa.schema([_USER, _VIDEO, ("time", pa.int64())]),
    "positives": pa.schema([_USER, _VIDEO, ("since", pa.int64())]),
    "pairs": pa.schema([_USER, _VIDEO, ("positive", pa.bool_()), ("seen", pa.bool_())]),
    "counts": recent.COUNT_SCHEMA,
    "steps": outcomes.STEP_SCHEMA,
    "fitted": pa.schema([_USER]),
}


@dataclasses.dataclass(frozen=True)
class Carried:
    """What is known of users.

    Attributes:
        until: of events strictly before this moment.
        events: those of exposures that later ones may belong to, sorted as by `exposures.sort_events`.
        viewed: the last video that each user opened.
        positives: the videos of the history of each user, and since when they are there.
        pairs: videos on which a user was positive, and that a user has seen.
        counts: of recent.COUNT_SCHEMA.
        steps: of outcomes.STEP_SCHEMA.
        fitted: the users whose values are in vocabularies, or are counted for them.
    """

    until: int
    events: pa.Table
    viewed: pa.Table
    positives: pa.Table
    pairs: pa.Table
    counts: pa.Table
    steps: pa.Table
    fitted: pa.Table

    @property
    def tables(self) -> dict[str, pa.Table]:
        """All of them by name."""
        return {"events": self.events, **{name: getattr(self, name) for name in SCHEMAS}}

    @property
    def cuts(self) -> Cuts:
        """The splits of what comes later: number 1 is all of it."""
        return self.until, None

    @property
    def positive_pairs(self) -> pa.Table:
        """user_id and video_id of pairs in which the user was positive."""
        return self.pairs.filter(self.pairs["positive"]).select(["user_id", "video_id"])

    def pairs_beside(self, exposures: pa.Table) -> pa.Table:
        """user_id, video_id and split of the pairs in which the users of some exposures were positive."""
        pairs = self.positive_pairs
        pairs = pairs.filter(pa.array(np.isin(pairs["user_id"].to_numpy(), exposures["user_id"].to_numpy())))
        return pairs.append_column("split", pa.array(np.zeros(len(pairs), np.int8)))

    def divided(self, users: np.ndarray) -> tuple["Carried", "Carried"]:
        """What is known of some users, [n] increasing int64 ids, and what is known of all others."""
        parts: tuple[dict[str, pa.Table], dict[str, pa.Table]] = ({}, {})
        for name, table in self.tables.items():
            are_among = find_sorted(users, table["user_id"].to_numpy()) >= 0
            for part, chosen in zip(parts, (are_among, ~are_among), strict=True):
                part[name] = table.filter(pa.array(chosen))
        one, other = (dataclasses.replace(self, **part) for part in parts)
        return one, other

    def beside(self, others: "Carried", settings: Settings) -> "Carried":
        """The same together with what was known of other users earlier, who have done nothing since."""
        found = {}
        for name, table in self.tables.items():
            both = pa.concat_tables([table, getattr(others, name)])
            found[name] = both.take(pa.array(np.argsort(both["user_id"].to_numpy(), kind="stable")))
        if settings.recent.enabled:
            found["counts"] = recent.folded(found["counts"], self.until - settings.counters.delay_microseconds)
        return dataclasses.replace(self, **found)

    def with_events(self, events: pa.Table, settings: Settings) -> pa.Table:
        """Later events, together with those of exposures that they may belong to."""
        return sort_events(pa.concat_tables([self.events, events]), settings) if len(self.events) else events


@dataclasses.dataclass(frozen=True)
class Period:
    """What there was until a moment, and what is known of it.

    Attributes:
        events: of whole exposures, sorted as by `exposures.sort_events`; all of them, or all after `before`.
        keys: user_id, video_id and `label` of the exposures that are after `before`.
        positives: all that histories are made of.
        steps: of outcomes.STEP_SCHEMA, of all.
        training_users: increasing ids of the users on whose values something is fitted.
        before: what was known of their users at the beginning; None: nothing.
        others: what was known of all other users.
    """

    events: pa.Table
    keys: pa.Table
    positives: history.Positives
    steps: pa.Table
    training_users: np.ndarray
    before: Carried | None
    others: Carried | None

    @property
    def new_users(self) -> np.ndarray:
        """Those of `training_users` who were not before."""
        return np.setdiff1d(self.training_users, self._earlier("fitted")["user_id"].to_numpy(), assume_unique=True)

    def carry(self, videos: VideoLookup, until: int, settings: Settings) -> Carried:
        """What is known of users at `until`, by which all events are over."""
        known = until - settings.counters.delay_microseconds  # what is before this moment is so for all later lookups
        found = Carried(
            until,
            self._open(until, settings),
            self._viewed(videos, settings),
            self._history(videos, settings),
            self._pairs(settings),
            self._counts(known, settings),
            self._steps(videos, known),
            self._fitted(),
        )
        return found.beside(self.others, settings) if self.others else found

    def _fitted(self) -> pa.Table:
        earlier = self._earlier("fitted")["user_id"].to_numpy()
        return pa.table([np.union1d(self.training_users, earlier)], SCHEMAS["fitted"])

    def _earlier(self, name: str) -> pa.Table:
        return getattr(self.before, name) if self.before else SCHEMAS[name].empty_table()

    def _open(self, until: int, settings: Settings) -> pa.Table:
        gap = settings.labels.exposure_gap
        starts = exposure_starts(self.events, gap, None)
        sizes = np.diff(np.append(starts, len(self.events)))
        last = self.events["interaction_time"].to_numpy()[starts + sizes - 1]
        return self.events.filter(pa.array(np.repeat(last > until - gap, sizes)))

    def _viewed(self, videos: VideoLookup, settings: Settings) -> pa.Table:
        viewings = self.events.filter(pa.array(is_viewing(self.events, settings.table.bits)))
        own = viewings.select(["user_id", "video_id", "interaction_time"]).rename_columns(SCHEMAS["viewed"].names)
        found = pa.concat_tables([self._earlier("viewed"), own])
        user, video, time = (column.to_numpy() for column in found.columns)
        order = lexsort((videos.order(video), time, user))
        return found.take(pa.array(order[ends(user[order])]))

    def _history(self, videos: VideoLookup, settings: Settings) -> pa.Table:
        """The videos of each history; one that was there until an earlier moment is gone for ever."""
        found = self.positives
        stays = np.ones(len(found.user), bool) if found.until is None else found.until == recent.NEVER
        user, video, since = (column[stays] for column in (found.user, found.video, found.since))
        order, first = _groups(user, video)
        user, video, since = user[order][first], video[order][first], _reduced(np.maximum, since[order], first)
        order = lexsort((videos.order(video), since, user))
        last = ends(user[order])
        left = np.repeat(last, np.diff(np.append(-1, last))) - np.arange(len(order))  # later videos of the same user
        kept = order[left < settings.history.length]
        return pa.table([user[kept], video[kept], since[kept]], SCHEMAS["positives"])

    def _pairs(self, settings: Settings) -> pa.Table:
        seen = self.events.filter(pa.array(is_seen(self.events, settings)))
        positive = self.keys.filter(pa.array(self.keys["label"].to_numpy()))
        tables = [self._earlier("pairs"), seen, positive]
        user, video = (np.concatenate([table[name].to_numpy() for table in tables]) for name in ("user_id", "video_id"))
        order, first = _groups(user, video)
        columns = [user[order][first], video[order][first]]
        for name, fresh in (("positive", (False, True)), ("seen", (True, False))):
            own = [np.full(len(table), value) for table, value in zip(tables[1:], fresh, strict=True)]
            values = np.concatenate([tables[0][name].to_numpy(), *own])
            columns.append(_reduced(np.logical_or, values[order], first))
        return pa.table(columns, SCHEMAS["pairs"])

    def _counts(self, known: int, settings: Settings) -> pa.Table:
        if not settings.recent.enabled:
            return SCHEMAS["counts"].empty_table()
        own = recent.counts_of(self.events, settings, self.before.until if self.before else None)
        return recent.folded(pa.concat_tables([self._earlier("counts"), own]), known)

    def _steps(self, videos: VideoLookup, known: int) -> pa.Table:
        """The steps, of which those before `known` are one of each user and video, or version of a video."""
        is_over = self.steps["time"].to_numpy() < known
        user, video, shown, _, *numbers = (column.to_numpy()[is_over] for column in self.steps.columns)
        order, first = _groups(user, videos.position(video, shown))
        last = _reduced(np.maximum, shown[order], first)
        sums = (_reduced(np.add, each[order], first) for each in numbers)
        over = pa.table([user[order][first], video[order][first], last, last, *sums], SCHEMAS["steps"])
        return pa.concat_tables([over, self.steps.filter(pa.array(~is_over))])


def is_seen(events: pa.Table, settings: Settings) -> np.ndarray:
    """[n] bool: by which events the user has seen the video: those that opened it, and those with a negative signal."""
    refused = labels.is_negative(events["signals"].to_numpy(), settings)
    return is_viewing(events, settings.table.bits) | refused


def _groups(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of [n] rows in which those that agree in their keys are together, and where each group begins in it."""
    order = lexsort(keys[::-1])
    return order, begins(*(key[order] for key in keys))


def _reduced(function: np.ufunc, values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """One value of each group of rows."""
    return function.reduceat(values, first) if len(first) else values[:0]
