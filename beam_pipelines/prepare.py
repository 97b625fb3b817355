"""Preparing: from partitions of events and users to labelled exposures, the catalogue and the splits."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import time_lookups
from recsys_tft.beam_pipelines import fitting, state
from recsys_tft.beam_pipelines.elements import STATISTICS, Frames, KeyedFrames, KeyedTable, Parts, TaggedOutput
from recsys_tft.beam_pipelines.job import BEGUN, OUTCOMES, Job
from recsys_tft.beam_pipelines.read import reject
from recsys_tft.columns import UPDATED
from recsys_tft.describing import run_rows
from recsys_tft.describing.columns import Parcel
from recsys_tft.errors import InputError
from recsys_tft.examples import (
    event_chunks,
    examples,
    fitting_rows,
    heavy_users,
    late_events,
    odd_data,
)
from recsys_tft.examples.negatives import Lately
from recsys_tft.features import Entity
from recsys_tft.labelling import split_times
from recsys_tft.merging import MergeSome
from recsys_tft.point_in_time import counters, outcomes, recent, video_counts
from recsys_tft.point_in_time.carried import Carried, Period
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.storage.hashing import partition_of
from recsys_tft.tables import rejects, versions
from recsys_tft.tables.entities import VideoLookup, add_channels, known_durations, repeated_reason
from recsys_tft.tables.raw_tables import ROW
from recsys_tft.time_lookups import rows_at
from recsys_tft.titles import text_embedding

COUNTS = "recsys_tft"  # the namespace of Beam's metrics for what the manifest counts


class MergeHistograms(MergeSome):
    """Merges split_times.Histogram."""

    def __init__(self) -> None:
        super().__init__(split_times.merge, split_times.histogram(np.zeros(0, np.int64)))


class MergeShown(MergeSome):
    """Merges what `run_rows.shown` gives, packed."""

    def __init__(self) -> None:
        super().__init__(_merged_shown, arrow_ipc.dumps(run_rows.SHOWN_SCHEMA.empty_table()))


def _merged_shown(parts: list[Packed]) -> Packed:
    return arrow_ipc.dumps(run_rows.merge_shown(list(map(arrow_ipc.loads, parts))))


class SumByName(beam.CombineFn):
    """(name, number) pairs as one dictionary of sums."""

    def create_accumulator(self) -> collections.Counter[str]:
        return collections.Counter()

    def add_input(self, sums: collections.Counter[str], count: tuple[str, int]) -> collections.Counter[str]:
        name, number = count
        sums[name] += number
        return sums

    def merge_accumulators(self, accumulators: Iterable[collections.Counter[str]]) -> collections.Counter[str]:
        merged: collections.Counter[str] = collections.Counter()
        for sums in accumulators:
            merged.update(sums)
        return merged

    def extract_output(self, sums: collections.Counter[str]) -> dict[str, int]:
        return dict(sums)


def sum_counts() -> beam.CombineGlobally:
    """From (name, number) pairs to one dictionary of sums, to be read as a singleton side input."""
    return beam.CombineGlobally(SumByName())


def publish(item: tuple[str, int]) -> tuple[str, int]:
    """Adds a count to Beam's metric of its name, which a runner shows while the job runs.

    What the manifest sums up and what a runner shows pass here, so that they cannot differ: a runner that repeats a
    bundle commits the metrics of the attempt whose results it keeps.
    """
    name, number = item
    beam.metrics.Metrics.counter(COUNTS, name).inc(number)
    return item


def unique_channels(_: int, parts: Parts, job: Job) -> Iterator[Packed | TaggedOutput]:
    """All channels, one row per id or per version of one; duplicates rejected."""
    kept, dropped = state.unique("channels", parts)
    yield from reject_duplicates(dropped, job, "channels", "channel_id", 0)
    state.write("channels", 0, kept, job)
    if time_lookups.is_versioned(kept):
        yield TaggedOutput("counts", ("versions/channels/keys", len(versions.latest(kept, "channel_id"))))
    yield arrow_ipc.dumps(kept.drop_columns([ROW]))


def unique_videos(partition: int, parts: Parts, channels: Packed, job: Job) -> Iterator[KeyedTable | TaggedOutput]:
    """The videos of a partition, or their versions, joined with their channels; and what the lookup needs of them."""
    kept, dropped = state.unique("videos", parts)
    yield from reject_duplicates(dropped, job, "videos", "video_id", partition)
    state.write("videos", partition, kept, job)
    kept, zeros = known_durations(kept)
    computed = counters.computed_columns(job.settings.counters, job.tables["videos"].absent)
    odd = odd_data.of_videos(versions.latest(kept, "video_id"), computed, job.settings)
    yield from _odd({**odd, "zero_durations": zeros})
    of_channels = arrow_ipc.loads(channels)
    lookup = VideoLookup.of(kept, of_channels, groups=outcomes.groups(job.settings))
    yield TaggedOutput("lookup", arrow_ipc.dumps(lookup.rows))
    videos = add_channels(kept.drop_columns([ROW]), of_channels)
    current = versions.latest(videos, "video_id")
    yield TaggedOutput("sizes", (partition, len(current)))
    if UPDATED in kept.column_names:
        yield TaggedOutput("counts", ("versions/videos/keys", len(current)))
    table = arrow_ipc.dumps(videos)
    # A collection of its own: FnApiRunner never ends where two steps read one collection and the second waits for a
    # side input that a Flatten after the first leads to (apache/beam#26190).
    yield TaggedOutput("analysis", (Entity.VIDEO, table))
    if texts := text_embedding.sources(text_embedding.text_features(job.settings, Entity.VIDEO)):
        of_texts = (videos if job.settings.output.inline_title_embedding else current).select(texts)
        yield TaggedOutput("texts", (partition, arrow_ipc.dumps(of_texts)))
    yield partition, table


def _odd(counts: Mapping[str, int]) -> Iterator[TaggedOutput]:
    """What is odd about a part of the data, for the warnings at the end."""
    return (TaggedOutput("odd", item) for item in counts.items() if item[1])


def reject_duplicates(rows: pa.Table, job: Job, table: str, key: str, partition: int) -> Iterator[TaggedOutput]:
    """Rows of a key, or of one at the same time, that an earlier row has."""
    reason = pa.array([repeated_reason(rows, key)] * len(rows), pa.string())
    rows = rejects.rejected_rows(rows.append_column("reason", reason), job.tables[table])
    return reject(rows, table, f"unique-{partition:05d}")


def video_lookup(parts: Iterable[Packed]) -> bytes:
    """All videos' ids, durations and categories, by id; or versions of them."""
    return arrow_ipc.dumps(versions.in_order(map(arrow_ipc.loads, parts), "video_id"))


