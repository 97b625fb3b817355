"""Reading: from Parquet files to partitions of usable rows, rejected rows, and counts."""

import functools
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa

from recsys_tft.beam_pipelines.elements import KeyedPart, TaggedOutput
from recsys_tft.beam_pipelines.pairs import ForEachPair
from recsys_tft.beam_pipelines.prefetch import Prefetch, TakeResults
from recsys_tft.columns import KEYS
from recsys_tft.configuration.settings import Settings
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.hashing import partition_of
from recsys_tft.tables import raw_tables
from recsys_tft.tables.event_signals import events_of
from recsys_tft.tables.needed_columns import needed_columns
from recsys_tft.tables.raw_tables import RawTable, Source


class ReadTable(beam.PTransform):
    """One raw table as (partition, (table name, rows)), with the outputs `rejected` and `counts` beside `main`."""

    def __init__(
        self, table: RawTable, settings: Settings, partitions: int, prefetch: Prefetch | None = None, **local: Any
    ):
        super().__init__()
        self._table = table
        self._keep = needed_columns(table, settings)
        self._partitions = partitions
        self._prefetch = prefetch
        self._local = local

    def expand(self, root: beam.Pipeline) -> Any:  # a DoOutputsTuple, of which Beam would warn as no type of elements
        """Every partition gets a part of no rows, so that all of them exist, in small tables too."""
        nothing = [(partition, None) for partition in range(self._partitions)]
        pairs: list[Any] = [*nothing, *enumerate(self._table.sources)]
        options: dict[str, Any] = {"table": self._table, "keep": self._keep, "partitions": self._partitions}
        if self._prefetch is None:
            read: beam.DoFn = ForEachPair(read_source, **self._local, **options)
        else:
            pairs = [self._prefetch.begin(functools.partial(read_source, **options), *pair) for pair in pairs]
            read = TakeResults(self._prefetch, read_source.__name__)
        sources = root | "Sources" >> beam.Create(pairs, reshuffle=not self._local)  # one process reads all of them
        return sources | "Rows" >> beam.ParDo(read).with_outputs("rejected", "counts", main="main")


def read_source(
    number: int, source: Source | None, table: RawTable, keep: list[str], partitions: int
) -> Iterator[KeyedPart | TaggedOutput]:
    """The usable rows of one source by partition; rejected rows and counts as tagged outputs.

    Without a source, no rows for the partition `number`.
    """
    if source is None:
        yield number, (table.name, arrow_ipc.dumps(_rows(raw_tables.empty(table.known, keep), table)))
        return
    usable, rejected = raw_tables.read(table, source, keep)
    yield TaggedOutput("counts", (f"rows/{table.name}/in", len(usable) + len(rejected)))
    yield TaggedOutput("counts", (f"rows/{table.name}/read", len(usable)))
    yield from reject(rejected, table.name, f"read-{number:05d}")
    rows = _rows(usable, table)
    key = "user_id" if table.name == "interactions" else KEYS[table.name]
    for partition, part in arrow_ipc.split(rows, partition_of(rows[key].to_numpy(), partitions)):
        yield partition, (table.name, part)


def _rows(usable: pa.Table, table: RawTable) -> pa.Table:
    return events_of(usable, table.is_long, table.bits) if table.name == "interactions" else usable


def reject(rows: pa.Table, table: str, part: str) -> Iterator[TaggedOutput]:
    """Rejected rows, with a `reason` each, as tagged outputs."""
    if not len(rows):
        return
    yield TaggedOutput("rejected", (f"{table}/{part}", arrow_ipc.dumps(rows)))
    for counted in rows["reason"].value_counts().to_pylist():
        yield TaggedOutput("counts", (f"rejected/{table}/{counted['values']}", counted["counts"]))
