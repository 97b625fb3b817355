"""The raw rows of rows on disk, with everything that depends on events taken from the online state."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import FIRST_SEEN, Accuracy, OfGroup
from recsys_tft.features import Entity, Feature
from recsys_tft.point_in_time import recent
from recsys_tft.point_in_time.pair_columns import PairColumns
from recsys_tft.raw_replay.raw_rows import RawRows
from recsys_tft.tables.versions import NEVER
from recsys_tft.time_lookups import rows_at
from recsys_tft.verifying.raw_matches import Matches
from recsys_tft.verifying.replay import Known, RowKeys

_LIVE = (Accuracy.AS_OF, Accuracy.VERSIONED)


def is_live(feature: Feature, counted: Sequence[str]) -> bool:
    """Whether events change a feature; `counted` are the columns of videos that are counted."""
    changes = (column.accuracy in _LIVE or column.name in counted or column.of_group for column in feature.columns)
    return any(changes) or (feature.entity is Entity.PAIR and recent.PUBLISHED in feature.sources)


def by_exposure(batch: Matches, known: Known) -> Matches:
    """Values at exposures: columns of the tables by the batch, all others by the online state."""
    rows = batch.raw.take(pa.array(batch.row))
    user_columns = known.users.take(pa.array(batch.owner))
    columns = {name: rows[name] for name in rows.column_names}
    columns |= {name: user_columns[name] for name in user_columns.column_names}
    return Matches(pa.table(columns), batch.owner, np.arange(len(rows)), batch.missing)


def by_video(videos: pa.Table, asked: RowKeys, known: Known) -> Matches:
    """The rows of videos at their moments, with their counters."""
    places = rows_at(videos, "video_id", asked.videos, asked.times)
    owner = np.flatnonzero(places >= 0)
    columns = {name: videos[name].take(pa.array(places[owner])) for name in videos.column_names}
    columns |= {name: pa.array(values[owner]) for name, values in known.videos.items()}
    return Matches(pa.table(columns), owner, np.arange(len(owner)), np.flatnonzero(places < 0))


def by_pairs(
    features: Sequence[Feature],
    exposures: Matches,
    videos: Matches,
    raw: RawRows,
    asked: RowKeys,
    known: Known,
    delay: int,
) -> Iterator[tuple[Matches, list[Feature]]]:
    """The columns of users and videos that each feature of pairs reads.

    Args:
        features: of pairs.
        exposures: of `by_exposure`.
        videos: of `by_video`; all are known.
        raw: the raw tables.
        asked: the rows.
        known: their online values.
        delay: microseconds until an event is visible.
    """
    owner = exposures.owner
    video_rows = videos.raw.take(pa.array(owner))
    if FIRST_SEEN in video_rows.column_names:
        seen = known.first_seen[owner]
        video_rows = video_rows.set_column(
            video_rows.column_names.index(FIRST_SEEN), FIRST_SEEN, pa.array(seen, mask=seen == NEVER)
        )
    pair_rows = np.arange(len(owner))
    users = rows_at(raw.users, "user_id", asked.users[owner], asked.times[owner])
    tables = {Entity.USER: [raw.users], Entity.EXPOSURE: [exposures.raw], Entity.VIDEO: [video_rows]}
    tables = {entity: [ids.shown(table) for table in tables_of_entity] for entity, tables_of_entity in tables.items()}
    rows = {Entity.USER: [users], Entity.EXPOSURE: [pair_rows], Entity.VIDEO: [pair_rows]}
    columns = PairColumns(tables, rows, delay, _KnownTallies(known.tallies, owner))
    for feature in features:
        pairs = pa.table([values.all() for values in columns.of(feature)], list(feature.sources))
        yield Matches(pairs, owner, pair_rows, exposures.missing), [feature]


class _KnownTallies:
    """Tallies from the online state, with the interface of `outcomes.Tallies`."""

    def __init__(self, found: Mapping, owner: np.ndarray):
        self._tallies, self._owner = found, pa.array(owner)

    def of(self, group: OfGroup) -> pa.Array:
        """[n] int64."""
        return self._tallies[group.column, group.tally].take(self._owner)