def gather_events(partition: int, parts: Parts, lookup: Packed, job: Job) -> Iterator[KeyedFrames | TaggedOutput]:
    """The sorted events and the users of a partition, the times of its exposures, rejected rows and counts."""
    parts = list(parts)
    users, duplicates = state.unique("users", parts)
    yield from reject_duplicates(duplicates, job, "users", "user_id", partition)
    state.write("users", partition, users, job)
    if UPDATED in users.column_names:
        yield TaggedOutput("counts", ("versions/users/keys", len(versions.latest(users, "user_id"))))
    events = [part for name, part in parts if name == "interactions"]
    if job.earlier:
        events, too_late = state.without_late(events, job)
        rejected = rejects.rejected_rows(too_late, job.tables["interactions"])
        yield from reject(rejected, "interactions", f"late-{partition:05d}")
    videos = VideoLookup(arrow_ipc.loads(lookup), job.settings.ids.video_id)
    gathered = event_chunks.Gathered(events, users, videos, job.settings)
    unknown = rejects.rejected_rows(gathered.unknown, job.tables["interactions"])
    yield from reject(unknown, "interactions", f"join-{partition:05d}")
    times, chunks, latest, repeated, late = [], [], 0, 0, 0
    for chunk in gathered.chunks():
        of_chunk = examples.exposure_times(chunk, job.settings.labels.exposure_gap)
        times.append(of_chunk if job.since is None else of_chunk[of_chunk >= job.since])
        chunks.append(arrow_ipc.dumps(chunk))
        latest = max(latest, int(chunk["interaction_time"].to_numpy().max(initial=0)))
        repeated += odd_data.repeated(chunk)
        late += 0 if job.since is None else int((chunk["interaction_time"].to_numpy() < job.since).sum())
    yield from _odd({"repeated": repeated})
    if late:
        yield TaggedOutput("counts", ("late/interactions/used", late))
    yield TaggedOutput("latest", latest)
    time = np.concatenate(times)
    yield TaggedOutput("minutes", split_times.histogram(split_times.coarse(time)))
    yield TaggedOutput("times", arrow_ipc.dumps(pa.table({"time": time})))
    frames: Frames = {"events": tuple(chunks), "users": arrow_ipc.dumps(users)}
    if job.earlier:
        frames["earlier"] = state.of_users(parts)
    yield partition, frames


