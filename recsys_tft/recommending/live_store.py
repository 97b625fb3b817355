"""The rows of an export, kept up to date by events."""

import dataclasses
import itertools
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import FIRST_SEEN, Tally
from recsys_tft.errors import InputError
from recsys_tft.examples import examples
from recsys_tft.labelling import split_times
from recsys_tft.online.event_rows import EventReader, Given, Read, Rejection
from recsys_tft.online.live_state import APPLIED, LATE, REPEATED, LiveState
from recsys_tft.online.opening import open_live
from recsys_tft.online.snapshot import Rules
from recsys_tft.point_in_time import outcomes
from recsys_tft.recommending.catalogue import EVENTS, Candidates
from recsys_tft.recommending.entity_store import EntityStore
from recsys_tft.recommending.tallies import OF_GROUP, TYPES
from recsys_tft.statistics import EMPTY_IDS
from recsys_tft.tables.versions import NEVER
from recsys_tft.time_lookups import find_sorted

if TYPE_CHECKING:
    from recsys_tft.online.redis_log import RedisLog

SECONDS = 1.0  # timeout of Redis
_AGAIN = 1.0  # seconds until a log that did not answer is tried again


@dataclasses.dataclass(frozen=True)
class Observed:
    """The result of taking events.

    Attributes:
        applied: how many were new.
        repeated: how many were known already.
        rejected: those that cannot be used, in their order, with reasons.
    """

    applied: int
    repeated: int
    rejected: tuple[Rejection, ...] = ()


