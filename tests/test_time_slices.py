"""Videos counted by slices of time, against all of it at once."""

import unittest.mock

import numpy as np
import pyarrow as pa
import pytest
from counter_cases import IDS, START, quick, table_of
from hypothesis import given
from hypothesis import strategies as st
from oracle import DAY

from recsys_tft.beam_pipelines import count
from recsys_tft.beam_pipelines.job import Job, plan
from recsys_tft.configuration.settings import Settings
from recsys_tft.point_in_time import counters, recent
from recsys_tft.run_layout.output import Output
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.hashing import partition_of
from recsys_tft.tables.raw_tables import RawTable, Source
from recsys_tft.tables.versions import in_order

MANY = 10**10  # interactions, which make slices as short as they may be
# On and beside the edges of days, and of slices of 3 days.
TIMES = st.builds(
    lambda days, hours, beside: START + days * DAY + hours * DAY // 24 + beside,
    st.integers(0, 6),
    st.sampled_from((0, 0, 1, 12)),
    st.sampled_from((-1, 0, 0, 1)),
)
BURSTS = st.lists(
    st.tuples(st.sampled_from(IDS[:3].tolist()), TIMES, st.integers(0, 2), st.sampled_from((1, 2, 12))), max_size=20
)
CHOSEN = st.fixed_dictionaries(
    {
        "growth": st.sampled_from((0.0, 0.1, 3.0, 9.0)),
        "every": st.sampled_from(("1h", "5h", "1d", "3d")),
        "delay": st.sampled_from(("0s", "90m")),
        "source": st.sampled_from(("as_of", "snapshot")),
    }
)


def job_of(chosen: dict, interactions: int = MANY, with_recent: bool = False, partitions: int = 2) -> Job:
    def table(name: str, rows: int) -> RawTable:
        return RawTable(name, (Source("file", (0,), 0, 0, rows),), {}, (), counters.COUNTERS)

    tables = {"users": table("users", 1), "videos": table("videos", partitions)}
    tables["interactions"] = table("interactions", interactions)
    given = {"output": {"videos_per_shard": 1}, "counters": chosen, "recent": {"enabled": with_recent}}
    return plan(Settings().replace(given), tables, Output.at("out"))


def grouped(pairs: list) -> dict:
    found: dict = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def in_time_slices(changes: pa.Table, job: Job) -> tuple[pa.Table, pa.Table, int]:
    """The versions and the videos that the steps of the main job make, and the number of time_slices."""
    keys = job.time_slices(changes["video_id"].to_numpy(), changes["time"].to_numpy())
    time_slices = grouped([(key, ("changes", part)) for key, part in arrow_ipc.split(changes, keys)])
    latest = int(changes["time"].to_numpy().max(initial=0))
    made = [pair for key, parts in time_slices.items() for pair in count.sum_changes(key, parts, latest, job)]
    sums = [pair for pair in made if type(pair) is tuple]
    videos = pa.table({"video_id": IDS, **{name: np.zeros(len(IDS), np.int64) for name in counters.COUNTERS}})
    videos = arrow_ipc.split(videos.append_column("popularity", pa.nulls(len(IDS))), partition_of(IDS, 2))
    by_partition = grouped([*sums, *((key, ("videos", part)) for key, part in videos)])
    with unittest.mock.patch("recsys_tft.run_layout.state_files.write"):
        counted = [out for key, parts in by_partition.items() for out in count.count_videos(key, parts[::-1], job)]
    found = [out[1] for out in counted if type(out) is tuple]
    for key, value in (out.value for out in counted if getattr(out, "tag", None) == "bases"):
        time_slices[key].append(value)
    made = [out for key, parts in time_slices.items() for out in count.count_versions(key, parts, job)]
    found += [out[1] for out in made if type(out) is tuple]
    tables = {name: [arrow_ipc.loads(part) for part in parts] for name, parts in grouped(found).items()}
    return (
        in_order(tables["versions"], "video_id"),
        pa.concat_tables(tables["videos"]).sort_by("video_id"),
        len(time_slices),
    )


@quick
@given(BURSTS, CHOSEN, st.booleans())
def test_slices_make_the_versions_and_totals_of_all_time(
    bursts: list[tuple[int, int, int, int]], chosen: dict, with_recent: bool
) -> None:
    with_recent |= chosen["source"] == "snapshot"  # or else nothing would be counted
    job = job_of(chosen, with_recent=with_recent)
    table = table_of([(video, time + k, kind) for video, time, kind, size in bursts for k in range(size)])
    training = np.arange(len(table)) % 3 > 0
    table = table.set_column(3, "training", pa.array(training, pa.bool_()))
    changes = recent.changes(table, job.settings.recent, START + 20 * DAY) if with_recent else table
    versions, videos, _ = in_time_slices(changes, job)
    assert versions == counters.versions(IDS, changes, job.settings.counters, job.counted_values)
    own = table.filter(pa.array(training & job.counts_as_of)).to_pylist()
    for video in videos.to_pylist():
        expected = [sum(r["video_id"] == video["video_id"] and r["counter"] == k for r in own) for k in range(3)]
        assert [video[name] for name in counters.COUNTERS] == expected


@pytest.mark.parametrize(
    ("interactions", "every", "days"),
    [(10**5, "1d", 365), (10**9, "1d", 4), (MANY, "1d", 1), (MANY, "1h", 1), (MANY, "5h", 25 / 24), (MANY, "3d", 3)],
)
def test_slices_are_of_whole_intervals_and_the_shorter_the_more_there_is(
    interactions: int, every: str, days: float
) -> None:
    job = job_of({"every": every}, interactions)
    times = np.arange(400 * 24) * (DAY // 24)
    time_slices = job.time_slices(np.zeros(len(times), np.int64), times)
    _, lengths = np.unique(time_slices, return_counts=True)
    assert lengths[0] / 24 == days
    assert (np.diff(time_slices) >= 0).all()


def test_a_time_slice_has_few_partitions_of_videos_and_one_interval() -> None:
    job = job_of({}, partitions=50)
    videos = np.arange(1000)
    time_slices = job.time_slices(videos, np.full(1000, START))
    assert len(np.unique(time_slices)) == 8
    assert len(np.unique(np.stack([partition_of(videos, 50), time_slices]), axis=1).T) == 50
    assert not set(time_slices) & set(job.time_slices(videos, np.full(1000, START - 1)))