def times_near_cuts(packed: Packed, minutes: split_times.Histogram, job: Job) -> split_times.Histogram:
    """The times in the minutes in which the splits end, and in the first and the last one."""
    times = arrow_ipc.loads(packed)["time"].to_numpy()
    wanted = split_times.ranks(int(minutes[1].sum()), job.settings.split)
    near = np.append(split_times.minutes_of(minutes, wanted), minutes[0][[0, -1]] if len(minutes[0]) else [])
    return split_times.histogram(times[np.isin(split_times.coarse(times), near)])


def find_cuts(
    times: split_times.Histogram, minutes: split_times.Histogram, counts: dict[str, int], job: Job
) -> split_times.Cuts | None:
    """Where the splits end; None where they end for each user elsewhere.

    Raises:
        InputError: if too many rows were rejected, or the training split is empty.
    """
    rejects.check_fractions(counts, job.settings.max_rejected_fraction)
    if job.earlier:
        if not len(minutes[0]):
            raise InputError("No new interaction can be used, so there is nothing to refresh with.")
        return job.earlier.until, None
    return split_times.find(minutes, times, job.settings.split)


def label_exposures(
    partition: int, frames: Frames, lookup: Packed, cuts: split_times.Cuts | None, latest: int, *, job: Job
) -> Iterator[KeyedFrames | TaggedOutput]:
    """The labelled exposures of a partition, in parts where a user has very many, what the catalogue, the analysis and
    counters need of them, and counts. The last event of all is at `latest`."""
    users = arrow_ipc.loads(frames["users"])
    videos = VideoLookup(arrow_ipc.loads(lookup), job.settings.ids.video_id)
    known = state.known(frames, job)
    base, begun = job.bounds(latest)[0], [outcomes.started_exposures(outcomes.STEP_SCHEMA.empty_table())]
    for before, found in known.labelled(users, videos, cuts, job):
        if before and before.until == base:
            of_users = before
        if before and job.since is not None and before.until < job.since:
            yield from _came_late(found, before, known.kept, users, job)
        if job.counts_videos:
            yield from _changes(found, cuts, before, latest, job)
        if job.expects:
            begun.append(outcomes.started_exposures(found.period.steps, before.until if before else None))
    period = found.period
    carried = period.carry(videos, latest + 1, job.settings)
    of_users = carried if base == latest + 1 else of_users
    training = found.keys.filter(pa.array(found.keys["split"].to_numpy() == job.training_split))
    since = fitting_rows.seen_from(cuts, job.settings) if job.retires else None
    lately = None if since is None else Lately(since, fitting_rows.seen_lately(training, "user_id", since))
    fitted = carried.fitted
    if lately:
        fitted = fitted.filter(pa.array(np.isin(fitted["user_id"].to_numpy(), lately.keys)))
        videos_seen = fitting_rows.seen_lately(training, "video_id", lately.since)
        yield TaggedOutput("lately", split_times.histogram(videos_seen))
    state.write_users(partition, of_users, fitted, known.events, job)
    yield TaggedOutput("catalogue", found.training_videos)
    for item in found.counts.items():
        yield TaggedOutput("counts", item)
    yield from _odd(found.odd)
    if job.settings.statistics.enabled:
        splits = examples.splits_of(period.events, cuts, job.settings)
        described = run_rows.of_events(period.events, splits, list(job.splits.values()), job.settings)
        yield TaggedOutput(STATISTICS, Parcel.of(described))
        yield TaggedOutput("shown", arrow_ipc.dumps(run_rows.shown(found.keys)))
    yield from fitting.of_users(found, training, users, job, lately)
    if job.videos_have_versions:
        yield TaggedOutput("until", int(training["interaction_time"].to_numpy().max(initial=0)))
    if job.settings.recent.enabled:
        seen = recent.first_seen(known.events)
        yield from _to_each("seen", seen, partition_of(seen["video_id"].to_numpy(), job.video_partitions))
    worth = {**state.worth(frames, base, job), **({BEGUN: pa.concat_tables(begun)} if job.expects else {})}
    del known, training, carried, of_users
    for part in heavy_users.divide(found, job.settings.output.user_exposures_per_shard, job.settings):
        exposures = examples.with_given_ids(part.exposures, users, videos)
        of_part = dataclasses.replace(part, exposures=exposures)
        yield from _labelled_part(partition, of_part, users, period, worth, since, job)