class LiveStore:
    """Takes events, and serves the rows of users and videos at a moment.

    Args:
        state: of all users and videos.
        rules: of the state.
        entities: the rows of the export.
        log: events shared by all processes; None: events of this process only.
        is_patient: whether to serve the last known state when the log does not answer, instead of an error. Events are
            refused then in any case.
    """

    def __init__(
        self,
        state: LiveState,
        rules: Rules,
        entities: EntityStore,
        log: "RedisLog | None" = None,
        is_patient: bool = False,
    ):
        self._state, self._rules, self._entities = state, rules, entities
        self._reader = EventReader(rules.settings, rules.videos)
        self._log, self._is_patient, self._reading, self._asked_at = log, is_patient, threading.Lock(), 0.0
        self._schema = self._reader.read([]).events.schema
        self.catch_up()
        self._groups: dict[str, dict[str, Tally]] = {}  # by column of videos: raw columns and their tallies
        for column in outcomes.group_columns(rules.settings):
            assert column.of_group is not None
            self._groups.setdefault(column.of_group.column, {})[column.name] = column.of_group.tally

    def observe(self, events: Given) -> Observed:
        """Take events, as read by `EventReader.read`."""
        return self._observe(self._reader.read(events), [len(events)])[0]

    def observe_each(self, lists: Sequence[Sequence[Mapping[str, Any]]]) -> list[Observed]:
        """Take [n] lists of events, with the results that `observe` would give for each, at the cost of one call."""
        read = self._reader.read(list(itertools.chain.from_iterable(lists)))
        return self._observe(read, list(map(len, lists)))

    def _observe(self, read: Read, sizes: Sequence[int]) -> list[Observed]:
        """Take events that come from lists of these sizes; one result per list."""
        if self._log is None:
            outcomes = self._state.observe(read.events)
        else:
            is_held = self._state.are_held(read.events)
            outcomes = np.full(len(is_held), REPEATED, np.int8)
            outcomes[~is_held] = self._log.add(read.events.filter(pa.array(~is_held)))
            self.catch_up()
        late = np.flatnonzero(outcomes == LATE)
        reason = f"interaction_time is before {split_times.describe(self._state.since)}, and so too late to be counted"
        rejected = [*read.rejected, *(Rejection(int(read.places[place]), reason) for place in late)]
        rejected.sort(key=lambda rejection: rejection.index)
        bounds = [0, *itertools.accumulate(sizes)]
        of_list = np.searchsorted(bounds, read.places, side="right") - 1
        applied, repeated = (
            np.bincount(of_list[outcomes == outcome], minlength=len(sizes)) for outcome in (APPLIED, REPEATED)
        )
        return [
            Observed(
                int(applied[place]),
                int(repeated[place]),
                tuple(Rejection(fault.index - first, fault.reason) for fault in rejected if first <= fault.index < end),
            )
            for place, (first, end) in enumerate(itertools.pairwise(bounds))
        ]

    def catch_up(self) -> None:
        """Take the events that other processes put into the log.

        Raises:
            LostError: if the log does not answer, unless `is_patient`.
        """
        if self._log is None or time.monotonic() < self._asked_at:
            return
        with self._reading:
            try:
                for events in self._log.unread(self._schema):
                    self._state.observe(events)
            except InputError:
                if not self._is_patient:
                    raise
                self._asked_at = time.monotonic() + _AGAIN

    def expect(self, users: Iterable[int | str | bytes | None]) -> None:
        """Load the state of several users at once, before `user` is called for each."""
        self.catch_up()
        self._state.expect(code for code in map(_code, users) if self._state.knows(code))

    def user(self, stored: pa.Table, user: int | str | bytes | None, moment: int) -> pa.Table:
        """The row of a user at a moment.

        Args:
            stored: the row in the export, or an empty table.
            user: the id, as rows have it.
            moment: microseconds since 1970.
        """
        self.catch_up()
        code = _code(user)
        if not (len(stored) or self._state.knows(code)):
            return stored
        known = ids.plain(
            examples.with_given_ids(self._state.known(code, moment), self._rules.users, self._rules.videos)
        )
        columns = {name: stored[name] for name in stored.column_names} if len(stored) else {}
        columns |= {name: known[name] for name in known.column_names}
        return pa.table(columns | self._tallies(code, moment))

    def seen(self, user: int | str | bytes | None) -> pa.Array:
        """[n] videos that the user opened or gave a negative signal."""
        self.catch_up()
        codes = self._state.seen(_code(user))
        original_ids = self._rules.videos.given(codes)
        return pa.array(codes) if original_ids is None else original_ids

    def videos(self, videos: Candidates, moment: int) -> Candidates:
        """The same [n] videos at a moment.

        Args:
            videos: of the export.
            moment: microseconds since 1970.
        """
        codes = videos.catalogue.codes[videos.rows]
        is_known = find_sorted(self._state.video_ids, codes) >= 0
        known_codes = codes[is_known]
        columns = dict(self._state.values(known_codes, moment))
        columns[EVENTS] = videos.events[is_known] + self._state.new_events(known_codes)
        if FIRST_SEEN in videos:
            since = self._state.first_seen(known_codes, moment)
            columns[FIRST_SEEN] = np.where(since == NEVER, EMPTY_IDS, since)
        changed = {}
        for name, values in columns.items():
            if name in videos:
                column = (
                    np.full(len(codes), EMPTY_IDS)
                    if name == FIRST_SEEN
                    else videos.catalogue.numbers(name)[videos.rows]
                )
                column[is_known] = values
                changed[name] = column
        return dataclasses.replace(videos, changed=changed)

    def _tallies(self, code: int, moment: int) -> dict[str, pa.Array]:
        """The outcomes of the user's exposures by group, as lists: see tallies.py."""
        columns: dict[str, pa.Array] = {}
        for group, names in self._groups.items():
            table = self._state.by_group(code, group, moment)
            lists = {f"{OF_GROUP}{group}": self._entities.groups(group, table["group"])}
            lists |= {
                f"{OF_GROUP}{group}/{name}": table[tally.name].cast(TYPES[tally]) for name, tally in names.items()
            }
            columns |= {name: _in_a_list(values) for name, values in lists.items()}
        return columns


def open_store(
    output_dir: str, transform_graph: str, entities: EntityStore, redis: str | None = None, is_patient: bool = False
) -> LiveStore:
    """Open the store with the newest state of a run.

    Args:
        output_dir: of the run.
        transform_graph: as for `open_live`.
        entities: the rows of the export.
        redis: address of Redis, which shares events; None: in memory.
        is_patient: as for LiveStore.

    Raises:
        InputError: as `open_live` or `RedisLog`.
    """
    opened, log = open_live(output_dir, transform_graph), None
    if redis is not None:
        from recsys_tft.online.redis_log import RedisLog

        assert opened.rules.lateness is not None
        log = RedisLog(redis, opened.run, opened.since, opened.rules.lateness, SECONDS)
    return LiveStore(opened.state, opened.rules, entities, log, is_patient)


def _in_a_list(values: pa.Array | pa.ChunkedArray) -> pa.ListArray:
    """[1] list of [n] values."""
    flat = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return pa.ListArray.from_arrays(pa.array([0, len(flat)], pa.int32()), flat)


def _code(user: int | str | bytes | None) -> int:
    """The code of a user in the state; for an anonymous user an id that nobody has."""
    return EMPTY_IDS if user is None else ids.codes_of(pa.array([user]))[0].as_py()
