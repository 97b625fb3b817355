"""The events of a run and its refreshes, labelled as each of these has labelled its own."""

import dataclasses
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import examples, late_events
from recsys_tft.examples.examples import Labelled
from recsys_tft.labelling.split_times import Cuts
from recsys_tft.point_in_time import outcomes, video_counts
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.raw_replay.stages import Stage
from recsys_tft.tables.versions import ALWAYS, NEVER


@dataclasses.dataclass(frozen=True)
class Known:
    """What events make of their users.

    Attributes:
        last: the exposures of the last period, or of all where there are no periods.
        begun: all exposures, as `outcomes.started_exposures` returns them.
    """

    last: Labelled
    begun: pa.Table

    @property
    def exposures(self) -> pa.Table:
        """Those of `last`."""
        return self.last.exposures

    @property
    def steps(self) -> pa.Table:
        """Of outcomes.STEP_SCHEMA, of all exposures of the users of the last period."""
        return self.last.period.steps


def labelled(raw: RawRows, cuts: Cuts | None, settings: Settings) -> Known:
    """The exposures of all users.

    Args:
        raw: the raw tables.
        cuts: where the splits end.
        settings: of the run.
    """
    begun = [outcomes.started_exposures(outcomes.STEP_SCHEMA.empty_table())]
    for before, _, found in _periods(raw, cuts, settings):
        begun.append(outcomes.started_exposures(found.period.steps, before.until if before else None))
    return Known(found, pa.concat_tables(begun))


def changes(raw: RawRows, cuts: Cuts | None, settings: Settings, counted: bool) -> pa.Table:
    """All that grows, or turns, by events, as `video_counts.increments`.

    Args:
        raw: the raw tables.
        cuts: where the splits end.
        settings: of the run.
        counted: whether COUNTERS are counted.
    """
    if not settings.positive_rates.enabled:  # nothing that is counted depends on labels
        splits = examples.splits_of(raw.events, cuts, settings)
        return video_counts.increments(raw.events, outcomes.empty_outcomes(), splits, cuts, settings, counted)
    parts = []
    for before, own, found in _periods(raw, cuts, settings):
        events = found.period.events
        splits = examples.splits_of(events, own, settings)
        part = video_counts.increments(events, found.outcomes, splits, own, settings, counted)
        parts.append(part.filter(pc.greater_equal(part["time"], before.until)) if before else part)
    return pa.concat_tables(parts)


def _periods(
    raw: RawRows, cuts: Cuts | None, settings: Settings
) -> Iterator[tuple[Carried | None, Cuts | None, Labelled]]:
    """What was known at the beginning of each period, where its splits end, and its exposures."""
    if not raw.stages:
        yield None, cuts, examples.label_exposures(raw.events, raw.users, raw.lookup, cuts, settings)
        return
    before = None
    for stage in raw.stages:
        events = late_events.between(raw.events, stage.bounds[0], stage.end)
        if before is None:
            own = cuts_in(stage, cuts)[1:] or None
            found = examples.label_exposures(events, raw.users, stage.lookup, own, settings)
            yield None, own, found
        else:
            splits = stage.bounds[-1], None
            of_log = raw.users, stage.lookup, settings
            for begun, found in late_events.labelled(events, stage.bounds, splits, *of_log, before):
                yield begun, begun.cuts, found
        if stage.end != NEVER:
            before = found.period.carry(stage.lookup, stage.end, settings)


def cuts_in(stage: Stage, cuts: Cuts | None) -> tuple[int, ...]:
    """Where a stage begins, and where exposures are cut in it.

    Args:
        stage: of several days, or all that there is.
        cuts: of the last period.
    """
    first, *bounds = stage.bounds
    own = bounds if first != ALWAYS else [cut for cut in cuts or () if cut is not None and cut < stage.end]
    return first, *own