def _changes(
    found: examples.Labelled, cuts: split_times.Cuts | None, before: Carried | None, latest: int, job: Job
) -> Iterator[TaggedOutput]:
    """What the events of a period change in the counts of videos; LATER those that the next state does not hold."""
    is_new = before is None or before.until == job.since
    cuts = cuts if before is None or is_new else before.cuts
    splits = examples.splits_of(found.period.events, cuts, job.settings)
    of_events = found.period.events, found.outcomes, splits, cuts
    changes = video_counts.increments(*of_events, job.settings, job.counts_as_of)
    if before:
        changes = changes.filter(pc.greater_equal(changes["time"], before.until))
    is_later = before is not None and before.until >= job.bounds(latest)[0]
    if is_new:
        yield TaggedOutput("counts", ("counters/increments", len(changes)))
    if is_new and job.counts_as_of:
        yield from _odd(odd_data.of_counted(changes))
    if job.settings.recent.enabled:
        left = recent.expirations(changes, job.settings.recent)
        if not is_later:
            yield from state.folded(left.filter(pc.greater(left["time"], latest)), latest, job)
        changes = pa.concat_tables([changes, left.filter(pc.less_equal(left["time"], latest))])
    time_slices = job.time_slices(*(changes[name].to_numpy() for name in ("video_id", "time")))
    yield from _to_each("changes", changes, time_slices, state.LATER if is_later else "changes")


def _came_late(
    found: examples.Labelled, before: Carried, kept: pa.Table, users: pa.Table, job: Job
) -> Iterator[TaggedOutput]:
    """What vocabularies learn of the exposures of an earlier period that begin with a late event."""
    assert job.earlier is not None
    end = min(bound for bound in job.earlier.bounds if bound > before.until)
    there = before.with_events(late_events.between(kept, before.until, end), job.settings)
    is_new = late_events.begin_late(found.keys, there, before.cuts, job.settings.labels.exposure_gap)
    keys = found.keys.filter(pa.array(is_new))
    yield TaggedOutput("catalogue", split_times.histogram(keys["video_id"].to_numpy()))
    yield from fitting.of_users(found, keys, users, job)
    yield from fitting.of_exposures(next(found.context([np.flatnonzero(is_new)])))


def _labelled_part(
    partition: int,
    part: heavy_users.Part,
    users: pa.Table,
    period: Period,
    worth: dict[str, pa.Table],
    since: int | None,
    job: Job,
) -> Iterator[KeyedFrames | TaggedOutput]:
    training = part.exposures.filter(pa.array(part.exposures["split"].to_numpy() == job.training_split))
    if job.settings.cooccurrence.enabled:
        yield TaggedOutput("analysis", (Entity.PAIR, arrow_ipc.dumps(fitting_rows.of_pairs(part.exposures))))
    yield from fitting.of_exposures(training, since)
    own = part.users(users)
    own = _users_at(own, part.exposures) if time_lookups.is_versioned(users) else own
    frames = {"exposures": part.exposures, "users": own}
    pairs = [part.pairs, period.before and period.before.pairs_beside(part.exposures)]
    if pairs := [each for each in pairs if each is not None]:
        frames["pairs"] = pa.concat_tables(pairs)
    if job.reads_outcomes:
        frames[OUTCOMES] = part.users(period.steps)
    frames |= {name: part.users(table) for name, table in worth.items()}
    packed = cast(Frames, {name: arrow_ipc.dumps(table) for name, table in frames.items()})
    yield job.part(partition, part.number), packed


def _to_each(name: str, rows: pa.Table, keys: np.ndarray, told: str | None = None) -> Iterator[TaggedOutput]:
    """Rows by [n] int64 keys, in the output of that name, where they are called so, or as is `told`."""
    for key, part in arrow_ipc.split(rows, keys):
        yield TaggedOutput(name, (key, (told or name, part)))


def _users_at(users: pa.Table, exposures: pa.Table) -> pa.Table:
    """The versions of users that any exposure takes, and the latest ones."""
    taken = rows_at(users, "user_id", *(exposures[name].to_numpy() for name in ("user_id", "interaction_time")))
    return users.take(pa.array(np.union1d(taken, time_lookups.ends(users["user_id"].to_numpy()))))
