"""A log that arrives by days, and one run over all of it by what the run over the first day has fitted."""

import json
import pathlib
import shutil
from collections.abc import Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from recsys_tft.auditing.rerun import Rerun
from recsys_tft.beam_pipelines.job import Job, plan
from recsys_tft.beam_pipelines.options import Options, pipeline_in
from recsys_tft.configuration import settings
from recsys_tft.examples import negatives
from recsys_tft.labelling.split_times import SPLITS, Cuts
from recsys_tft.raw_replay import raw_rows
from recsys_tft.run_layout.output import Output
from recsys_tft.tables import raw_tables

ENTITIES = ("users", "videos", "channels")


def moments(raw: pathlib.Path, count: int, gap: int = 30 * 60 * 10**6) -> list[int]:
    """Times between which days lie: of events that go on with an exposure, in the last third of the log."""
    events = pq.read_table(raw / "interactions.parquet").sort_by(
        [(name, "ascending") for name in ("user_id", "video_id", "interaction_time")]
    )
    time = events["interaction_time"].cast(pa.int64()).to_numpy()
    keys = [events[name].combine_chunks() for name in ("user_id", "video_id")]
    same = pc.and_(*(pc.equal(key[1:], key[:-1]) for key in keys)).to_numpy(zero_copy_only=False)
    goes_on = same & (time[1:] - time[:-1] < gap) & (time[1:] > time[:-1])
    found = sorted(time[1:][goes_on].tolist())
    late = found[2 * len(found) // 3 :]
    return late[:: len(late) // count][:count]


def write_days(raw: pathlib.Path, root: pathlib.Path, cuts: Sequence[int], whole: Sequence[int]) -> list[pathlib.Path]:
    """Folders of the events of each day, and of what is told of users, videos and channels.

    Args:
        raw: the tables of all days.
        root: where the folders go.
        cuts: where each day but the first begins.
        whole: the days that have whole tables of users, videos and channels, where these have no versions.
    """
    tables = {name: pq.read_table(raw / f"{name}.parquet") for name in (*ENTITIES, "interactions")}
    days = [root / f"2025-03-{day + 1:02d}" for day in range(len(cuts) + 1)]
    for number, folder in enumerate(days):
        folder.mkdir(parents=True)
        bounds = [None, *cuts, None][number : number + 2]
        pq.write_table(_between(tables["interactions"], "interaction_time", *bounds), folder / "interactions.parquet")
        for name in ENTITIES:
            if "updated_at" in tables[name].column_names:
                pq.write_table(_between(tables[name], "updated_at", *bounds), folder / f"{name}.parquet")
            elif number in whole:
                shutil.copy(raw / f"{name}.parquet", folder)
    return days


def delay(days: Sequence[pathlib.Path], every: int) -> int:
    """Has some events of each day but the first and the last come a day later; returns how many."""
    later, moved = None, 0
    for number, folder in enumerate(days[1:], 1):
        events = pq.read_table(folder / "interactions.parquet").sort_by("interaction_time")
        rows = np.arange(len(events))
        are_late = (rows % every == 0) & (rows < len(rows) - 1) & (number < len(days) - 1)
        parts = [events.filter(pa.array(~are_late)), *([later] if later else [])]
        pq.write_table(pa.concat_tables(parts), folder / "interactions.parquet")
        later, moved = events.filter(pa.array(are_late)), moved + int(are_late.sum())
    return moved


def _between(table: pa.Table, name: str, since: int | None, until: int | None) -> pa.Table:
    time = table[name].cast(pa.int64())
    inside = pc.is_valid(time)
    inside = inside if since is None else pc.and_(inside, pc.greater_equal(time, since))
    return table.filter(inside if until is None else pc.and_(inside, pc.less(time, until)))


class OneRun(Rerun):
    """The main job over all days, with the splits, the graph and the catalogue of the refreshes."""

    def __init__(self, root: beam.Pipeline, job: Job, graph: str, cuts: Cuts, catalogue: negatives.Catalogue):
        super().__init__(root, job, graph)
        self._known = cuts, catalogue

    def _cuts(self, *_: PCollection) -> PCollection:
        return self._root | "Known cuts" >> beam.Create([self._known[0]])

    def _catalogue(self, *_: object) -> PCollection:
        return self._root | "Known catalogue" >> beam.Create([self._known[1]])


class _DaysJob(Job):
    """A job that writes the last splits, as many as there are SPLITS."""

    last = 0  # the number of the last split

    @property
    def splits(self) -> dict[str, int]:
        first = self.last - len(SPLITS) + 1
        return {name: number for number, name in enumerate(SPLITS, first)}


def one_run(out: pathlib.Path, raw: pathlib.Path, folder: pathlib.Path, last: pathlib.Path) -> pathlib.Path:
    """The rows of one run over all days, by the graph of the period `last`; the splits are the periods up to it."""
    manifest, of_last = (json.loads((root / "artifacts/manifest.json").read_text()) for root in (out, last))
    own, cuts = settings.from_manifest(manifest, "the run"), raw_rows.cuts_of(of_last)[:-1]
    rows = pq.read_table(out / "state/catalogue/part-00000.parquet")
    catalogue = negatives.Catalogue(*(rows[name].to_numpy() for name in rows.column_names), own.ranker.popularity_alpha)
    planned = plan(own, raw_tables.find(str(raw), own.columns, own.table), Output.at(str(folder)))
    job = _DaysJob(**vars(planned))
    object.__setattr__(job, "last", len(cuts))
    pipeline = pipeline_in(str(folder.parent), FnApiRunner(), Options([]))
    OneRun(pipeline, job, str(last / "artifacts/transform_graph/transform_fn"), cuts, catalogue).build()
    pipeline.run().wait_until_finish()
    return pathlib.Path(job.output.staged("processed_data"))
