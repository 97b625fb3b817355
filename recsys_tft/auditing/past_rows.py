"""Values that have to be equal in two reruns of one past with two futures."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids
from recsys_tft.auditing.futures import TIME, Cut
from recsys_tft.auditing.row_differences import KEY, Compared, compare
from recsys_tft.columns import Accuracy, Column
from recsys_tft.configuration.settings import Settings
from recsys_tft.features import Entity, Feature, entity_of
from recsys_tft.point_in_time.user_context import COUNTED_VIDEO
from recsys_tft.run_layout.data_sets import RANKER_ROWS, TWO_TOWER, USERS, VIDEOS, DataSet

Rows = Mapping[str, pa.Table]  # of one rerun, by folder
EXAMPLES = (TWO_TOWER, RANKER_ROWS)
FIT = "fit"  # the folder of what the graph would be fitted on
_CORPORA = (USERS, VIDEOS)


def moment_of(feature: Feature, counted: bool = True) -> tuple[tuple[str, ...], bool] | None:
    """The key at whose moment a feature is computed, and whether it lags by the delay of counters.

    None for features of the exposure itself, such as its device. `counted` columns lag; versions do not.
    """
    owners = {column.name: _owners(column) for column in feature.columns if column.name not in _OF_NOBODY}
    key = tuple(name for name in ("user_id", "video_id") if any(name in keys for keys in owners.values()))
    if () in owners.values() or not key:
        return None
    lagging = _LAGGING if counted else _LAGGING[1:]
    lags = all(column.accuracy in lagging for column in feature.columns if owners.get(column.name) == ("video_id",))
    return key, lags and key == ("video_id",)


# The moment itself, and what is compared of negatives alone.
_OF_NOBODY = ("interaction_time", COUNTED_VIDEO)
_LAGGING = (Accuracy.COUNTED, Accuracy.VERSIONED)  # by the delay of counters


def _owners(column: Column) -> tuple[str, ...]:
    """The keys of the entities that a column describes; none for a column of the exposure."""
    entity = entity_of(column)
    if entity is Entity.PAIR:
        return "user_id", "video_id"
    if entity is Entity.VIDEO:
        return ("video_id",)
    return ("user_id",) if entity is Entity.USER or column.accuracy is Accuracy.AS_OF else ()


def changes(feature: Feature) -> bool:
    """Whether a feature depends on the moment even if no table has versions."""
    return feature.accuracy not in (Accuracy.STATIC, Accuracy.SNAPSHOT)


@dataclasses.dataclass(frozen=True)
class PastRows:
    """Compares the rows before a cut, and the point-in-time values of rows at the cut.

    Attributes:
        cut: where the future begins.
        settled: the exposures that no event from the cut on can continue, by KEY.
        settings: of the reruns.
        versioned: the corpora whose entities have versions: they hold the latest ones, whatever the cut.
        counted: whether the counters of videos are counted from interactions, rather than read.
    """

    cut: Cut
    settled: pl.DataFrame
    settings: Settings
    versioned: tuple[str, ...] = ()
    counted: bool = True

    def compare(self, rows: Rows, others: Rows) -> Iterator[tuple[Compared, bool]]:
        """Compare rows; with each comparison, whether it is of whole rows or of point-in-time values."""
        for data_set in EXAMPLES:
            one, other = (_concat(data_set, side) for side in (rows, others))
            yield self._compare_rows(data_set, one, other), True
            for compared in self._compare_moments(data_set, one, other):
                yield compared, False
        if self.cut.ends_training:
            for folder in self._training_folders(rows, others):
                empty = next(side[folder] for side in (rows, others) if folder in side).slice(0, 0)
                key = [name for name in KEY if name in empty.column_names] or empty.column_names
                columns = [name for name in empty.column_names if name not in key]
                one, other = (side.get(folder, empty) for side in (rows, others))
                yield compare(folder, one, other, key, columns, all_there=True), True

    def _training_folders(self, rows: Rows, others: Rows) -> list[str]:
        """The folders made from the training split alone: the inputs of fitting, and the corpora."""
        fitted = {folder for folder in (*rows, *others) if folder.startswith(f"{FIT}/")}
        return [*sorted(fitted), *(corpus.name for corpus in _CORPORA if corpus.name not in self.versioned)]

    def _compare_rows(self, data_set: DataSet, one: pa.Table, other: pa.Table) -> Compared:
        """Compare rows before the cut in all columns.

        If the training split continues after the cut, the catalogue of negatives, and whether an exposed one is
        contradicted, are rightly decided later.
        """
        later = {"log_q"} if not self.cut.ends_training else set()
        columns = [name for name in one.column_names if name not in {*KEY, *later}]
        one, other = (table.filter(pa.array(self._is_whole(table))) for table in (one, other))
        there = self.cut.ends_training or not data_set.labelled
        return compare(data_set.name, one, other, KEY, columns, all_there=there)

    def _is_whole(self, rows: pa.Table) -> np.ndarray:
        """[n] bool: whether a row was made entirely from events before the cut."""
        before = rows[TIME].to_numpy() < self.cut.time
        if self.cut.ends_training:
            return before
        coded = pa.table([ids.codes_of(rows[name]) for name in KEY], list(KEY))
        keys = pl.DataFrame(coded).with_row_index("row")
        whole = np.zeros(len(rows), bool)
        whole[keys.join(self.settled, on=KEY, how="semi")["row"].to_numpy()] = True
        if "source" in rows.column_names:
            whole &= pl.Series(rows["source"]).cast(pl.String).to_numpy() != "sampled"
        return whole & before

    def _compare_moments(self, data_set: DataSet, one: pa.Table, other: pa.Table) -> Iterator[Compared]:
        """Compare the point-in-time values of other rows that are from before the cut."""
        groups: dict[tuple[tuple[str, ...], int, bool], list[str]] = {}
        for feature in data_set.features(self.settings):
            if moment := moment_of(feature, self.counted):
                key, lags = moment
                delay, counted = self.cut.delay if lags else 0, COUNTED_VIDEO in feature.sources
                groups.setdefault((key, delay, counted), []).append(feature.name)
        for (key, delay, counted), names in groups.items():
            # What a positive row adds to the fit is taken off again, and whether it is positive is of its own moment.
            tables = [t.filter(pc.equal(t["label"], 0)) if counted else t for t in (one, other)]
            ours, theirs = (_first_of_moment(self._point_in_time_rows(table, delay), key) for table in tables)
            yield compare(data_set.name, ours, theirs, (*key, TIME), names, all_there=False)

    def _point_in_time_rows(self, rows: pa.Table, delay: int) -> pa.Table:
        """The rows that are not compared as a whole, and whose values are from before the cut."""
        is_past = rows[TIME].to_numpy() - delay <= self.cut.time
        return rows.filter(pa.array(is_past & ~self._is_whole(rows)))


def _concat(data_set: DataSet, rows: Rows) -> pa.Table:
    return pa.concat_tables([rows[folder] for folder in data_set.folders])


def _first_of_moment(rows: pa.Table, key: tuple[str, ...]) -> pa.Table:
    keys = pl.DataFrame(rows.select(list(KEY))).with_row_index("row")
    first = keys.sort(*key, TIME, *KEY, "row").unique([*key, TIME], keep="first", maintain_order=True)
    return rows.take(first["row"].to_arrow())
