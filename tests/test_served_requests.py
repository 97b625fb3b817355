"""Requests that are logged, and how they are compared with the rows that models were trained on."""

import copy
import errno
import json
import pathlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from loaded_graphs import recommender_of

from recsys_tft import cli, ids
from recsys_tft.configuration.settings import from_manifest
from recsys_tft.errors import InputError
from recsys_tft.examples import examples
from recsys_tft.raw_replay import raw_rows
from recsys_tft.recommending import request_log
from recsys_tft.recommending.request import Request
from recsys_tft.recommending.request_log import RequestLog
from recsys_tft.run_layout import run_folders
from recsys_tft.time_lookups import find_sorted
from recsys_tft.training import training_rows
from recsys_tft.verifying import raw_matches

MOMENT = 1_740_000_000_000_000


def note(log: RequestLog, users: range, **more: pa.Array) -> None:
    for user in users:
        request = Request(user, {}, MOMENT + user)
        log.note([request], [{**request.columns(pa.table({})), **more}], [True])


def logged(folder: pathlib.Path) -> pa.Table:
    return pa.concat_tables(map(pq.read_table, sorted(folder.glob("*"))), promote_options="default")


def test_files_are_of_so_many_rows_and_hold_all_that_was_noted(tmp_path: pathlib.Path) -> None:
    log = RequestLog(str(tmp_path / "a" / "b"), rows=30)
    note(log, range(1, 101), age=pa.array([30]), **{"of_group/category": pa.array([[b"a"]])})
    log.close()
    log.close()
    files = sorted((tmp_path / "a" / "b").iterdir())
    assert [pq.read_metadata(file).num_rows for file in files] == [30, 30, 30, 10]
    found = logged(tmp_path / "a" / "b")
    assert found.sort_by("user_id")["user_id"].to_pylist() == list(range(1, 101))
    assert set(found.column_names) == {"user_id", "interaction_time", "age", "is_known"}
    assert (log.written, log.lost) == (100, 0)


def test_which_requests_are_drawn_is_always_the_same_and_their_share_is_the_rate(tmp_path: pathlib.Path) -> None:
    drawn = []
    for name in "ab":
        log = RequestLog(str(tmp_path / name), rate=0.3)
        note(log, range(1, 1001))
        log.close()
        drawn.append(logged(tmp_path / name)["user_id"].to_pylist())
    assert drawn[0] == drawn[1]
    assert 250 < len(drawn[0]) < 350


def test_a_full_disk_is_counted_and_said_once_and_what_comes_later_is_written(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    is_full, write = threading.Event(), pq.write_table

    def full(table: pa.Table, path: pathlib.Path, **options: Any) -> None:
        write(table, path, **options)
        if is_full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(request_log.pq, "write_table", full)
    is_full.set()
    log = RequestLog(str(tmp_path), rows=10, say=said.append)
    note(log, range(1, 36))
    log.close()
    assert (log.written, log.lost) == (0, 35)
    assert said == [f"{tmp_path}: 10 requests cannot be logged (No space left on device)"]
    assert not list(tmp_path.iterdir())
    is_full.clear()
    log = RequestLog(str(tmp_path), say=said.append)
    note(log, range(1, 6), age=pa.array([30]))
    note(log, range(6, 9), age=pa.array([b"x"]))  # which is no table with the others
    log.close()
    assert (log.written, log.lost, len(said)) == (0, 8, 2)


def test_where_no_log_can_be_is_told_at_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="no log of requests can be written there"):
        RequestLog(str(tmp_path / "file"))
    with pytest.raises(InputError, match="is 0; expected above 0 and at most 1"):
        RequestLog(str(tmp_path), rate=0)


