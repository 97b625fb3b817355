"""Counting: what the events of all users make of the counters of each video, where they are as of each exposure."""

from collections.abc import Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_pipelines.job import Job
from beam_pipelines.prepare import Parts
from recsys_tft import arrow_ipc, counters
from recsys_tft.arrow_ipc import Packed
from recsys_tft.features import Entity

TaggedOutput = beam.pvalue.TaggedOutput


def count_videos(partition: int, parts: Parts, job: Job) -> Iterator[object]:
    """The videos of a partition with the counters that the training window makes, and their versions."""
    parts = list(parts)
    videos = next(arrow_ipc.loads(part) for name, part in parts if name == "videos")
    increments = _together([part for name, part in parts if name == "increments"])
    versions = counters.versions(np.unique(videos["video_id"].to_numpy()), increments, job.settings.counters)
    yield TaggedOutput("counts", ("counters/increments", len(increments)))
    yield TaggedOutput("counts", ("counters/versions", len(versions)))
    computed = counters.computed_columns(job.settings.counters, job.tables["videos"].absent)
    table = arrow_ipc.dumps(counters.with_totals(videos, counters.of_training(increments), computed))
    yield TaggedOutput("analysis", (Entity.VIDEO, table))
    yield partition, ("videos", table)
    yield partition, ("versions", arrow_ipc.dumps(versions))


def _together(parts: list[Packed]) -> pa.Table:
    return arrow_ipc.concat(parts) if parts else counters.INCREMENT_SCHEMA.empty_table()
