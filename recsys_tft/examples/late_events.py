"""Periods one after the other: each starts from what was carried out of the one before, with events that came late."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import examples
from recsys_tft.labelling.exposures import KEY, exposure_starts
from recsys_tft.labelling.split_times import Cuts, split_of
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.versions import NEVER


def labelled(
    events: pa.Table,
    bounds: Sequence[int],
    cuts: Cuts,
    users: pa.Table,
    videos: VideoLookup,
    settings: Settings,
    before: Carried,
) -> Iterator[tuple[Carried, examples.Labelled]]:
    """What is known at the beginning of each period, and its labelled exposures.

    Args:
        events: those of all periods, sorted as by `exposures.sort_events`.
        bounds: where each period begins, increasing; the first one is `before.until`.
        cuts: the splits of the last one.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        settings: of the run.
        before: what is known at the beginning.
    """
    for begin, end in itertools.pairwise([*bounds, NEVER]):
        own = before.with_events(between(events, begin, end), settings)
        splits = cuts if end == NEVER else before.cuts
        found = examples.label_exposures(own, users, videos, splits, settings, before)
        yield before, found
        if end != NEVER:
            before = found.period.carry(videos, end, settings)


def next_bounds(bounds: Sequence[int], until: int, late: int) -> list[int]:
    """As of which moment a state has to be, and where each period after that begins.

    Args:
        bounds: the same of the state before; none of a run.
        until: where what is known ends.
        late: microseconds by which later events may be before it.
    """
    found = [*bounds, until]
    over = sum(bound <= until - late for bound in found)
    return found[max(over - 1, 0) :]


def between(events: pa.Table, begin: int, end: int) -> pa.Table:
    """The events from a moment on, before another one."""
    time = events["interaction_time"].to_numpy()
    return events.filter(pa.array((time >= begin) & (time < end)))


def came_late(exposures: pa.Table, events: pa.Table, cuts: Cuts, gap: int) -> np.ndarray:
    """[n] bool: which exposures begin with an event that came late.

    Args:
        exposures: with KEY.
        events: those that had been there, sorted as by `exposures.sort_events`.
        cuts: where the splits of the exposures end.
        gap: microseconds without an event after which a new exposure begins.
    """
    splits = split_of(events["interaction_time"].to_numpy(), cuts)
    known = events.select(list(KEY)).take(pa.array(exposure_starts(events, gap, splits)))
    keys = [np.stack([table[name].to_numpy() for name in KEY], axis=1) for table in (known, exposures)]
    records = [np.ascontiguousarray(each).view([(name, np.int64) for name in KEY]).ravel() for each in keys]
    return ~np.isin(records[1], records[0])