@pytest.mark.slow
def test_what_is_logged_are_the_raw_columns_that_models_were_asked_about(
    served: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    recommender, log = copy.copy(recommender_of(served)), RequestLog(str(tmp_path))
    recommender._log = log
    asked = [recommender.request(user, MOMENT + 1, age=33) for user in (3, 4, 10**6, None)]
    for request in asked:
        recommender.recommend(request.user_id, 3, request.time, **request.given)
    log.close()
    rows = {row["user_id"]: row for row in logged(tmp_path).to_pylist()}
    assert [rows[user].pop("is_known") for user in (3, 4, 10**6, None)] == [True, True, False, False]
    for request in asked:
        known = {name: values[0].as_py() for name, values in recommender.known(request).items()}
        known = {name: value for name, value in known.items() if not name.startswith("of_group/")}
        known["user_id"] = request.user_id
        assert {name: value for name, value in rows[request.user_id].items() if value is not None} == {
            name: value for name, value in known.items() if value is not None
        }


def training_requests(root: pathlib.Path) -> pa.Table:
    """The raw columns of the exposures of the ranker's training rows, as a request at that moment has them."""
    manifest = run_folders.manifest(str(root))
    settings = from_manifest(manifest, "the manifest")
    rows = raw_rows.read_days(raw_rows.raw_days(str(root), None, manifest), manifest, settings)
    everybody = rows.users["user_id"].to_numpy()
    found = raw_matches.labelled(rows, everybody, raw_rows.cuts_of(manifest), settings).exposures
    drawn = training_rows.columns(training_rows.folder_of(str(root), "ranker/train"), ["user_id", "interaction_time"])
    keys = found.select(list(drawn)).append_column("place", pa.array(np.arange(len(found))))
    keys = pl.from_arrow(keys).unique(list(drawn), keep="first", maintain_order=True)
    found = found.take(pl.DataFrame(drawn).join(keys, on=list(drawn), how="left")["place"].to_arrow())
    own = rows.users.take(pa.array(find_sorted(everybody, found["user_id"].to_numpy())))
    found = ids.plain(examples.with_given_ids(found, rows.users, rows.lookup))
    names = [name for name in found.column_names if name not in ("video_id", "split", "label", "weight")]
    of_user = {name: own[name] for name in own.column_names if name not in found.column_names}
    return pa.table({**{name: found[name] for name in names}, **of_user})


def replaced(name: str, change: Callable[[pa.ChunkedArray], Any]) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.set_column(rows.column_names.index(name), name, change(rows[name]))


@pytest.mark.slow
def test_requests_of_training_raise_no_alarm_and_planted_drift_is_found(
    served: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    rows = training_requests(served)
    half = rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[: len(rows) // 2]))

    def compared(change: Callable[[pa.Table], pa.Table]) -> Mapping[str, set[str]]:
        path = tmp_path / "requests-1.parquet"
        pq.write_table(change(half), path)
        code = cli.main(["compare", str(served), str(tmp_path), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["only_old"] == []
        assert code == found["drifted"]
        assert len(found["columns"]) > 15
        drifted: dict[str, set[str]] = {}
        for each in found["columns"]:
            if each["drifted"]:
                drifted.setdefault(each["data_set"], set()).add(each["column"])
        return drifted

    assert compared(lambda table: table) == {}
    users, query = "raw_users", "two_tower"
    gone = compared(replaced("country", lambda values: pa.nulls(len(values), pa.binary())))
    assert gone == {users: {"country"}, query: {"country_token"}, "ranker": {"country_token"}}
    new = compared(replaced("country", lambda values: pa.array([b"Atlantis"] * len(values))))
    assert new == gone
    months = compared(replaced("age", lambda values: pc.multiply(values, 12)))
    assert months[users] == {"age"}
    assert {"age_z", "age_bucket"} >= months[query] > set()
    shorter = compared(replaced("history_video_ids", lambda values: pc.list_slice(values, 0, 1)))
    assert "history_video_ids" in shorter["raw_exposures"]
    assert "history_video_ids_tokens" in shorter[query]


@pytest.mark.slow
def test_what_is_no_log_of_this_run_is_one_sentence(
    served: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "requests-1.parquet"
    for content in (b"", None):
        if content is None:
            pq.write_table(pa.table({"a": [1]}), path)
        else:
            path.write_bytes(content)
        assert cli.main(["compare", str(served), str(tmp_path)]) == 1
        assert f"{path}: " in capsys.readouterr().err
