"""What is known at one point of the stream of events, and what does not change while they come."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples.known_users import KnownUsers
from recsys_tft.labelling.exposures import sort_events
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.online import changes
from recsys_tft.online.levels import Levels, keys_of
from recsys_tft.point_in_time import counters, outcomes, recent, video_counts
from recsys_tft.point_in_time.carried import SCHEMAS, Carried
from recsys_tft.point_in_time.counters import Values
from recsys_tft.storage.hashing import keyed_hash
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.versions import ALWAYS
from recsys_tft.time_lookups import are_among

EVENT = "event"  # int64, by which events of a user are told apart
_WAITING = 64  # events at most, whose changes of videos are found when they are asked for


@dataclasses.dataclass(frozen=True)
class Start:
    """What is known before any event.

    Attributes:
        before: of users.
        cuts: where later exposures are cut, as by splits; what is before the first one is in `before`.
        worth: of outcomes.WORTH_SCHEMA, what their exposures are worth.
        changes: of videos, of counters.CARRIED_SCHEMA.
        first_seen: of recent.FIRST_SEEN_SCHEMA.
        since: the moment before which events come too late; None: that as of which `before` is.
        held: the moment before which events may be in `before`, which does not know their ids.
    """

    before: Carried
    cuts: Cuts
    worth: pa.Table
    changes: pa.Table
    first_seen: pa.Table
    since: int | None = None
    held: int = ALWAYS


@dataclasses.dataclass(frozen=True)
class Rules:
    """What does not change while events come.

    Attributes:
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        settings: of the run.
        counted: whether COUNTERS are counted.
        lateness: microseconds by which an event may come after a later one; None: any.
        fold_at: after how many events it is tried to fold some.
    """

    users: pa.Table
    videos: VideoLookup
    settings: Settings
    counted: bool
    lateness: int | None
    fold_at: int = 100_000

    @functools.cached_property
    def values(self) -> Values:
        """What is counted of videos."""
        return video_counts.values(self.settings, self.counted)

    @functools.cached_property
    def reads_expected(self) -> bool:
        """Whether any feature reads what is expected of users."""
        return outcomes.reads_expected(self.settings)


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What is known at one point of the stream; the next one shares with it what does not change.

    Attributes:
        rules: by which events count.
        cuts: where exposures are cut.
        until: the moment of the start, up to which all is in `carried`, `worth` and `changes`.
        carried: of users, by table.
        worth: of outcomes.WORTH_SCHEMA.
        events: those that are not folded, with EVENT.
        settled: changes of videos by events, those of `fresh` apart.
        fresh: events that changes of videos are not found of yet, as they are once anyone asks.
        since: events before this moment come too late.
        latest: the time of the latest event.
        fold_at: with how many events some are folded.
    """

    rules: Rules
    cuts: Cuts
    until: int
    carried: Mapping[str, Levels]
    worth: Levels
    events: Levels
    settled: Levels
    fresh: pa.Table
    since: int
    latest: int
    fold_at: int

    @classmethod
    def of(cls, start: Start, rules: Rules) -> "Snapshot":
        """Before any event."""
        tables = start.before.tables
        known = tables.pop("events")
        known = known.append_column(EVENT, pa.array(own_keys(known)))
        carried = {name: Levels.of_rows("user_id", table) for name, table in tables.items()}
        worth, events = (Levels.of_rows("user_id", table) for table in (start.worth, known))
        settled, until = Levels.of_rows("video_id", start.changes), start.before.until
        since = until if start.since is None else start.since
        fresh = known.slice(0, 0)
        return cls(rules, start.cuts, until, carried, worth, events, settled, fresh, since, since, rules.fold_at)

    @functools.cached_property
    def changes(self) -> Levels:
        """Changes of videos by all events."""
        if not len(self.fresh):
            return self.settled
        keys = "user_id", EVENT
        rows, pairs = self.events.of(keys_of(self.fresh, "user_id")), ("user_id", "video_id")
        rows = rows.filter(pa.array(are_among(_keys(self.fresh, pairs), _keys(rows, pairs))))
        earlier = rows.filter(pa.array(~are_among(_keys(self.fresh, keys), _keys(rows, keys))))
        settings = self.rules.settings
        before, after = (sort_events(events, settings) for events in (earlier, rows))
        changed = changes.between(before, after, self.rules.videos, settings, self.rules.counted)
        return self.settled.with_rows(changed)

    def with_events(self, fresh: pa.Table) -> "Snapshot":
        """The same with new events."""
        known = self.with_settled() if "changes" in self.__dict__ else self
        latest = max(self.latest, int(fresh["interaction_time"].to_numpy().max()))
        waiting = pa.concat_tables([known.fresh, fresh])
        found = dataclasses.replace(known, latest=latest, events=self.events.with_rows(fresh), fresh=waiting)
        return found.with_settled() if len(waiting) > _WAITING else found

    def with_settled(self) -> "Snapshot":
        """The same with the changes of all events found."""
        return dataclasses.replace(self, settled=self.changes, fresh=self.fresh.slice(0, 0))

    def closed(self) -> "Snapshot":
        """The same, where events that are more than `lateness` behind come too late from now on."""
        if self.rules.lateness is None:
            return self
        return dataclasses.replace(self, since=max(self.since, self.latest - self.rules.lateness))

    def are_late(self, times: np.ndarray) -> np.ndarray:
        """[n] bool: which of events at [n] times, one after the other, come too late."""
        if self.rules.lateness is None or not len(times):
            return times < self.since
        latest = np.maximum.accumulate(np.append(self.latest, times[:-1]))
        return times < np.maximum(self.since, np.maximum(latest, ALWAYS + self.rules.lateness) - self.rules.lateness)

    def before(self, users: np.ndarray) -> Carried:
        """What is known of [n] increasing users besides their events."""
        tables = {name: levels.of(users) for name, levels in self.carried.items()}
        return Carried(self.until, self.events.tables[0].slice(0, 0).drop_columns([EVENT]), **tables)

    def label(self, users: np.ndarray) -> "Labelled":
        """What the events of [n] increasing users make of them."""
        rules, events = self.rules, sort_events(self.events.of(users), self.rules.settings)
        known = KnownUsers(events, rules.users, rules.videos, self.cuts, rules.settings, self.before(users))
        worth = [self.worth.of(users), self.worth_of(known.begun)] if rules.reads_expected else None
        return Labelled(known, rules, worth and pa.concat_tables(worth))

    def versions(self, video_ids: np.ndarray) -> pa.Table:
        """All versions of [n] increasing ids of videos, as `counters.versions`."""
        changes = self.changes.of(video_ids)
        return counters.versions(video_ids, changes, self.rules.settings.counters, self.rules.values)

    def worth_of(self, begun: pa.Table) -> pa.Table:
        """What exposures are worth, as `outcomes.worth`."""
        return outcomes.worth(begun, self.versions(keys_of(begun, "video_id")))


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What is known of users by what was known at one point of the stream.

    Attributes:
        users: by their events.
        rules: by which these count.
        worth: of outcomes.WORTH_SCHEMA; None where no feature reads it.
    """

    users: KnownUsers
    rules: Rules
    worth: pa.Table | None

    @property
    def nbytes(self) -> int:
        """How many bytes of tables it holds."""
        return self.users.nbytes + (self.worth.nbytes if self.worth else 0)

    def at(self, users: np.ndarray, times: np.ndarray) -> pa.Table:
        """[n] rows of `KnownUsers.at`, and outcomes.EXPECTED if any feature reads it."""
        found = self.users.at(users, times)
        if self.worth is None:
            return found
        expected = outcomes.expected(self.worth, users, times - self.rules.settings.counters.delay_microseconds)
        return found.append_column(outcomes.EXPECTED, pa.array(expected, pa.float32()))


def _keys(events: pa.Table, names: Sequence[str]) -> tuple[np.ndarray, ...]:
    return tuple(events[name].to_numpy() for name in names)


def own_keys(events: pa.Table) -> np.ndarray:
    """[n] int64 by which events of a user are told apart that have no ids: the video, the time and the signals."""
    video, time, signals = (events[name].to_numpy() for name in ("video_id", "interaction_time", "signals"))
    return keyed_hash(video, time, signals.astype(np.int64), 2).view(np.int64)


def nothing(settings: Settings, events: pa.Table) -> Start:
    """The start of a log: nobody has done anything.

    Args:
        settings: of the run.
        events: any, of whose columns events are.
    """
    empty = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
    return Start(
        Carried(ALWAYS, events.slice(0, 0), **empty),
        (ALWAYS, None),
        outcomes.WORTH_SCHEMA.empty_table(),
        counters.CARRIED_SCHEMA.empty_table(),
        recent.FIRST_SEEN_SCHEMA.empty_table(),
    )
