"""`retire_after`: a run leaves values out of its vocabularies that were not seen lately; a refresh takes none out."""

import datetime
import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compared_outputs import FITTED, assert_same_bytes, files_below
from conftest import pipeline_in
from days import moments, write_days
from hypothesis import given
from hypothesis import strategies as st
from labelled_cases import thorough
from workspace import Fails, Workspace

import recsys_tft
from recsys_tft import cli, graph_fitting
from recsys_tft.commands.vocabulary_command import differences
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.errors import InputError
from recsys_tft.examples import fitting_rows
from recsys_tft.examples.fitting_rows import RETIRED
from recsys_tft.examples.negatives import Catalogue, Lately
from recsys_tft.features import Entity
from recsys_tft.tables import synthetic, versions
from recsys_tft.time_lookups import SINCE

CONFIG = """
title_encoder: none
output: {users_per_shard: 40, videos_per_shard: 90, user_exposures_per_shard: 6}
split: {train: 0.7, val: 0.2}
retire_after: 36h
"""
TABLE = Settings().table
KEYS = st.integers(1, 4)
TIMES = st.integers(1, 12)
EXPOSURES = st.lists(st.tuples(KEYS, TIMES), min_size=1)
VERSIONS = st.dictionaries(st.tuples(KEYS, TIMES), st.sampled_from(["a", "b", "c"]))


def training_of(exposures: list[tuple[int, int]]) -> pa.Table:
    user, time = np.array(sorted(exposures), np.int64).T
    return pa.table({"user_id": user, "interaction_time": time})


def counted(tables: list[pa.Table], name: str) -> list[str]:
    """What a vocabulary counts of some training rows."""
    values = [
        table.filter(pa.array(~table[RETIRED].to_numpy()))[name] for table in tables if name in table.column_names
    ]
    return sorted(value.decode() for column in values for value in column.to_pylist())


@thorough
@given(EXPOSURES, TIMES)
def test_keys_count_that_have_an_exposure_of_late(exposures: list[tuple[int, int]], since: int) -> None:
    keys = np.arange(1, 5)
    rows = pa.table({"user_id": keys, "country": pa.array([f"of {key}" for key in keys], pa.binary())})
    training = training_of(exposures)
    fitted = np.unique(training["user_id"].to_numpy())
    lately = Lately(since, fitting_rows.seen_lately(training, "user_id", since))
    (marked,) = fitting_rows.of_users(rows, fitted, training, TABLE, lately)
    assert marked["user_id"].to_pylist() == fitted.tolist()  # of which numbers are learned
    wanted = sorted(f"of {key}" for key in {key for key, time in exposures if time >= since})
    assert counted([marked], "country") == wanted
    videos = rows.rename_columns(["video_id", "video_language"])
    catalogue = Catalogue(fitted, np.ones(len(fitted), np.int64), 0, lately)
    (marked,) = fitting_rows.of_videos(videos, catalogue, 12, TABLE)
    assert counted([marked], "video_language") == wanted


@thorough
@given(EXPOSURES, TIMES, VERSIONS)
def test_a_value_counts_that_a_key_had_when_it_was_seen_of_late(
    exposures: list[tuple[int, int]], since: int, changes: dict[tuple[int, int], str]
) -> None:
    values = {(key, versions.ALWAYS): "at first" for key in range(1, 5)} | changes
    user, time = np.array(sorted(values), np.int64).T
    names = [values[each] for each in sorted(values)]
    rows = pa.table({"user_id": user, "country": pa.array(names, pa.binary()), SINCE: time})
    training = training_of(exposures)
    fitted = np.unique(training["user_id"].to_numpy())
    lately = Lately(since, fitting_rows.seen_lately(training, "user_id", since))
    found = list(fitting_rows.of_users(rows, fitted, training, TABLE, lately))
    wanted: list[str] = []
    for key in fitted.tolist():
        last = max(time for own, time in exposures if own == key)
        had = {
            values[max((own, begin) for own, begin in values if own == key and begin < moment)]
            for moment in range(since, last + 1)
        }
        wanted += had
    assert counted(found, "country") == sorted(wanted)


