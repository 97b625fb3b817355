"""Which day's tables label which events, where a run and its refreshes have labelled them one after the other."""

import dataclasses
from collections.abc import Sequence

from recsys_tft.examples.late_events import next_bounds
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.versions import ALWAYS, NEVER


@dataclasses.dataclass(frozen=True)
class Stage:
    """Periods whose events are labelled by the tables of one day.

    Attributes:
        bounds: where each of the periods begins, increasing; ALWAYS of the run.
        end: where the last of them ends; NEVER where nothing follows.
        lookup: of videos, as they were known on that day.
    """

    bounds: tuple[int, ...]
    end: int
    lookup: VideoLookup


def of_days(begins: Sequence[int], lookups: Sequence[VideoLookup], late: int) -> tuple[Stage, ...]:
    """The stages of a run and its refreshes.

    The state that a refresh starts from says which periods it labels again, as events may still have come late.

    Args:
        begins: where each refresh begins, increasing.
        lookups: of the run and of each refresh.
        late: microseconds by which events may be late.
    """
    bounds: list[list[int]] = [[ALWAYS]]
    for begin in begins:
        bounds.append(next_bounds(bounds[-1] if len(bounds) > 1 else (), begin, late))
    ends = [*(own[0] for own in bounds[1:]), NEVER]
    return tuple(
        Stage(tuple(bound for bound in own if bound < end), end, lookup)
        for own, end, lookup in zip(bounds, ends, lookups, strict=True)
        if own[0] < end  # else all that it labels is labelled again later
    )
