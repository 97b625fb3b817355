"""Labels periods one after the other: each starts from the state of the one before, and includes late events."""

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
    """The state at the beginning of each period, and its labelled exposures.

    Args:
        events: of all periods, sorted as by `exposures.sort_events`.
        bounds: where each period begins, increasing; the first one is `before.until`.
        cuts: the splits of the last period.
        users: by increasing `user_id`, or versions of them.
        videos: the lookup of all videos.
        settings: of the run.
        before: the state at the beginning.
    """
    for begin, end in itertools.pairwise([*bounds, NEVER]):
        period_events = before.with_events(between(events, begin, end), settings)
        splits = cuts if end == NEVER else before.cuts
        result = examples.label_exposures(period_events, users, videos, splits, settings, before)
        yield before, result
        if end != NEVER:
            before = result.period.carry(videos, end, settings)


def next_bounds(bounds: Sequence[int], until: int, late: int) -> list[int]:
    """The moment of the state that the next refresh needs, and where each period after it begins.

    Args:
        bounds: the same for the state before; empty for a run.
        until: the end of the data.
        late: microseconds by which later events may precede it.
    """
    all_bounds = [*bounds, until]
    over = sum(bound <= until - late for bound in all_bounds)
    return all_bounds[max(over - 1, 0) :]


def between(events: pa.Table, begin: int, end: int) -> pa.Table:
    """The events from one moment to before another."""
    time = events["interaction_time"].to_numpy()
    return events.filter(pa.array((time >= begin) & (time < end)))


def begin_late(exposures: pa.Table, events: pa.Table, cuts: Cuts, gap: int) -> np.ndarray:
    """[n] bool: which exposures begin with a late event.

    Args:
        exposures: with KEY.
        events: those that were not late, sorted as by `exposures.sort_events`.
        cuts: where the splits of the exposures end.
        gap: microseconds without an event after which a new exposure begins.
    """
    splits = split_of(events["interaction_time"].to_numpy(), cuts)
    earlier = events.select(list(KEY)).take(pa.array(exposure_starts(events, gap, splits)))
    keys = [np.stack([table[name].to_numpy() for name in KEY], axis=1) for table in (earlier, exposures)]
    records = [np.ascontiguousarray(columns).view([(name, np.int64) for name in KEY]).ravel() for columns in keys]
    return ~np.isin(records[1], records[0])
