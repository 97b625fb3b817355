"""Folds exposures that no event can join any more into what is known of users, as a refresh does it."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.examples.known_users import KnownUsers
from recsys_tft.labelling.exposures import exposure_starts, sort_events
from recsys_tft.online.levels import Levels, keys_of
from recsys_tft.online.snapshot import Snapshot, Start
from recsys_tft.point_in_time import counters, outcomes
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.tables.versions import NEVER


def folded(now: Snapshot) -> Snapshot:
    """The same in fewer rows, by which all is as before for moments from `now.since` on."""
    settings, events = now.rules.settings, now.events.all
    is_over = _are_over(events, now.since, settings.labels.exposure_gap)
    kept = events.filter(pa.array(~is_over)).combine_chunks()
    if is_over.any():
        now, _ = _with_carried(now, sort_events(events.filter(pa.array(is_over)), settings))
    first = min(now.since, int(kept["interaction_time"].to_numpy().min(initial=NEVER)))  # that is looked up later
    changes = counters.fold(now.changes.all, first, settings.counters)
    changes = changes.filter(pc.not_equal(changes[counters.NUMBER], 0))
    return dataclasses.replace(
        now,
        events=Levels.of_rows("user_id", kept),
        settled=Levels.of_rows("video_id", changes),
        fresh=now.fresh.slice(0, 0),
        fold_at=len(kept) + max(now.rules.fold_at, len(kept) // 4),
    )


def _are_over(events: pa.Table, since: int, gap: int) -> np.ndarray:
    """[n] bool: which of all events are of exposures that no event from a moment on can join."""
    keys = [events[name].to_numpy() for name in ("interaction_time", "video_id", "user_id")]
    order = np.lexsort(keys)
    starts = exposure_starts(events.take(pa.array(order)), gap, None)
    sizes = np.diff(np.append(starts, len(events)))
    found = np.zeros(len(events), bool)
    found[order] = np.repeat(keys[0][order[starts + sizes - 1]] <= since - gap, sizes)
    return found


def later(now: Snapshot, first_seen: pa.Table, until: int) -> Start:
    """The start of a state that goes on by other rules.

    Args:
        now: what is known.
        first_seen: of recent.FIRST_SEEN_SCHEMA, of all videos.
        until: the moment from which on they hold, before which are all events.
    """
    events = sort_events(now.events.all, now.rules.settings)
    now, still_open = _with_carried(dataclasses.replace(now, since=until), events)
    before = Carried(until, still_open, **{name: levels.all for name, levels in now.carried.items()})
    return Start(before, before.cuts, now.worth.all, now.changes.all, first_seen)


def _with_carried(now: Snapshot, events: pa.Table) -> tuple[Snapshot, pa.Table]:
    """The same with events, sorted as by `sort_events`, in what is known of their users; and those that are open."""
    rules, users = now.rules, keys_of(events, "user_id")
    known = KnownUsers(events, rules.users, rules.videos, now.cuts, rules.settings, now.before(users))
    found = known.carry(now.since)
    carried = {name: levels.without(users).with_rows(getattr(found, name)) for name, levels in now.carried.items()}
    worth = now.worth
    if rules.reads_expected:
        rows = pa.concat_tables([worth.of(users), now.worth_of(known.begun)])
        over = outcomes.fold(rows, now.since - rules.settings.counters.delay_microseconds)
        worth = worth.without(users).with_rows(over)
    return dataclasses.replace(now, carried=carried, worth=worth), found.events
