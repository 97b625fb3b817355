"""The configuration of a run of the main job."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recsys_tft import table_records
from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import late_events
from recsys_tft.features import Entity
from recsys_tft.labelling.split_times import SPLITS
from recsys_tft.number_ops import HOUR
from recsys_tft.point_in_time import counters, outcomes, video_counts
from recsys_tft.run_layout.data_sets import VIDEOS, shard_name
from recsys_tft.run_layout.output import Output
from recsys_tft.run_layout.state_files import CATALOGUE, FITTED_VIDEOS, WORTH, EarlierState
from recsys_tft.storage.hashing import partition_of
from recsys_tft.storage.rows import WRITERS, RowWriter
from recsys_tft.tables.raw_tables import RawTable

# Names of a partition's frames:
OUTCOMES: Final = "outcomes"  # outcomes of its users' exposures, step by step
BEGUN: Final = "begun"  # exposures whose expected value is computed, from `outcomes.started_exposures`
_MOST = 1_000_000  # interactions of a shard: docs/scale.md
_SLICE = 10_000_000  # interactions of a slice of time, if all are spread over a year: docs/scale.md
_GROUPS = 8  # of partitions of videos, so that a partition of users sends few and large time slices
_YEAR = 365 * 24 * HOUR


def beside(frames: Mapping[str, Any]) -> dict[str, Any]:
    """The frames that stay with the exposures of a partition until its rows are joined."""
    return {name: frames[name] for name in (OUTCOMES, BEGUN, WORTH) if name in frames}


@dataclasses.dataclass(frozen=True)
class Job:
    """Settings, tables and places of one run; small, so that every worker can have it.

    Attributes:
        settings: of the run, as workers use them.
        given: as the user gave them, for the manifest.
        tables: the raw tables by name.
        output: the output folder.
        user_partitions: the number of hash partitions of users and their events, which is the number of shards.
        video_partitions: the number of hash partitions of videos.
        record: of the feature table; None for the default one.
        earlier: the state that a refresh starts from; None in a full run.
    """

    settings: Settings
    given: Settings
    tables: dict[str, RawTable]
    output: Output
    user_partitions: int
    video_partitions: int
    record: Mapping[str, Any] | None = None
    earlier: EarlierState | None = None

    def with_few_paths(self) -> "Job":
        """The same with only those paths of the state that its steps read: each step is pickled with its job."""
        if self.earlier is None:
            return self
        files = {name: self.earlier.files[name] for name in (CATALOGUE, FITTED_VIDEOS)}
        return dataclasses.replace(self, earlier=dataclasses.replace(self.earlier, files=files))

    @property
    def splits(self) -> dict[str, int]:
        """The number of each split, by the name of its folder. In a refresh, 0 is the past and 1 the new period."""
        return {name: number for number, name in enumerate(SPLITS, 1 if self.earlier else 0)}

    @property
    def training_split(self) -> int:
        """The number of the split that vocabularies are built from, or grow by."""
        return self.splits[SPLITS[0]]

    def shard(self, folder: str, partition: int) -> str:
        """The staged file of one partition, or of a part of one, in a folder below `processed_data`."""
        shards = self.shards(folder)
        name = shard_name(partition % shards, shards, self.extension, partition // shards)
        return self.output.staged("processed_data", folder, name)

    def part(self, partition: int, number: int) -> int:
        """The key of a part of a partition of users, which for part 0 is that of the partition."""
        return partition + number * self.user_partitions

    def is_first(self, part: int) -> bool:
        """Whether a key is that of part 0 of a partition of users."""
        return part < self.user_partitions

    def shards(self, folder: str) -> int:
        """How many files a folder below `processed_data` has."""
        return self.video_partitions if folder == VIDEOS.name else self.user_partitions

    @property
    def counts_as_of(self) -> bool:
        """Whether the counters of videos are counted from the interactions before each exposure."""
        return counters.are_as_of(self.settings.counters, self.tables["videos"].absent)

    @property
    def videos_have_versions(self) -> bool:
        """Whether videos or their channels have versions."""
        return any(self.tables[name].is_versioned for name in ("videos", "channels"))

    @property
    def counts_videos(self) -> bool:
        """Whether anything of videos is counted as of each exposure: counters, recent counts or outcomes."""
        return video_counts.are_counted(self.settings, self.counts_as_of)

    @property
    def counted_values(self) -> counters.Values:
        """What is counted of a video, if anything is."""
        return video_counts.values(self.settings, self.counts_as_of)

    @property
    def training_values(self) -> counters.Values:
        """What is added up of a video in the training split, if anything is."""
        return video_counts.values(self.settings, self.counts_as_of, training=True)

    def time_slices(self, video_ids: np.ndarray, times: np.ndarray) -> np.ndarray:
        """[n] int64: the time slice to which changes of [n] videos at [n] times belong.

        A time slice is what is counted at once: one stretch of time of one group of partitions of videos.
        Those of the same videos are in order of time.
        """
        groups = partition_of(video_ids, self.video_partitions) % _GROUPS
        return times // self._slice_length * _GROUPS + groups

    @property
    def _slice_length(self) -> int:
        """Microseconds: from a day to a year, up to whole intervals of `counters.every`."""
        every = self.settings.counters.every_microseconds
        slices = min(1 + self.tables["interactions"].rows // _SLICE, 365)
        return -(-_YEAR // (slices * every)) * every

    @property
    def retires(self) -> bool:
        """Whether vocabularies are built from values that were seen lately; a refresh never removes a value."""
        return self.settings.retire_after is not None and self.earlier is None

    @property
    def tallies(self) -> bool:
        """Whether features read outcomes by group of videos."""
        return bool(outcomes.groups(self.settings))

    @property
    def since(self) -> int | None:
        """The begin of a refresh; None in a full run."""
        return None if self.earlier is None else self.earlier.until

    @property
    def taken_from(self) -> int | None:
        """The moment before which an event of a refresh is too late; None in a full run."""
        if self.earlier is None:
            return None
        return max(self.earlier.until - self.settings.late_microseconds, self.earlier.bounds[0])

    def bounds(self, latest: int) -> list[int]:
        """The moment as of which the next state is, and the begins of the periods after that, by the last event."""
        earlier = self.earlier.bounds if self.earlier else ()
        return late_events.next_bounds(earlier, latest + 1, self.settings.late_microseconds)

    @property
    def reads_outcomes(self) -> bool:
        """Whether rows have features of outcomes that are computed in the join."""
        return self.tallies or self.expects

    @property
    def expects(self) -> bool:
        """Whether features read the expected values of the videos that a user was shown."""
        return outcomes.reads_expected(self.settings)

    @property
    def has_pairs(self) -> bool:
        """Whether rows have features of an exposure and a video together."""
        return any(feature.is_active(self.settings) for feature in self.settings.table.select(entity=Entity.PAIR))

    @property
    def extension(self) -> str:
        """The extension of data files."""
        output = self.settings.output
        return "tfrecord.gz" if (output.format, output.compression) == ("tfrecord", "gzip") else output.format

    def writer(self, tables: Sequence[pa.Table]) -> RowWriter:
        """The writer of the data files, for rows that are joined from these tables."""
        return WRITERS[self.settings.output.format](tables, self.settings.output.compression)


def plan(
    settings: Settings,
    tables: dict[str, RawTable],
    output: Output,
    reachable: Settings | None = None,
    earlier: EarlierState | None = None,
) -> Job:
    """A job whose partitions grow with the users and videos.

    They do not depend on the number of workers, nor on the interactions: one that comes later must not move a row
    into another file.

    Args:
        settings: of the run; those of where it runs do not enter the manifest.
        tables: the raw tables by name.
        output: the output folder.
        reachable: the settings for workers that lack what this machine has.
        earlier: the state that a refresh starts from.
    """
    given, taken = (each.model_copy(update={"beam": {}}) for each in (settings, reachable or settings))
    users = -(-max(tables["users"].rows, earlier.users if earlier else 0) // settings.output.users_per_shard)
    videos = -(-max(tables["videos"].rows, earlier.videos if earlier else 0) // settings.output.videos_per_shard)
    return Job(taken, given, tables, output, users, videos, table_records.record(settings.features), earlier)


def advice(job: Job) -> list[str]:
    """A sentence, if partitions of users hold so many interactions that each takes more than a gigabyte or two."""
    rows = job.tables["interactions"].rows
    if rows <= _MOST * job.user_partitions:
        return []
    better = max(job.tables["users"].rows * _MOST // 4 // rows, 1)
    return [
        f"advice: a shard has {rows // job.user_partitions:,} interactions on average, which takes much memory; "
        f"output.users_per_shard: {better} makes smaller ones"
    ]
