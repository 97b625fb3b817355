"""Reading and writing the state, which is carried from a run into its refreshes, in steps of the main job."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from recsys_tft.beam_pipelines.elements import Frames, KeyedPart, Part, TaggedOutput
from recsys_tft.beam_pipelines.job import Job
from recsys_tft.columns import KEYS
from recsys_tft.examples import examples, late_events, negatives
from recsys_tft.labelling import split_times
from recsys_tft.labelling.exposures import sort_events
from recsys_tft.point_in_time import carried, counters, outcomes, recent
from recsys_tft.point_in_time.carried import Carried
from recsys_tft.run_layout import state_files
from recsys_tft.run_layout.state_files import (
    CATALOGUE,
    CHANGES,
    ENTITIES,
    FIRST_SEEN,
    FITTED_VIDEOS,
    KEPT,
    OF_USERS,
    WORTH,
)
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.arrow_ipc import Packed
from recsys_tft.storage.hashing import partition_of
from recsys_tft.tables.entities import VideoLookup, drop_duplicates, with_earlier
from recsys_tft.tables.raw_tables import ROW
from recsys_tft.tables.versions import NEVER
from recsys_tft.time_lookups import SINCE

EARLIER = "earlier/"  # prefix of tables of the state, among the parts of a partition
_SINCE = b"since"
LATER = "later"  # changes of videos that may still be revised, so that the next state does not have them
FOLDED = "folded"  # changes of videos for the next state


def write(name: str, partition: int, rows: pa.Table, job: Job) -> None:
    """Writes a partition of a table of the state."""
    if name in ENTITIES:
        rows = rows.select([column for column in rows.column_names if column not in (ROW, SINCE)])
    state_files.write(job.output, name, partition, rows.combine_chunks())


def read(_: int, file: tuple[str, str], key: str, partitions: int) -> Iterator[KeyedPart]:
    """The rows of a file of a table of the state, by partition of their key."""
    name, path = file
    rows = state_files.read(path)
    for partition, part in arrow_ipc.split(rows, partition_of(rows[key].to_numpy(), partitions)):
        yield partition, (f"{EARLIER}{name}", part)


def read_changes(_: int, file: tuple[str, str], latest: int, job: Job) -> Iterator[KeyedPart | TaggedOutput]:
    """Changes of videos by time slice; those after the last event, which no row sees, with the tag FOLDED."""
    rows = state_files.read(file[1])
    is_later = rows["time"].to_numpy() > latest
    now, later = rows.filter(pa.array(~is_later)), rows.filter(pa.array(is_later))
    time_slices = job.time_slices(*(now[name].to_numpy() for name in ("video_id", "time")))
    yield from ((time_slice, (EARLIER, part)) for time_slice, part in arrow_ipc.split(now, time_slices))
    yield from folded(later, latest, job)


def unique(name: str, parts: Iterable[Part]) -> tuple[pa.Table, pa.Table]:
    """`drop_duplicates` of a table, with earlier rows for keys that it does not have; their ROW is -1."""
    rows = arrow_ipc.concat(part for own, part in parts if own == name)
    earlier = [arrow_ipc.loads(part) for own, part in parts if own == f"{EARLIER}{name}"]
    if earlier:
        rows = with_earlier(rows, pa.concat_tables(earlier), KEYS[name])
    return drop_duplicates(rows, KEYS[name])


def without_late(events: Sequence[Packed], job: Job) -> tuple[list[Packed], pa.Table]:
    """The events that are in time; and those that are too late, with the `reason` of their rejection."""
    tables, since = list(map(arrow_ipc.loads, events)), job.taken_from
    assert since is not None
    are_late = [table["interaction_time"].to_numpy() < since for table in tables]
    late = pa.concat_tables(t.filter(pa.array(is_late)) for t, is_late in zip(tables, are_late, strict=True))
    kept: list[Packed] = [
        arrow_ipc.dumps(t.filter(pa.array(~is_late))) for t, is_late in zip(tables, are_late, strict=True)
    ]
    why = "where what is known ends" if since == job.since else f"which is too late by late: {job.settings.late}"
    reason = f"interaction_time is before {split_times.describe(since)}, {why}"
    return kept, late.append_column("reason", pa.array([reason] * len(late), pa.string()))


def of_users(parts: Iterable[Part]) -> dict[str, tuple[Packed, ...]]:
    """The parts of the state among the parts of a partition of users."""
    found: dict[str, tuple[Packed, ...]] = {name: () for name in OF_USERS}
    for name, part in parts:
        own = name.removeprefix(EARLIER)
        if name != own and own in found:
            found[own] += (part,)
    return found


@dataclasses.dataclass(frozen=True)
class Known:
    """The state of the users of a partition, and their events since.

    Attributes:
        before: as of the first of the bounds of the state; None in a full run, which has all events.
        events: those since, the new ones included, sorted as by `exposures.sort_events`.
        kept: those of them that the state had.
    """

    before: Carried | None
    events: pa.Table
    kept: pa.Table

    def labelled(
        self, users: pa.Table, videos: VideoLookup, cuts: split_times.Cuts | None, job: Job
    ) -> Iterator[tuple[Carried | None, examples.Labelled]]:
        """The exposures of each period that may still change, the new one last; and the state at its begin."""
        if self.before:
            assert job.earlier is not None
            assert cuts is not None
            of_log = users, videos, job.settings
            return late_events.labelled(self.events, job.earlier.bounds, cuts, *of_log, self.before)
        return iter([(None, examples.label_exposures(self.events, users, videos, cuts, job.settings))])


def known(frames: Frames, job: Job) -> Known:
    """The state of the users of a partition, and their events."""
    events = pa.concat_tables(map(arrow_ipc.loads, frames["events"]))
    if not job.earlier:
        return Known(None, events, events.slice(0, 0))
    empty = {name: schema.empty_table() for name, schema in carried.SCHEMAS.items()}
    empty |= {"events": events.slice(0, 0), KEPT: events.slice(0, 0)}
    found = {
        name: pa.concat_tables([empty[name], *map(arrow_ipc.loads, parts)]).combine_chunks()
        for name, parts in frames["earlier"].items()
        if name in empty
    }
    kept = sort_events(found.pop(KEPT), job.settings)
    before = Carried(job.earlier.bounds[0], **found)
    return Known(before, sort_events(pa.concat_tables([kept, events]), job.settings) if len(kept) else events, kept)


def worth(frames: Frames, since: int, job: Job) -> dict[str, pa.Table]:
    """Expected values of earlier exposures, if any feature reads them, and a mark: the next state is as of `since`."""
    if not job.expects:
        return {}
    parts = frames["earlier"][WORTH] if job.earlier else ()
    rows = pa.concat_tables([outcomes.WORTH_SCHEMA.empty_table(), *map(arrow_ipc.loads, parts)])
    return {WORTH: rows.replace_schema_metadata({_SINCE: str(since)})}


def write_worth(partition: int, rows: pa.Table, noted: pa.Table, job: Job) -> None:
    """Writes expected values of exposures before the moment that `worth` has marked."""
    since = int(noted.schema.metadata[_SINCE])
    over = rows.filter(pa.array(rows["time"].to_numpy() < since))
    write(WORTH, partition, outcomes.fold(over, since - job.settings.counters.delay_microseconds), job)


def write_users(partition: int, of_users: Carried, fitted: pa.Table, events: pa.Table, job: Job) -> None:
    """Writes the state of the users of a partition, and with `late` the events since."""
    for name, rows in {**of_users.tables, "fitted": fitted}.items():
        write(name, partition, rows, job)
    if job.settings.late_microseconds:
        write(KEPT, partition, late_events.between(events, of_users.until, NEVER), job)


def folded(changes: pa.Table, latest: int, job: Job) -> Iterator[TaggedOutput]:
    """Changes of videos for the next state, to the partitions of the videos."""
    rows = counters.fold(changes, job.bounds(latest)[0], job.settings.counters)
    for partition, part in arrow_ipc.split(rows, partition_of(rows["video_id"].to_numpy(), job.video_partitions)):
        yield TaggedOutput(FOLDED, (partition, (FOLDED, part)))


def write_changes(partition: int, parts: Iterable[Packed], job: Job) -> None:
    """Writes the changes of the videos of a partition."""
    found = pa.concat_tables([counters.CARRIED_SCHEMA.empty_table(), *map(arrow_ipc.loads, parts)])
    keys = [(name, "ascending") for name in counters.CARRIED_SCHEMA.names]
    write(CHANGES, partition, found.sort_by(keys), job)


def write_first_seen(partition: int, seen: pa.Table, job: Job) -> None:
    """Writes the times at which the videos of a partition were first seen."""
    video, time = (seen[name].to_numpy() for name in recent.FIRST_SEEN_SCHEMA.names)
    order = np.lexsort((time, video))
    first = np.unique(video[order], return_index=True)[1]
    write(FIRST_SEEN, partition, seen.take(pa.array(order[first])), job)


def write_catalogue(catalogue: negatives.Catalogue, job: Job) -> None:
    """Writes the catalogue, which negatives are drawn from."""
    columns = {"video_id": catalogue.video_ids, "exposures": catalogue.exposures}
    write(CATALOGUE, 0, pa.table(columns), job)


def write_fitted_videos(video_ids: np.ndarray, job: Job) -> None:
    """Writes the videos whose values are in vocabularies or counted for them."""
    write(FITTED_VIDEOS, 0, pa.table({"video_id": video_ids}), job)


def new_videos(exposures: split_times.Histogram, job: Job) -> negatives.Catalogue:
    """The videos of a refresh that nothing was fitted on yet."""
    assert job.earlier is not None
    known = state_files.read(job.earlier.files[FITTED_VIDEOS][0])["video_id"].to_numpy()
    video_ids, counts = exposures
    write_fitted_videos(np.union1d(known, video_ids), job)
    is_new = ~np.isin(video_ids, known)
    return negatives.Catalogue(video_ids[is_new], counts[is_new], 0.0)


def read_catalogue(job: Job) -> negatives.Catalogue:
    """The catalogue of the run, which refreshes do not change."""
    assert job.earlier is not None
    rows = state_files.read(job.earlier.files[CATALOGUE][0])
    video_ids, exposures = (rows[name].to_numpy() for name in ("video_id", "exposures"))
    catalogue = negatives.Catalogue(video_ids, exposures, job.settings.ranker.popularity_alpha)
    write_catalogue(catalogue, job)
    return catalogue
