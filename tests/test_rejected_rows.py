"""Rows that cannot be used: rejected with their reason, counted exactly, and too many of them stop the run."""

import re

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from workspace import DAYS, NO_TITLES, START, USERS, Fails, Row, Workspace, event, good_rows, succeeds, table_of

from recsys_tft.cli import main
from recsys_tft.columns import FLOAT, INT64, Column
from recsys_tft.tables import row_checks

# --- Rows


@pytest.mark.usefixtures("unfitted")
def test_too_many_interactions_of_unknown_users_stop_the_run(workspace: Workspace, fails: Fails) -> None:
    workspace.write("interactions", [*good_rows()["interactions"], *(event(99, 1, day) for day in range(7))])
    assert fails() == (
        "7 of 127 rows of interactions are unusable, mostly because user_id is not in users (7 rows); "
        "max_rejected_fraction allows 0.05 of a table."
    )


@pytest.mark.usefixtures("unfitted")
def test_too_many_bad_durations_stop_the_run(workspace: Workspace, fails: Fails) -> None:
    rows = good_rows()["videos"]
    rows[0]["video_duration"] = float("inf")
    rows[1]["video_duration"] = rows[2]["video_duration"] = -1.0
    workspace.write("videos", rows)
    found = fails()
    assert "rows of videos are unusable, mostly because video_duration is negative (2 rows)" in found
    assert found.startswith("3 of 8 rows of videos")


