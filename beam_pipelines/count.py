"""Counting: what the events of all users make of each video, where that is as of each exposure."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_pipelines.job import Job
from beam_pipelines.prepare import Parts
from recsys_tft.features import Entity
from recsys_tft.labelling import counters, recent
from recsys_tft.labelling.versions import distinct
from recsys_tft.storage import arrow_ipc

TaggedOutput = beam.pvalue.TaggedOutput


def count_videos(partition: int, parts: Parts, job: Job) -> Iterator[object]:
    """The videos of a partition with the counters that the training window makes, and their versions."""
    parts = list(parts)
    videos = next(arrow_ipc.loads(part) for name, part in parts if name == "videos")
    increments = _together("increments", parts)
    versions = _versions(distinct(videos["video_id"].to_numpy()), increments, parts, job)
    yield TaggedOutput("counts", ("counters/increments", len(increments)))
    yield TaggedOutput("counts", ("counters/versions", len(versions)))
    if job.counts_as_of:
        computed = counters.computed_columns(job.settings.counters, job.tables["videos"].absent)
        videos = counters.with_totals(videos, counters.of_training(increments), computed)
    table = arrow_ipc.dumps(videos)
    yield TaggedOutput("analysis", (Entity.VIDEO, table))
    if job.settings.recent.enabled:
        table = arrow_ipc.dumps(recent.with_first_seen(videos, _together("seen", parts)))
    yield partition, ("videos", table)
    yield partition, ("versions", arrow_ipc.dumps(versions))


def _versions(video_ids: np.ndarray, increments: pa.Table, parts: list[tuple[str, Any]], job: Job) -> pa.Table:
    """The versions of these videos, with their counters or what is recent, or both."""
    settings = job.settings
    if not settings.recent.enabled:
        return counters.versions(video_ids, increments, settings.counters)
    latest = max((time for name, time in parts if name == "latest"), default=0)
    changes = recent.changes(increments, settings.recent, latest)
    return counters.versions(video_ids, changes, settings.counters, recent.values(job.counts_as_of))


def _together(name: str, parts: list[tuple[str, Any]]) -> pa.Table:
    own = [part for other, part in parts if other == name]
    schema = counters.INCREMENT_SCHEMA if name == "increments" else recent.FIRST_SEEN_SCHEMA
    return arrow_ipc.concat(own) if own else schema.empty_table()
