"""All point-in-time counters of videos: the kinds of changes, and the columns that they change.

A change is a row of counters.INCREMENT_SCHEMA, of which `counter` is the kind: one of COUNTERS grows, a part of it
leaves a recent window, or an exposure is shown, becomes positive, or ceases to be.
"""

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.labelling import split_times
from recsys_tft.point_in_time import counters, outcomes, recent
from recsys_tft.point_in_time.counters import COUNTERS, INCREMENT_SCHEMA, Values

_NAMES = (*COUNTERS, *recent.VIDEO_COLUMNS, *outcomes.VIDEO_COLUMNS)
SHOWN = len(COUNTERS) + len(recent.VIDEO_COLUMNS)
POSITIVE, TURNED = SHOWN + 1, SHOWN + 2
_KINDS = SHOWN + 3


def are_counted(settings: Settings, counted: bool) -> bool:
    """Whether anything is counted; `counted`: whether COUNTERS are."""
    return counted or settings.recent.enabled or settings.positive_rates.enabled


def values(settings: Settings, counted: bool, training: bool = False) -> Values:
    """The columns of versions.

    Args:
        settings: of the run.
        counted: whether COUNTERS are counted.
        training: for totals of the training split, which have no recent counts.
    """
    effects = np.zeros((_KINDS, len(_NAMES)), np.int64)
    effects[:SHOWN, :SHOWN] = recent.EFFECTS
    effects[[SHOWN, POSITIVE, TURNED], [-2, -1, -1]] = 1, 1, -1
    is_counted = {name: counted for name in COUNTERS}
    is_counted |= dict.fromkeys(recent.VIDEO_COLUMNS, settings.recent.enabled and not training)
    is_counted |= dict.fromkeys(outcomes.VIDEO_COLUMNS, settings.positive_rates.enabled)
    places = [place for place, name in enumerate(_NAMES) if is_counted[name]]
    return Values(tuple(_NAMES[place] for place in places), effects[:, places])


def increments(
    events: pa.Table,
    became: pa.Table,
    splits: np.ndarray,
    cuts: split_times.Cuts | None,
    settings: Settings,
    counted: bool,
) -> pa.Table:
    """All changes by events.

    Args:
        events: sorted as by `exposures.sort_events`.
        became: their outcomes.
        splits: [n] int8 split of each event.
        cuts: where the splits end; None if each user has their own.
        settings: of the run.
        counted: whether COUNTERS are counted.
    """
    tables = [INCREMENT_SCHEMA.empty_table()]
    if counted or settings.recent.enabled:
        tables.append(counters.increments(events, splits, settings))
    if settings.positive_rates.enabled:
        tables.append(_outcome_changes(became, cuts))
    return pa.concat_tables(tables)


def _outcome_changes(became: pa.Table, cuts: split_times.Cuts | None) -> pa.Table:
    video, in_training = became["video_id"].to_numpy(), became["split"].to_numpy() == 0
    end = split_times.end_of_training(cuts)
    tables = []
    for kind, (rows, time) in zip((SHOWN, POSITIVE, TURNED), outcomes.steps(became), strict=True):
        training = in_training[rows] & (True if end is None else time < end)
        tables.append(pa.table([video[rows], time, np.full(len(time), kind, np.int8), training], INCREMENT_SCHEMA))
    return pa.concat_tables(tables)