@pytest.mark.usefixtures("unfitted")
def test_all_interactions_at_one_instant_have_no_splits_and_leave_no_folder(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace.write("interactions", [row | {"interaction_time": START} for row in good_rows()["interactions"]])
    out = workspace.folder / "fresh" / "out"
    assert main(["run", "--data-dir", str(workspace.data), "--output-dir", str(out), *NO_TITLES]) == 1
    assert re.fullmatch(
        r"error: The first 80% of the \d+ exposures share one instant, 2025-03-01 00:00:00 UTC, so no time can end "
        r"the training split; set split\.val_from\.\n",
        capfd.readouterr().err,
    )
    assert not out.exists()


def test_a_row_below_the_least_value_is_told_that_value() -> None:
    columns = {
        "level": Column("level", "users", INT64, minimum=1),
        "share": Column("share", "users", FLOAT, minimum=-0.5),
        "spent": Column("spent", "users", FLOAT, minimum=0),
    }
    rows = pa.table({"level": [0, 1, 1, 1], "share": [0.0, -1.0, 0.0, -0.5], "spent": [0.0, 0.0, -1.0, 0.0]})
    reasons = row_checks.check_rows(rows, columns, (), {}).to_pylist()
    assert reasons == ["level is below 1", "share is below -0.5", "spent is negative", None]


BAD_ROWS: dict[str, list[tuple[Row, str]]] = {
    "users": [
        ({"user_id": 1, "age": 77}, "user_id occurs in an earlier row"),
        ({"user_id": None, "age": 5}, "user_id is null"),
        ({"user_id": 50, "age": -1}, "age is negative"),
        ({"user_id": -(2**63)}, "user_id is -9223372036854775808, which is no id"),
    ],
    "videos": [
        ({"video_id": -(2**63)}, "video_id is -9223372036854775808, which is no id"),
        ({"video_id": 51, "video_duration": -2.5}, "video_duration is negative"),
        ({"video_id": 52, "video_duration": float("inf")}, "video_duration is infinite"),
        ({"video_id": 3, "category": "again"}, "video_id occurs in an earlier row"),
    ],
    "channels": [({"channel_id": 1}, "channel_id occurs in an earlier row")],
    "interactions": [
        (event(99, 1, 0), "user_id is not in users"),
        (event(1, 51, 0), "video_id is not in videos"),
        (event(50, 1, 0), "user_id is not in users"),
        (event(1, 1, 0, watch_time=-1.0), "watch_time is negative"),
        (event(1, 1, 0) | {"user_id": -(2**63)}, "user_id is -9223372036854775808, which is no id"),
        (event(1, 1, 0, "swipe"), "interaction_type is none of impression, click, watch, like, comment, share"),
        (event(1, 1, 0, None), "interaction_type is none of impression, click, watch, like, comment, share"),
        (event(1, 1, -40_000), "interaction_time is not a time between 1970 and 2200"),
        (event(1, 1, 0, interaction_time=None), "interaction_time is null"),
    ],
}


@pytest.mark.slow
def test_rejected_rows_are_written_with_their_reason_and_place_and_counted_exactly(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    good = good_rows()
    places: dict[str, list[tuple[str, int, str]]] = {}
    for table, bad in BAD_ROWS.items():
        # Two files of two row groups each; the bad rows are spread over them.
        mixed: list[tuple[Row, str | None]] = [(row, None) for row in good[table]]
        for number, row in enumerate(bad):
            mixed.insert(1 + 3 * number + len(mixed) // 2 * (number % 2), row)
        rows = table_of([{name: row.get(name) for name in good[table][0]} for row, _ in mixed])
        (workspace.data / f"{table}.parquet").unlink()
        (workspace.data / table).mkdir()
        half = -(-len(mixed) // 2)
        for part in range(2):
            path = workspace.data / table / f"part-{part}.parquet"
            pq.write_table(rows.slice(part * half, half), path, row_group_size=max(half // 2, 1))
        places[table] = [
            (str(workspace.data / table / f"part-{number // half}.parquet"), number % half, reason)
            for number, (_, reason) in enumerate(mixed)
            if reason
        ]
    config = workspace.config("max_rejected_fraction: 0.7\noutput: {users_per_shard: 5, videos_per_shard: 4}")

    counts = succeeds(workspace, capfd, "--config", config)["counts"]

    for table, bad in BAD_ROWS.items():
        files = sorted((workspace.out / "rejected" / table).glob("*.parquet"))
        found = pd.concat(map(pd.read_parquet, files))
        written = list(found[["source_file", "source_row", "reason"]].itertuples(index=False, name=None))
        assert sorted(written) == sorted(places[table])
        reasons = [reason for _, reason in bad]
        counted = {name.split("/", 2)[2]: n for name, n in counts.items() if name.startswith(f"rejected/{table}/")}
        assert counted == {reason: reasons.count(reason) for reason in reasons}
        assert counts[f"rows/{table}/in"] == len(good[table]) + len(bad)
        assert counts[f"rows/{table}/used"] == len(good[table])
    users = pd.concat(map(pd.read_parquet, (workspace.out / "rejected/users").glob("*.parquet")))
    assert sorted(users["age"].dropna()) == [-1, 5, 77]


@pytest.mark.slow
def test_wide_tables_under_names_of_ones_own_and_without_drawn_negatives_work(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {
            "viewer": row["user_id"],
            "item": row["video_id"],
            "ts": row["interaction_time"],
            "tapped": row["interaction_type"] == "click",
            "liked": None,
        }
        for row in good_rows()["interactions"]
    ]
    types = {"viewer": pa.int32(), "item": pa.int64(), "ts": pa.timestamp("ms"), "tapped": pa.bool_()}
    types["liked"] = pa.bool_()
    workspace.write("interactions", pa.Table.from_pylist(rows, pa.schema(types)))
    config = workspace.config(
        "columns: {interactions: {viewer: user_id, item: video_id, ts: interaction_time, tapped: clicked}}\n"
        "labels: {positive: {click: 0.5, like: 1.0}}"
    )

    counts = succeeds(workspace, capfd, "--config", config, "--negative-ratio", "0")["counts"]

    exposures = {name: n for name, n in counts.items() if name.startswith("exposures/")}
    assert sum(exposures.values()) == USERS * DAYS
    assert sum(n for name, n in exposures.items() if name.endswith("/positive")) == USERS * DAYS // 2
    assert not any(name.endswith("/sampled") for name in counts)
    assert counts["written/ranker/train"] == sum(counts[f"exposures/train/{kind}"] for kind in ("positive", "exposed"))
    assert counts["rows/interactions/used"] == USERS * DAYS
