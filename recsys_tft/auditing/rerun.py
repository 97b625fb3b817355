"""Reruns of the main job for a leak audit, with a graph that was fitted before."""

import functools
import pathlib
import uuid
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from recsys_tft import ids
from recsys_tft.auditing.past_rows import FIT
from recsys_tft.beam_pipelines.job import Job
from recsys_tft.beam_pipelines.main_job import MainJob
from recsys_tft.beam_pipelines.options import Options, labels_as_they_are, pipeline_in
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.faults import sentences
from recsys_tft.features import Entity
from recsys_tft.labelling.split_times import Cuts, describe
from recsys_tft.run_layout.data_sets import DATA_SETS
from recsys_tft.run_layout.output import Output
from recsys_tft.run_layout.state_files import EarlierState
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.tables import raw_tables
from recsys_tft.tables.raw_tables import ROW
from recsys_tft.titles.encoder_spec import NONE

_PARTITIONS = 2  # however many rows there are: how users are divided is the same in all reruns


class Rerun(MainJob):
    """The main job without the steps that fit a graph and describe the output.

    The inputs of fitting are written beside the rows; fitting itself would take as long as the rest of a small run.

    Args:
        root: the pipeline.
        job: what to do.
        graph: the folder of the saved `transform_fn`.
    """

    def __init__(self, root: beam.Pipeline, job: Job, graph: str):
        super().__init__(root, job, graphs="")  # as none is fitted
        self._graph = graph

    def _fit(self, training: PCollection, _: list[PCollection]) -> PCollection:
        folder = self._job.output.staged("processed_data", FIT)
        training | "Write training rows" >> beam.MapTuple(functools.partial(write_training_rows, folder=folder))
        return self._root | "Graph" >> beam.Create([self._graph])

    def _cuts(self, minutes: PCollection, times: PCollection) -> PCollection:
        """The fixed split times of a refresh, after the end of its state."""
        if self._job.earlier is None:
            return super()._cuts(minutes, times)
        fixed = self._job.settings.split.fixed_cuts
        assert fixed is not None
        return self._root | "Splits" >> beam.Create([(self._job.earlier.until, *fixed)])

    def _finish(self, *_: Any, **__: Any) -> None:
        """Commit nothing: the rows are read where they were written."""


def write_training_rows(entity: Entity, table: Packed, folder: str) -> None:
    """Write rows of one entity into a file, beside others with the same columns."""
    rows = ids.plain(ids.shown(arrow_ipc.loads(table)))
    rows = rows.select([name for name in rows.column_names if name != ROW])
    whole = f"{entity.value}_id" in rows.column_names or entity is Entity.EXPOSURE
    target = pathlib.Path(folder, "_".join([f"{entity.value}s", *([] if whole else rows.column_names)]))
    target.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, target / f"{uuid.uuid4().hex}.parquet")


def settings_of(run_settings: Settings, splits: Cuts) -> Settings:
    """The settings of a run for sampled tables, with fixed splits."""
    values = run_settings.model_dump(mode="json")
    times = [None if cut is None else describe(cut).removesuffix(" UTC") for cut in splits]
    texts = {f.name: NONE for f in run_settings.table.features if f.op.embeds_text}
    values |= {"columns": {}, "text_encoders": texts, "max_rejected_fraction": 1.0}
    values["split"] = dict(zip(("val_from", "test_from"), times, strict=True))
    values["output"]["format"] = "parquet"
    values["statistics"]["enabled"] = False  # which nobody would read
    return parse(values, "the settings of the run")


def rerun(
    settings: Settings, data_dir: str, graph: str, output_dir: str, earlier: EarlierState | None = None
) -> dict[str, pa.Table]:
    """The rows of all data folders, and the inputs of fitting below FIT, by folder.

    Args:
        settings: of the run; its format is parquet, and titles are not encoded.
        data_dir: the raw tables.
        graph: the folder of the saved `transform_fn`.
        output_dir: an empty local folder, where the rows stay, and the state.
        earlier: the state that a refresh starts from.

    Raises:
        InputError: if the raw tables are of no use to a run.
    """
    tables = raw_tables.find(data_dir, settings.columns, settings.table)
    job = Job(settings, settings, tables, Output.at(output_dir), _PARTITIONS, _PARTITIONS, earlier=earlier)
    with sentences(), labels_as_they_are():
        pipeline = pipeline_in(str(pathlib.Path(output_dir).parent), FnApiRunner(), Options([]))
        Rerun(pipeline, job, graph).build()
        pipeline.run().wait_until_finish()
    root = pathlib.Path(job.output.staged("processed_data"))
    folders = [folder for data_set in DATA_SETS for folder in data_set.folders]
    folders += [str(path.relative_to(root)) for path in sorted((root / FIT).iterdir())]
    return {folder: _read(root / folder) for folder in folders}


def _read(folder: pathlib.Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])
