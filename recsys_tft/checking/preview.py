"""`recsys_tft.check`: a preview of a run on raw tables; nothing is written."""

import dataclasses
import datetime
import os
from collections import Counter
from collections.abc import Callable, Mapping

import pyarrow.compute as pc

from recsys_tft.checking import estimates, sampling, suspicions
from recsys_tft.checking.estimates import Estimate
from recsys_tft.checking.sampling import Joined, Labelled
from recsys_tft.configuration import settings
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import TITLE
from recsys_tft.errors import InputError, UsageError
from recsys_tft.examples import odd_data
from recsys_tft.faults import sentences
from recsys_tft.labelling import labels, split_times
from recsys_tft.point_in_time import counters
from recsys_tft.storage import places
from recsys_tft.tables import raw_tables, rejects
from recsys_tft.tables.raw_tables import RawTable
from recsys_tft.titles.encoder_spec import NONE


@dataclasses.dataclass(frozen=True)
class Preview:
    """The outcome that a run on raw tables would have.

    Attributes:
        tables: the contents of their footers, by name.
        counts: of the rows that were read, with the names that a manifest has: `rows/TABLE/in` and
            `rejected/TABLE/REASON`, `exposures/SPLIT/KIND` and `positives/RULE/SPLIT`.
        whole: the tables that were read to the end, so that their counts are those of a run.
        stops: a sentence for each thing that would stop a run.
        warnings: those of a run, and suspicious values, as sentences.
        splits: `val_from` and `test_from` as text; empty if each user has their own.
        estimate: of time and memory of a run; None if it would stop.
    """

    tables: dict[str, RawTable]
    counts: Counter[str]
    whole: frozenset[str]
    stops: tuple[str, ...]
    warnings: tuple[str, ...]
    splits: dict[str, str | None]
    estimate: Estimate | None

    def scale(self, table: str) -> float:
        """The number of rows of a table per sampled row."""
        return _scale(self.tables, self.counts, table)


@sentences()
def check(
    data_dir: str,
    config: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    sizes: tuple[int, int] = (sampling.EVENTS, sampling.ENTITIES),
) -> Preview:
    """Preview a run on the four tables in a folder, within seconds: rows read, rejected and written, and its cost.

    It reads the files' footers, and up to `sizes` rows, which go through the functions of the main job. Counts are
    those of a run for tables that are not larger, and of a sample otherwise.

    Args:
        data_dir: of the raw tables, on this machine.
        config: the YAML file that the run would be given.
        say: is told each step.
        sizes: about how many rows to read of interactions, and of each other table.

    Examples:
        >>> preview = check("out/raw")
        >>> preview.stops
        ()
        >>> preview.tables["users"].rows
        150

    Raises:
        InputError: where a setting is wrong, or the tables cannot be read at all, with all that is wrong with them.
    """
    places.check("--data-dir", data_dir)
    if places.scheme(data_dir):
        raise UsageError(f"--data-dir is {data_dir!r}; check reads tables on this machine.")
    places.check_data(data_dir)
    places.check("--config", config)
    chosen = settings.load(config) if config is not None else Settings()
    say("Reading the files' footers")
    tables = raw_tables.find(data_dir, chosen.columns, chosen.table)
    chosen = chosen.replace({"ids": raw_tables.id_settings(tables)})
    say("Reading a sample of the rows")
    sample = sampling.take(tables, chosen, *sizes)
    joined = sampling.join(sample, tables, chosen)
    say("Labelling")
    labelled, stops = _labelled(joined, chosen)
    computed = counters.computed_columns(chosen.counters, tables["videos"].absent)
    warnings = [sentence for table in tables.values() for sentence in table.warnings(computed)]
    warnings += suspicions.find(sample, joined, tables, datetime.datetime.now(datetime.UTC))
    counts, splits, estimated = joined.counts.copy(), {}, None
    if labelled:
        counts.update(labelled.counts)
        oddities, by_split = joined.odd + labelled.odd, odd_data.exposures_by_split(counts)
        warnings += odd_data.warnings(oddities, by_split, labelled.span, labelled.cuts, chosen.split)
        splits = split_times.describe_cuts(labelled.cuts)
        titles = round(_titles(joined, chosen) * _scale(tables, counts, "videos"))
        sampled = labelled, _scale(tables, counts, "interactions")
        estimated = estimates.estimate(*sampled, tables, titles, chosen, os.cpu_count() or 1)
    return Preview(tables, counts, sample.whole, tuple(stops), tuple(warnings), splits, estimated)


def _scale(tables: Mapping[str, RawTable], counts: Mapping[str, int], table: str) -> float:
    """The number of rows of a table per sampled row."""
    return tables[table].rows / max(counts.get(f"rows/{table}/in", 0), 1)


def _labelled(joined: Joined, chosen: Settings) -> tuple[Labelled | None, list[str]]:
    """The labels of the exposures, and the errors that would stop a run."""
    stops = []
    try:
        rejects.check_fractions(joined.counts, chosen.max_rejected_fraction)
    except InputError as error:
        stops.append(str(error))
    try:
        labelled = sampling.label(joined, chosen)
        labels.check_training(labelled.counts, chosen)
    except InputError as error:
        return None, [*stops, str(error)]
    return labelled, stops


def _titles(joined: Joined, chosen: Settings) -> int:
    """The number of distinct titles for an encoder."""
    if chosen.title_encoder == NONE or TITLE not in joined.videos.column_names:
        return 0
    return pc.count_distinct(joined.videos[TITLE]).as_py()
