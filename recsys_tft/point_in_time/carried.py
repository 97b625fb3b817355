"""The state of users at a moment: later examples follow from it without the events before.

It has a few numbers per user and per video that the user saw; docs/daily.md describes the tables.
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
    """The state of users.

    Attributes:
        until: its moment; it covers the events strictly before.
        events: those of exposures that may continue, sorted as by `exposures.sort_events`.
        viewed: the last video that each user opened.
        positives: the videos in each user's history, and the times at which they entered it.
        pairs: users and videos: whether the user was positive on the video, and whether the user has seen it.
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
        """The tables by name."""
        return {"events": self.events, **{name: getattr(self, name) for name in SCHEMAS}}

    @property
    def cuts(self) -> Cuts:
        """Split times for later events, all of which are in split 1."""
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
        """The state of some users, [n] increasing int64 ids, and of all others."""
        parts: tuple[dict[str, pa.Table], dict[str, pa.Table]] = ({}, {})
        for name, table in self.tables.items():
            are_among = find_sorted(users, table["user_id"].to_numpy()) >= 0
            for part, chosen in zip(parts, (are_among, ~are_among), strict=True):
                part[name] = table.filter(pa.array(chosen))
        one, other = (dataclasses.replace(self, **part) for part in parts)
        return one, other

    def beside(self, others: "Carried", settings: Settings) -> "Carried":
        """This state together with an earlier one of other users, who were inactive since."""
        merged = {}
        for name, table in self.tables.items():
            both = pa.concat_tables([table, getattr(others, name)])
            merged[name] = both.take(pa.array(np.argsort(both["user_id"].to_numpy(), kind="stable")))
        if settings.recent.enabled:
            merged["counts"] = recent.fold(merged["counts"], self.until - settings.counters.delay_microseconds)
        return dataclasses.replace(self, **merged)

    def with_events(self, events: pa.Table, settings: Settings) -> pa.Table:
        """Later events, together with those of exposures that they may continue."""
        return sort_events(pa.concat_tables([self.events, events]), settings) if len(self.events) else events


@dataclasses.dataclass(frozen=True)
class Period:
    """The events and exposures of a period, from which the state at its end follows.

    Attributes:
        events: of whole exposures, sorted as by `exposures.sort_events`; all of them, or all after `before`.
        keys: user_id, video_id and `label` of the exposures after `before`.
        positives: all sources of histories.
        steps: of outcomes.STEP_SCHEMA, of all exposures.
        training_users: increasing ids of the users whose values are fitted.
        before: the state of their users at the beginning; None for a run.
        others: the state of all other users.
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
        """The `training_users` that no earlier period fitted."""
        return np.setdiff1d(self.training_users, self._earlier("fitted")["user_id"].to_numpy(), assume_unique=True)

    def carry(self, videos: VideoLookup, until: int, settings: Settings) -> Carried:
        """The state of users at `until`, after all events."""
        visible_until = until - settings.counters.delay_microseconds  # all later lookups include events before it
        state = Carried(
            until,
            self._open(until, settings),
            self._viewed(videos, settings),
            self._history(videos, settings),
            self._pairs(settings),
            self._counts(visible_until, settings),
            self._steps(videos, visible_until),
            self._fitted(),
        )
        return state.beside(self.others, settings) if self.others else state

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
        new = viewings.select(["user_id", "video_id", "interaction_time"]).rename_columns(SCHEMAS["viewed"].names)
        latest = pa.concat_tables([self._earlier("viewed"), new])
        user, video, time = (column.to_numpy() for column in latest.columns)
        order = lexsort((videos.order(video), time, user))
        return latest.take(pa.array(order[ends(user[order])]))

    def _history(self, videos: VideoLookup, settings: Settings) -> pa.Table:
        """The videos of each history; one that left it earlier never returns."""
        positives = self.positives
        stays = np.ones(len(positives.user), bool) if positives.until is None else positives.until == recent.NEVER
        user, video, since = (column[stays] for column in (positives.user, positives.video, positives.since))
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
            flags = [np.full(len(table), value) for table, value in zip(tables[1:], fresh, strict=True)]
            values = np.concatenate([tables[0][name].to_numpy(), *flags])
            columns.append(_reduced(np.logical_or, values[order], first))
        return pa.table(columns, SCHEMAS["pairs"])

    def _counts(self, visible_until: int, settings: Settings) -> pa.Table:
        if not settings.recent.enabled:
            return SCHEMAS["counts"].empty_table()
        new = recent.counts_of(self.events, settings, self.before.until if self.before else None)
        return recent.fold(pa.concat_tables([self._earlier("counts"), new]), visible_until)

    def _steps(self, videos: VideoLookup, visible_until: int) -> pa.Table:
        """The steps; those before `visible_until` are summed by user and video, or version of a video."""
        is_over = self.steps["time"].to_numpy() < visible_until
        user, video, shown, _, *numbers = (column.to_numpy()[is_over] for column in self.steps.columns)
        order, first = _groups(user, videos.position(video, shown))
        last = _reduced(np.maximum, shown[order], first)
        sums = (_reduced(np.add, counts_of_step[order], first) for counts_of_step in numbers)
        over = pa.table([user[order][first], video[order][first], last, last, *sums], SCHEMAS["steps"])
        return pa.concat_tables([over, self.steps.filter(pa.array(~is_over))])


def is_seen(events: pa.Table, settings: Settings) -> np.ndarray:
    """[n] bool: events that mark the video as seen: it was opened, or got a negative signal."""
    refused = labels.is_negative(events["signals"].to_numpy(), settings)
    return is_viewing(events, settings.table.bits) | refused


def _groups(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order that groups [n] rows by their keys, and where each group begins in it."""
    order = lexsort(keys[::-1])
    return order, begins(*(key[order] for key in keys))


def _reduced(function: np.ufunc, values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """One value of each group of rows."""
    return function.reduceat(values, first) if len(first) else values[:0]
