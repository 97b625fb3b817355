"""Replays a log through the online state, and reads its values at some moments."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import Tally
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.examples import examples
from recsys_tft.examples.late_events import between
from recsys_tft.labelling.exposures import event_columns
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.online.live_state import LiveState
from recsys_tft.online.snapshot import EVENT, Rules, Start, nothing
from recsys_tft.point_in_time import outcomes
from recsys_tft.raw_replay import raw_periods
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.raw_replay.stages import Stage
from recsys_tft.tables.versions import ALWAYS, NEVER

_FOLD_AT = 2000  # events; few, so that folding is replayed too


@dataclasses.dataclass(frozen=True)
class RowKeys:
    """The user, the video and the moment of [n] rows, int64 each."""

    users: np.ndarray
    videos: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.users)


@dataclasses.dataclass(frozen=True)
class Known:
    """Known values of [n] rows.

    Attributes:
        users: as `LiveState.known`, with the original ids.
        videos: the columns of `LiveState.values`, int64.
        first_seen: of the videos, int64, NEVER if unknown.
        tallies: by column of videos and Tally, int64, null if there is none.
    """

    users: pa.Table
    videos: dict[str, np.ndarray]
    first_seen: np.ndarray
    tallies: dict[tuple[str, Tally], pa.Array]

    def of(self, first: int, size: int) -> "Known":
        """The values of some of the rows."""
        rows = slice(first, first + size)
        return Known(
            self.users.slice(first, size),
            {name: values[rows] for name, values in self.videos.items()},
            self.first_seen[rows],
            {key: values.slice(first, size) for key, values in self.tallies.items()},
        )


def replay(raw: RawRows, cuts: Cuts | None, settings: Settings, asked: RowKeys, at_once: int | None = None) -> Known:
    """Replay all events in order, and return the values of each row from the events before it.

    Where tables are of several days, the state of each day but the first starts from that of the day before.

    Args:
        raw: the raw tables.
        cuts: where the splits of the run end.
        settings: of the run.
        asked: at least one row.
        at_once: how many events are observed at a time; None: all between two moments of rows.

    Raises:
        InputError: if exposures are cut at another moment for each user.
    """
    if settings.split.kind == "time_per_user":
        raise InputError(
            "split.kind is time_per_user, which cuts the exposures of a user at times that depend on the whole log; "
            "a replay works for runs whose split.kind is time or random_per_user."
        )
    rows = raw.events.select(event_columns(settings))
    order = np.argsort(rows["interaction_time"].to_numpy(), kind="stable")
    events = rows.append_column(EVENT, pa.array(np.arange(len(rows)))).take(pa.array(order)).combine_chunks()
    start = nothing(settings, rows)
    for stage in raw.stages or (Stage((ALWAYS,), NEVER, raw.lookup),):
        start = dataclasses.replace(start, cuts=(*raw_periods.cuts_in(stage, cuts), None))
        rules = Rules(raw.users, stage.lookup, settings, bool(raw.counted), lateness=0, fold_at=_FOLD_AT)
        moments = _Moments(LiveState(start, rules), between(events, stage.bounds[0], stage.end), rules)
        if stage.end != NEVER:
            start = moments.later(stage.end, at_once)
    return moments.known(asked, at_once)


class _Moments:
    """The moments of a log, one after the other."""

    def __init__(self, live: LiveState, events: pa.Table, rules: Rules):
        self._live, self._events, self._rules = live, events, rules
        self._times, self._done = events["interaction_time"].to_numpy(), 0

    def later(self, end: int, at_once: int | None) -> Start:
        """The start of what follows `end`, before which is the whole log."""
        self._observe(len(self._events), at_once)
        return self._live.later(end)

    def known(self, asked: RowKeys, at_once: int | None) -> Known:
        """The values at the moment of each row."""
        order = np.argsort(asked.times, kind="stable")
        bounds = np.flatnonzero(np.diff(asked.times[order])) + 1
        parts = [self._at(part, asked, at_once) for part in np.split(order, bounds)]
        back = np.argsort(order, kind="stable")
        users = pa.concat_tables([part.users for part in parts]).take(pa.array(back))
        videos = {name: np.concatenate([part.videos[name] for part in parts])[back] for name in parts[0].videos}
        tallies = {
            key: pa.concat_arrays([part.tallies[key] for part in parts]).take(pa.array(back))
            for key in parts[0].tallies
        }
        first_seen = np.concatenate([part.first_seen for part in parts])[back]
        shown = ids.plain(examples.with_given_ids(users, self._rules.users, self._rules.videos))
        return Known(shown, videos, first_seen, tallies)

    def _at(self, rows: np.ndarray, asked: RowKeys, at_once: int | None) -> Known:
        """The values of rows that share their moment."""
        users, videos, time = asked.users[rows], asked.videos[rows], int(asked.times[rows[0]])
        self._observe(int(np.searchsorted(self._times, time)), at_once)
        distinct_users, place = np.unique(users, return_inverse=True)
        user_rows = pa.concat_tables([self._live.known(user, time) for user in distinct_users.tolist()]).take(
            pa.array(place)
        )
        tallies = self._tallies(users.tolist(), videos, time)
        return Known(user_rows, self._live.values(videos, time), self._live.first_seen(videos, time), tallies)

    def _observe(self, until: int, at_once: int | None) -> None:
        """Observe the events of the log up to one of them."""
        size = at_once or max(until - self._done, 1)
        for first in range(self._done, until, size):
            results = self._live.observe(self._events.slice(first, min(size, until - first)))
            if results.any():
                raise AssertionError(f"{int((results != 0).sum())} events of the log were not applied")
        self._done = max(until, self._done)

    def _tallies(self, users: Sequence[int], videos: np.ndarray, time: int) -> dict[tuple[str, Tally], pa.Array]:
        """Tallies of users and the groups of their videos."""
        lookup, tallies = self._rules.videos, {}
        for column in outcomes.groups(self._rules.settings):
            groups = lookup.groups(column)
            owners, codes = groups.at(lookup.position(videos, np.full(len(videos), time)))
            tables = {user: self._by_group(user, column, time) for user in set(users)}
            per_row: list[list[tuple[int, int, int | None]]] = [[] for _ in users]
            for owner, group in zip(owners.tolist(), groups.values.take(pa.array(codes)).to_pylist(), strict=True):
                per_row[owner].append(tables[users[owner]].get(group, (0, 0, None)))
            rows = [_together(values_of_row) for values_of_row in per_row]
            for tally, values in zip((Tally.SHOWN, Tally.POSITIVE, Tally.LAST), zip(*rows, strict=True), strict=True):
                tallies[column, tally] = pa.array(values, pa.int64())
        return tallies

    def _by_group(self, user: int, column: str, time: int) -> dict[object, tuple[int, int, int]]:
        rows = self._live.by_group(user, column, time).to_pylist()
        return {row["group"]: (row["SHOWN"], row["POSITIVE"], row["LAST"]) for row in rows}


def _together(told: Sequence[tuple[int, int, int | None]]) -> tuple[int | None, int | None, int | None]:
    """SHOWN, POSITIVE and LAST over all groups of a video; None without a group."""
    if not told:
        return None, None, None
    shown, positive, last = zip(*told, strict=True)
    return sum(shown), sum(positive), max((time for time in last if time is not None), default=None)
