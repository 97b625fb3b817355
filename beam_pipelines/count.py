"""Point-in-time counts of videos, from the events of all users.

Changes are counted in time slices, which `Job.time_slices` makes, so that no call holds all changes of a video.

changes ─┬─► sums ─► videos, and bases of each time slice ─┐
         └──────────────────────────────────────────────┴─► versions
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any

import pyarrow as pa

from recsys_tft.beam_pipelines import state
from recsys_tft.beam_pipelines.elements import KeyedPart, KeyedSums, Parts, TaggedOutput
from recsys_tft.beam_pipelines.job import Job
from recsys_tft.features import Entity
from recsys_tft.point_in_time import counters, recent
from recsys_tft.run_layout.state_files import FIRST_SEEN
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.hashing import partition_of
from recsys_tft.time_lookups import distinct


def sum_changes(time_slice: int, parts: Parts, latest: int, job: Job) -> Iterator[KeyedPart | KeyedSums | TaggedOutput]:
    """The sums of the changes of a time slice, and those of the training split, to the partitions of their videos; and
    the changes that go into the next state."""
    found = _by_name(parts)
    yield from state.folded(_changes(found, "changes"), latest, job)
    changes = _changes(found, "changes", state.LATER)
    for partition, part in _by_partition(counters.sums(changes, job.counted_values), job):
        yield partition, ("sums", (time_slice, part))
    if job.training_values.names:
        for partition, part in _by_partition(counters.sums(counters.in_training(changes), job.training_values), job):
            yield partition, ("training", part)


def count_videos(partition: int, parts: Parts, job: Job) -> Iterator[KeyedPart | TaggedOutput]:
    """The videos of a partition with their counters at the end of the training split, their first versions, and the
    base of each time slice."""
    found = _by_name(parts)
    videos = arrow_ipc.loads(*found["videos"])
    ids = distinct(videos["video_id"].to_numpy())
    sums = ((time_slice, arrow_ipc.loads(part)) for time_slice, part in sorted(found["sums"], key=itemgetter(0)))
    for time_slice, base in counters.bases(ids, sums, job.counted_values):
        yield TaggedOutput("bases", (time_slice, ("base", arrow_ipc.dumps(base))))
    computed = counters.computed_columns(job.settings.counters, job.tables["videos"].absent)
    videos = counters.with_totals(videos, map(arrow_ipc.loads, found["training"]), computed, job.training_values)
    table = arrow_ipc.dumps(videos)
    yield TaggedOutput("analysis", (Entity.VIDEO, table))
    if job.settings.recent.enabled:
        seen = [*found["seen"], *found[f"{state.EARLIER}{FIRST_SEEN}"]]
        seen = [recent.FIRST_SEEN_SCHEMA.empty_table(), *map(arrow_ipc.loads, seen)]
        table = arrow_ipc.dumps(recent.with_first_seen(videos, pa.concat_tables(seen)))
        state.write_first_seen(partition, pa.concat_tables(seen), job)
    state.write_changes(partition, found[state.FOLDED], job)
    yield partition, ("videos", table)
    yield TaggedOutput("counts", ("counters/versions", len(ids)))
    yield partition, ("versions", arrow_ipc.dumps(counters.first_versions(ids, job.counted_values)))


def count_versions(_: int, parts: Parts, job: Job) -> Iterator[KeyedPart | TaggedOutput]:
    """The versions that begin in a time slice, to the partitions of their videos."""
    found = _by_name(parts)
    base = arrow_ipc.concat(found["base"]).sort_by("video_id")
    changes = _changes(found, "changes", state.LATER)
    versions = counters.later_versions(base, changes, job.settings.counters, job.counted_values)
    yield TaggedOutput("counts", ("counters/versions", len(versions)))
    for partition, part in _by_partition(versions, job):
        yield partition, ("versions", part)


def _changes(found: Mapping[str, list[Any]], *names: str) -> pa.Table:
    """The changes of a time slice under these names, those of the state included."""
    parts = [part for name in names for part in found[name]]
    own = [counters.INCREMENT_SCHEMA.empty_table(), *map(arrow_ipc.loads, parts)]
    earlier = [counters.CARRIED_SCHEMA.empty_table(), *map(arrow_ipc.loads, found[state.EARLIER])]
    return counters.together(pa.concat_tables(own).combine_chunks(), pa.concat_tables(earlier))


def _by_name(parts: Iterable[tuple[str, Any]]) -> defaultdict[str, list[Any]]:
    found = defaultdict(list)
    for name, part in parts:
        found[name].append(part)
    return found


def _by_partition(rows: pa.Table, job: Job) -> Iterator[tuple[int, bytes]]:
    return arrow_ipc.split(rows, partition_of(rows["video_id"].to_numpy(), job.video_partitions))
