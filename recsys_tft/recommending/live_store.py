"""What a recommender knows of users and videos while events come: the rows of an export, kept up to date by a state."""

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

SECONDS = 1.0  # that an answer of Redis may take
_AGAIN = 1.0  # seconds after which a log that did not answer is asked again


@dataclasses.dataclass(frozen=True)
class Observed:
    """What became of events.

    Attributes:
        applied: how many are known from now on.
        repeated: how many were known already.
        rejected: those that cannot be used, in the order in which they were given, and why.
    """

    applied: int
    repeated: int
    rejected: tuple[Rejection, ...] = ()


class LiveStore:
    """Takes events, and tells what is known of users and videos as of a moment.

    Args:
        state: of all users and videos.
        rules: of the state.
        entities: the rows of the export.
        log: where events of all processes are; None: this one alone knows of its events.
        is_patient: whether to go on with what is known where the log does not answer; else that is an error. Events
            are refused then in any case.
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
        self._groups: dict[str, dict[str, Tally]] = {}  # by column of videos, the columns that tell of it
        for column in outcomes.group_columns(rules.settings):
            assert column.of_group is not None
            self._groups.setdefault(column.of_group.column, {})[column.name] = column.of_group.tally

    def observe(self, events: Given) -> Observed:
        """Takes events, as `EventReader.read` reads them."""
        return self._observe(self._reader.read(events), [len(events)])[0]

    def observe_each(self, given: Sequence[Sequence[Mapping[str, Any]]]) -> list[Observed]:
        """Takes [n] lists of events, one after the other, as `observe` would each of them, at the cost of one."""
        read = self._reader.read(list(itertools.chain.from_iterable(given)))
        return self._observe(read, list(map(len, given)))

    def _observe(self, read: Read, sizes: Sequence[int]) -> list[Observed]:
        """What became of events that were given in lists of these sizes."""
        if self._log is None:
            found = self._state.observe(read.events)
        else:
            held = self._state.are_held(read.events)
            found = np.full(len(held), REPEATED, np.int8)
            found[~held] = self._log.add(read.events.filter(pa.array(~held)))
            self.catch_up()
        late = np.flatnonzero(found == LATE)
        reason = f"interaction_time is before {split_times.describe(self._state.since)}, and so too late to be counted"
        rejected = [*read.rejected, *(Rejection(int(read.places[place]), reason) for place in late)]
        rejected.sort(key=lambda rejection: rejection.index)
        bounds = [0, *itertools.accumulate(sizes)]
        of_list = np.searchsorted(bounds, read.places, side="right") - 1
        applied, repeated = (np.bincount(of_list[found == what], minlength=len(sizes)) for what in (APPLIED, REPEATED))
        return [
            Observed(
                int(applied[place]),
                int(repeated[place]),
                tuple(Rejection(each.index - first, each.reason) for each in rejected if first <= each.index < end),
            )
            for place, (first, end) in enumerate(itertools.pairwise(bounds))
        ]

    def catch_up(self) -> None:
        """Takes the events that other processes have put into the log.

        Raises:
            LostError: if the log does not answer, and that is an error.
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
        """Finds out of users at once what `user` will be asked of each."""
        self.catch_up()
        self._state.expect(code for code in map(_code, users) if self._state.knows(code))

    def user(self, stored: pa.Table, user: int | str | bytes | None, moment: int) -> pa.Table:
        """The row of a user as of a moment.

        Args:
            stored: the row in the export, or none.
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
        found = {name: stored[name] for name in stored.column_names} if len(stored) else {}
        found |= {name: known[name] for name in known.column_names}
        return pa.table(found | self._tallies(code, moment))

    def seen(self, user: int | str | bytes | None) -> pa.Array:
        """[n] videos that the user has opened, or does not want by a negative signal."""
        self.catch_up()
        codes = self._state.seen(_code(user))
        given = self._rules.videos.given(codes)
        return pa.array(codes) if given is None else given

    def videos(self, videos: Candidates, moment: int) -> Candidates:
        """The same [n] videos as of a moment.

        Args:
            videos: as the export has them.
            moment: microseconds since 1970.
        """
        codes = videos.catalogue.codes[videos.rows]
        known = find_sorted(self._state.video_ids, codes) >= 0
        there = codes[known]
        found = dict(self._state.values(there, moment))
        found[EVENTS] = videos.events[known] + self._state.new_events(there)
        if FIRST_SEEN in videos:
            since = self._state.first_seen(there, moment)
            found[FIRST_SEEN] = np.where(since == NEVER, EMPTY_IDS, since)
        changed = {}
        for name, values in found.items():
            if name in videos:
                own = (
                    np.full(len(codes), EMPTY_IDS)
                    if name == FIRST_SEEN
                    else videos.catalogue.numbers(name)[videos.rows]
                )
                own[known] = values
                changed[name] = own
        return dataclasses.replace(videos, changed=changed)

    def _tallies(self, code: int, moment: int) -> dict[str, pa.Array]:
        """What became of the user's exposures by group, as lists: see tallies.py."""
        found: dict[str, pa.Array] = {}
        for group, names in self._groups.items():
            table = self._state.by_group(code, group, moment)
            lists = {f"{OF_GROUP}{group}": self._entities.groups(group, table["group"])}
            lists |= {
                f"{OF_GROUP}{group}/{name}": table[tally.name].cast(TYPES[tally]) for name, tally in names.items()
            }
            found |= {name: _in_a_list(values) for name, values in lists.items()}
        return found


def of_run(
    output_dir: str, transform_graph: str, entities: EntityStore, redis: str | None = None, is_patient: bool = False
) -> LiveStore:
    """The store of the newest state of a run.

    Args:
        output_dir: of the run.
        transform_graph: as `open_live`.
        entities: the rows of the export.
        redis: the address where events are shared, if they are.
        is_patient: as of LiveStore.

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
    """What stands for a user in the state; of nobody an id that nobody has."""
    return EMPTY_IDS if user is None else ids.codes_of(pa.array([user]))[0].as_py()
