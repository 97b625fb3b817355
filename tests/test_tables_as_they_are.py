"""A whole run on tables as pandas, Spark and CSV leave them."""

import dataclasses
import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from workspace import DAYS, USERS, VIDEOS, Workspace, good_rows, succeeds

from recsys_tft import check
from recsys_tft.cli import main
from recsys_tft.processing import PipelineConfig, ProcessingPipeline
from recsys_tft.run_layout.data_folders import OutputFolders
from recsys_tft.run_layout.output import Output

pytestmark = pytest.mark.slow


def test_tables_as_pandas_and_spark_leave_them_lose_nothing(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    """Partitions beside files, brackets in the folder, whole floats, 0 and 1, flags beside a type, null tags, CSV."""
    workspace = dataclasses.replace(workspace, data=workspace.folder / "raw [v1]")
    workspace.data.mkdir()
    rows = good_rows()
    users = pd.DataFrame({"user_id": range(1, USERS + 1), "age": [20.0, np.nan] * (USERS // 2)})
    users.to_csv(workspace.data / "users.csv", index=False)
    videos = [
        row | {"tags": ["a", None, "b"], "published_at": datetime.datetime(9999, 12, 31)} for row in rows["videos"]
    ]
    pq.write_table(pa.Table.from_pylist(videos), workspace.data / "videos.parquet")
    pq.write_table(pa.Table.from_pylist(rows["channels"]), workspace.data / "channels.parquet")
    events = pa.Table.from_pylist(
        [
            {"user_id": row["user_id"], "video_id": row["video_id"], "ts": int(row["interaction_time"].timestamp())}
            | {"interaction_type": "watch", "watch_time": 1.0, "liked": int(number % 3 == 0)}
            for number, row in enumerate(rows["interactions"])
        ]
    )
    for place, part in (("part-0", events.slice(0, 50)), ("dt=2025-03-06/part-0", events.slice(50))):
        path = workspace.data / "interactions" / f"{place}.parquet"
        path.parent.mkdir(exist_ok=True, parents=True)
        pq.write_table(part, path)
    config = workspace.config(
        "columns: {interactions: {ts: {name: interaction_time, unit: s}}}\nlabels: {positive: {like: 1.0}}"
    )

    counts = succeeds(workspace, capfd, "--config", config)["counts"]

    assert counts["rows/interactions/in"] == counts["rows/interactions/used"] == USERS * DAYS
    likes = sum(number for name, number in counts.items() if name.startswith("positives/like/"))
    assert likes == sum(number % 3 == 0 for number in range(USERS * DAYS))
    found = OutputFolders(Output.at(str(workspace.out)))
    ages = found["users"].pandas().set_index("user_id")["age_bucket"]
    assert ages[1] == 2
    assert ages[2] == 0
    assert [list(tokens) for tokens in found["videos"].pandas()["tags_tokens"]] == [[2, 3]] * VIDEOS


def test_what_is_not_read_is_said(workspace: Workspace) -> None:
    said: list[str] = []
    workspace.write("users", pa.Table.from_pylist([{"user_id": 1, "Country": "DE"}]))
    (workspace.data / "users_old.parquet").write_bytes(b"PAR1")
    pipeline = ProcessingPipeline(PipelineConfig(str(workspace.folder / "new")), said.append)
    pipeline.check(str(workspace.data))
    pipeline._find(str(workspace.data))
    assert "warning: users: not read: Country (did you mean country?); users_old.parquet" in said


def test_a_run_without_a_channels_table_is_one_with_an_empty_one(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    config = workspace.config("labels: {positive: {click: 1.0}}")
    path = workspace.data / "channels.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    succeeds(workspace, capfd, "--config", config)
    before = rows_of(workspace)
    path.unlink()
    succeeds(workspace, capfd, "--config", config)
    for name, table in rows_of(workspace).items():
        assert table.equals(before[name]), name

    warning = "there is no table channels; features of its columns are missing in every row"
    assert warning in check(str(workspace.data), config).warnings
    folders = ("--output-dir", str(workspace.out), "--data-dir", str(workspace.data))
    assert main(["audit", *folders, "--users", "5"]) == 0


def rows_of(workspace: Workspace) -> dict[str, pa.Table]:
    found = OutputFolders(Output.at(str(workspace.out)))
    names = ("users", "videos", "two_tower_train", "ranker_train", "ranker_test")
    return {name: pa.Table.from_pandas(found[name].pandas()) for name in names}