def test_numbers_are_learned_of_all_rows_and_vocabularies_of_those_of_late() -> None:
    settings = parse({"title_encoder": "none"}, "the test")
    asked = [one for one in graph_fitting.statistic_requests(settings) if one.name in ("country", "age_z")]
    rows = pa.table({"country": pa.array(["x", "y"], pa.binary()), "age": pa.array([20.0, 40.0], pa.float32())})
    marked = rows.append_column(RETIRED, pa.array([True, False]))
    found, every, one = (
        dict(
            zip(
                [one.name for one in asked],
                graph_fitting.states_of_rows(Entity.USER, each, asked, settings),
                strict=True,
            )
        )
        for each in (marked, rows, rows.slice(1))
    )
    assert found["country"].to_pylist() == one["country"].to_pylist() == [{"value": b"y", "count": 1}]
    assert len(found) == 2
    for name in found.keys() - {"country"}:
        assert found[name] == every[name] != one[name]


def test_training_has_to_have_an_end() -> None:
    with pytest.raises(InputError, match=r"retire_after needs split\.kind: time, as otherwise training has no end"):
        parse({"retire_after": "90d", "split": {"kind": "random_per_user"}}, "the test")


def test_no_time_is_refused() -> None:
    with pytest.raises(InputError, match=r"retire_after must be above 0, such as 90d, not '0s'"):
        parse({"retire_after": "0s"}, "the test")


@pytest.mark.slow
def test_a_time_in_which_nothing_was_seen_is_an_error_of_check_and_of_run(
    workspace: Workspace, fails: Fails, capfd: pytest.CaptureFixture[str]
) -> None:
    config = workspace.config("retire_after: 2h\nsplit: {val_from: 2025-03-08T12:00, test_from: 2025-03-09}\n")
    told = "retire_after is 2h, and no exposure is between 2025-03-08 10:00:00 UTC and the end of the training split"
    assert told in fails("--config", config)
    capfd.readouterr()
    assert cli.main(["check", "--data-dir", str(workspace.data), "--config", config]) == 1
    assert told in " ".join(capfd.readouterr().out.split())


def shown(raw: pathlib.Path, end: datetime.datetime) -> pd.DataFrame:
    """The user, video and time of each exposure that begins before the end of training."""
    events = pq.read_table(raw / "interactions.parquet").to_pandas()
    events = events[events["interaction_time"] < end].sort_values(["user_id", "video_id", "interaction_time"])
    gap = events.groupby(["user_id", "video_id"])["interaction_time"].diff()
    return events[gap.isna() | (gap > pd.Timedelta("30m"))]


@pytest.mark.slow
def test_a_run_retires_what_it_has_not_seen_and_a_refresh_takes_it_back(tmp_path: pathlib.Path) -> None:
    raw = tmp_path / "raw"
    synthetic.write_tables(raw, users=100, videos=200, interactions=2500)
    days = write_days(raw, tmp_path / "days", moments(raw, 1), whole=(0,))
    pipeline, _ = pipeline_in(tmp_path, CONFIG, workers=2)
    end = pipeline.run(str(days[0])).manifest["splits"]["val_from"]
    out, end = tmp_path / "out", datetime.datetime.fromisoformat(end.replace(" UTC", "+00:00"))
    every = shown(days[0], end)
    lately = every[every["interaction_time"] >= end - datetime.timedelta(hours=36)]
    vocabularies = {}
    for name in ("user_id", "video_id"):
        lines = (out / "artifacts/vocabularies" / f"{name}.txt").read_text().splitlines()
        vocabularies[name] = {int(line) for line in lines if line.isdigit()}
        assert vocabularies[name] == set(lately[name]) < set(every[name])

    (tmp_path / "other").mkdir()
    config = CONFIG.replace("40", "13").replace("90", "17").replace("exposures_per_shard: 6", "exposures_per_shard: 3")
    pipeline_in(tmp_path / "other", config, workers=1)[0].run(str(days[0]))
    assert_same_bytes(files_below(out, *FITTED), files_below(tmp_path / "other/out", *FITTED))

    recsys_tft.refresh(str(out), str(days[1]), workers=2)
    period = out / "periods" / days[1].name
    new = pq.read_table(days[1] / "interactions.parquet").to_pandas()
    found = {one.name: one for one in differences(str(out), str(period))}
    assert not any(one.left or one.moved for one in found.values())
    for name, known in vocabularies.items():
        came = {int(value) for value in found[name].came}
        assert came == set(new[name]) - known
        assert came & (set(every[name]) - known)  # some come back
