"""Bad input as a user meets it: one sentence that says what is wrong where, exit code 1 or 2, and nothing written."""

import dataclasses
import datetime
import hashlib
import json
import logging
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection

from beam_pipelines.main_job import MainJob
from recsys_tft.cli import main
from recsys_tft.columns import TABLES
from recsys_tft.errors import InputError
from recsys_tft.storage.output import REPLACED, Output

Row = dict[str, Any]
Tables = dict[str, pa.Table]

START = datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)
NO_TITLES = ("--title-encoder", "none")
USERS, VIDEOS, DAYS = 12, 8, 10
TYPES = {
    "user_id": pa.int64(),
    "video_id": pa.int64(),
    "channel_id": pa.int64(),
    "age": pa.int64(),
    "country": pa.string(),
    "category": pa.string(),
    "video_duration": pa.float32(),
    "interaction_time": pa.timestamp("us", "UTC"),
    "interaction_type": pa.string(),
    "watch_time": pa.float32(),
}


def event(user: int, video: int, day: float, kind: str | None = "click", **values: Any) -> Row:
    row = {"user_id": user, "video_id": video, "interaction_time": START + datetime.timedelta(days=day, minutes=user)}
    return row | {"interaction_type": kind, "watch_time": None} | values


def good_rows() -> dict[str, list[Row]]:
    """Rows of the four tables, every second event a click and the others impressions."""
    kinds = ("click", "impression")
    return {
        "users": [{"user_id": user, "age": 20 + user, "country": "DE"} for user in range(1, USERS + 1)],
        "videos": [
            {"video_id": video, "channel_id": 1, "category": "music", "video_duration": 60.0}
            for video in range(1, VIDEOS + 1)
        ],
        "channels": [{"channel_id": 1}],
        "interactions": [
            event(user, (user * 3 + day) % VIDEOS + 1, day, kinds[(user + day) % 2])
            for user in range(1, USERS + 1)
            for day in range(DAYS)
        ],
    }


def table_of(rows: list[Row]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in rows], TYPES[name]) for name in rows[0]})


@dataclasses.dataclass(frozen=True)
class Desk:
    """What a user has: a folder of raw tables, which may be spoilt, and a previous output.

    Attributes:
        data: the folder of the raw tables.
        out: the output folder.
        folder: of both.
    """

    data: pathlib.Path
    out: pathlib.Path

    @property
    def folder(self) -> pathlib.Path:
        return self.data.parent

    def write(self, name: str, rows: list[Row] | pa.Table) -> None:
        pq.write_table(rows if isinstance(rows, pa.Table) else table_of(rows), self.data / f"{name}.parquet")

    def config(self, text: str) -> str:
        path = self.folder / "config.yaml"
        path.write_text(text)
        return str(path)

    def arguments(self, *options: str) -> list[str]:
        return ["run", "--data-dir", str(self.data), "--output-dir", str(self.out), *NO_TITLES, *options]

    def state(self) -> dict[str, str]:
        """A hash of each file of the output, hidden ones included."""
        return digests(self.out)


def digests(root: pathlib.Path) -> dict[str, str]:
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def desk(tmp_path: pathlib.Path) -> Desk:
    desk = Desk(tmp_path / "raw", tmp_path / "out")
    desk.data.mkdir()
    for name, rows in good_rows().items():
        desk.write(name, rows)
    for name in REPLACED:
        (desk.out / name / "below").mkdir(parents=True)
        (desk.out / name / "below" / "file").write_text(f"the previous {name}")
    return desk


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """The command line silences the libraries' logs for good."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the fit out of a run that fails before it: to trace the graph is half of what such a run does."""

    def fit(job: MainJob, _: PCollection) -> tuple[PCollection, SimpleNamespace]:
        nothing = job._root | "No graph" >> beam.Create([""])
        return nothing, SimpleNamespace(deferred_metadata=nothing, asset_map={})

    monkeypatch.setattr(MainJob, "_fit", fit)


Fails = Callable[..., str]


@pytest.fixture
def fails(desk: Desk, capfd: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command that must fail, over a previous output that must stay; returns the sentence."""

    def run(*options: str, code: int = 1, arguments: list[str] | None = None) -> str:
        before = desk.state()
        capfd.readouterr()
        assert main(arguments or desk.arguments("--overwrite", *options)) == code
        printed, error = capfd.readouterr()
        assert re.fullmatch(r"error: [^\n]+[.?)]\n", error), error
        assert "--debug" not in error, error  # which would be a defect's
        assert "Traceback" not in printed + error
        assert desk.state() == before
        assert {path.name for path in desk.out.iterdir()} == set(REPLACED)
        return error.removeprefix("error: ").rstrip("\n")

    return run


def succeeds(desk: Desk, capfd: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """Runs a command that must succeed; returns the manifest."""
    capfd.readouterr()
    code = main(desk.arguments("--overwrite", *options))
    error = capfd.readouterr().err
    assert (code, error) == (0, "")
    assert {path.name for path in desk.out.iterdir()} == set(REPLACED)
    return json.loads((desk.out / "artifacts/manifest.json").read_text())


# --- Tables


def test_a_missing_table_is_named(desk: Desk, fails: Fails) -> None:
    (desk.data / "videos.parquet").unlink()
    found = fails()
    assert found == (
        f"{desk.data}: found no table videos; expected videos.parquet, or a folder videos/ of Parquet files."
    )


def test_a_folder_that_does_not_exist_is_named(desk: Desk, fails: Fails) -> None:
    nowhere = str(desk.folder / "nowhere")
    found = fails(arguments=["run", "--data-dir", nowhere, "--output-dir", str(desk.out), "--overwrite"])
    assert found.startswith(f"{nowhere}: ")


def test_a_table_that_is_there_twice_is_refused(desk: Desk, fails: Fails) -> None:
    (desk.data / "users").mkdir()
    pq.write_table(table_of(good_rows()["users"]), desk.data / "users" / "part-0.parquet")
    assert "the table users is there twice" in fails()


def test_a_missing_required_column_is_named_with_its_file_and_a_likely_name(desk: Desk, fails: Fails) -> None:
    rows = pq.read_table(desk.data / "interactions.parquet")
    desk.write("interactions", rows.rename_columns({"interaction_time": "interaction_tim"}))
    assert fails() == (
        f"{desk.data}/interactions.parquet: the table interactions has no column 'interaction_time'. "
        "Did you mean 'interaction_tim'? Name it under `columns: {interactions: ...}` in the config if it is called "
        "otherwise."
    )


def test_interactions_that_say_nothing_of_what_happened_are_refused(desk: Desk, fails: Fails) -> None:
    desk.write("interactions", pq.read_table(desk.data / "interactions.parquet").drop_columns(["interaction_type"]))
    assert "interactions need a column 'interaction_type', or boolean columns out of clicked, liked" in fails()


@pytest.mark.parametrize(
    ("table", "column", "values", "sentence"),
    [
        ("users", "age", pa.array(["20"] * USERS), "column 'age' is string, expected int64"),
        ("users", "user_id", pa.array([1.5] * USERS), "column 'user_id' is double, expected int64"),
        ("videos", "category", pa.array([1] * VIDEOS), "column 'category' is int64, expected string"),
        ("interactions", "interaction_time", pa.array([0] * USERS * DAYS), "column 'interaction_time' is int64, expec"),
    ],
)
def test_a_wrong_type_is_named_with_file_column_and_what_is_right(
    desk: Desk, fails: Fails, table: str, column: str, values: pa.Array, sentence: str
) -> None:
    rows = pq.read_table(desk.data / f"{table}.parquet")
    desk.write(table, rows.set_column(rows.schema.get_field_index(column), column, values))
    assert f"{desk.data}/{table}.parquet: {sentence}" in fails()


@pytest.mark.parametrize("table", ["users", "videos", "interactions"])
def test_an_empty_table_is_named(desk: Desk, fails: Fails, table: str) -> None:
    desk.write(table, table_of(good_rows()[table]).slice(0, 0))
    assert fails() == f"{desk.data}/{table}.parquet: the table {table} is empty; it needs at least one row."


@pytest.mark.usefixtures("unfitted")
def test_a_table_without_positives_names_the_rules(desk: Desk, fails: Fails) -> None:
    desk.write("interactions", [row | {"interaction_type": "impression"} for row in good_rows()["interactions"]])
    config = desk.config("labels: {positive: {like: 1.0, click: 0.5}}")
    assert fails("--config", config) == (
        "No exposure in the training window is positive by the rules of labels.positive (like, click)."
    )


def test_text_in_the_place_of_parquet_is_named(desk: Desk, fails: Fails) -> None:
    (desk.data / "users.parquet").write_text("user_id,age\n1,20\n" * 10)
    assert fails().startswith(f"{desk.data}/users.parquet: not a readable Parquet file (")


def test_a_file_cut_short_is_named(desk: Desk, fails: Fails) -> None:
    file = desk.data / "interactions.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    assert fails().startswith(f"{file}: not a readable Parquet file (")


def test_a_column_name_that_is_no_text_is_named(desk: Desk, fails: Fails) -> None:
    file = desk.data / "users.parquet"
    file.write_bytes(file.read_bytes().replace(b"country", b"co\x80ntry"))
    assert fails().startswith(f"{file}: not a readable Parquet file (")


def test_a_column_that_is_there_twice_is_named(desk: Desk, fails: Fails) -> None:
    rows = pq.read_table(desk.data / "users.parquet")
    desk.write("users", rows.append_column("age", rows["age"]))
    found = f"{desk.data}/users.parquet: column 'age' appears more than once; a table holds a name once."
    assert fails() == found


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize("place", ["header", "values"])
def test_damaged_pages_are_found_where_the_footer_is_good(desk: Desk, fails: Fails, place: str) -> None:
    file = desk.data / "interactions.parquet"
    column = pq.read_metadata(file).row_group(0).column(0)
    begin = column.dictionary_page_offset or column.data_page_offset
    begin += 0 if place == "header" else 30
    data = bytearray(file.read_bytes())
    data[begin : begin + 25] = b"\xff" * 25
    file.write_bytes(data)
    assert pq.read_metadata(file).num_rows == USERS * DAYS
    assert fails().startswith(f"{file}: the Parquet file is damaged (")


# --- Settings, which are checked before any data is read


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sede: 1", "unknown setting 'sede'. Did you mean 'seed'?"),
        ("ranker: {negative_ratio: 3}", "unknown setting 'ranker.negative_ratio'. Did you mean 'negative_sample_rat"),
        ("vocabularies: {tags: {noov: 3}}", "unknown setting 'vocabularies.tags.noov'. Did you mean 'n_oov'?"),
        ("vocabularies: {tag: {n_oov: 3}}", "vocabularies has the unknown vocabulary 'tag'. Did you mean 'tags'?"),
        ("buckets: {age: [18, 18, 25]}", "buckets.age must be finite and increase, such as [1, 2, 3], not [18.0, 18.0"),
        ("buckets: {duration: [60, 30]}", "buckets.duration must be finite and increase"),
        ("ranker: {negative_sample_ratio: -1}", "ranker.negative_sample_ratio is -1: "),
        ("split: {train: 0.8, val: 0.3}", "split train 0.8 and val 0.3 exceed 1 together"),
        ("split: {train: 1.5}", "split.train is 1.5: "),
        ("split: {val_from: 2025-03-09, train: 0.5}", "split takes either train and val, or val_from and test_from"),
        ("split: {test_from: 2025-03-09}", "split test_from needs val_from"),
        ("labels: {positive: {likes: 1.0}}", "labels.positive has the unknown rule 'likes'. Did you mean 'like'?"),
        ("labels: {positive: {}}", "labels.positive names no rule"),
        ("labels: {positive: {like: -1}}", "labels.positive gives 'like' the weight -1.0, which must be above 0"),
        ("max_rejected_fraction: 2", "max_rejected_fraction is 2: "),
        ("output: {format: csv}", "output.format is 'csv': "),
        ("seed: one", "seed is 'one': "),
        ("[1, 2]", "expected a mapping of settings, found list."),
        ("a: [", "not a YAML file ("),
        # A columns mapping reads {your name: our name}.
        (
            "columns: {interactions: {user_id: userId}}",
            "columns maps 'user_id' of interactions to the unknown column 'userId'. Did you mean 'user_id'?",
        ),
        ("columns: {events: {ts: interaction_time}}", "columns has the unknown table 'events'."),
        ("columns: {users: {a: age, b: age}}", "columns maps two columns of users to one name"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_its_file_before_data_is_read(
    desk: Desk, fails: Fails, text: str, sentence: str
) -> None:
    for table in TABLES:
        (desk.data / f"{table}.parquet").unlink()
    config = desk.config(text)
    assert fails("--config", config).startswith(f"{config}: {sentence}")


def test_a_config_that_is_not_there_is_named(desk: Desk, fails: Fails) -> None:
    config = str(desk.folder / "none.yaml")
    assert fails("--config", config).startswith(f"{config}: cannot read the config (")


def test_a_mapping_to_a_column_that_the_file_lacks_is_named(desk: Desk, fails: Fails) -> None:
    found = fails("--config", desk.config("columns: {users: {years: age}}"))
    assert f"{desk.data}/users.parquet: the table users has no column 'years'." in found


def test_a_negative_ratio_of_minus_one_is_refused(fails: Fails) -> None:
    assert "ranker.negative_sample_ratio is -1: " in fails("--negative-ratio", "-1")


# --- Options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--ouput-dir=x"], "neither recsys-tft nor Beam has an option '--ouput-dir'. Did you mean '--output-dir'?"),
        (["--zzzz", "1"], "neither recsys-tft nor Beam has an option '--zzzz'."),
        (["--workers", "0"], "--workers is 0; it needs at least 1."),
        (
            ["--users", "3"],
            "--users, --videos, --interactions and --versioned go with --synthetic, not --data-dir.",
        ),
    ],
)
def test_a_wrong_option_is_named_and_ends_with_2(fails: Fails, options: list[str], sentence: str) -> None:
    assert fails(*options, code=2) == sentence


@pytest.mark.parametrize("sizes", [["--users", "0"], ["--videos", "0"], ["--interactions", "-5"]])
def test_synthetic_tables_of_no_rows_are_refused(desk: Desk, fails: Fails, sizes: list[str]) -> None:
    arguments = ["run", "--synthetic", "--output-dir", str(desk.out), "--overwrite", *NO_TITLES, *sizes]
    found = fails(arguments=arguments)
    assert sizes[0].removeprefix("--") in found
    assert sizes[1] in found


# --- Rows


@pytest.mark.usefixtures("unfitted")
def test_too_many_interactions_of_unknown_users_stop_the_run(desk: Desk, fails: Fails) -> None:
    desk.write("interactions", [*good_rows()["interactions"], *(event(99, 1, day) for day in range(7))])
    assert fails() == (
        "7 of 127 rows of interactions cannot be used, mostly because user_id is not in users (7 rows); "
        "max_rejected_fraction allows 0.05 of a table."
    )


@pytest.mark.usefixtures("unfitted")
def test_too_many_bad_durations_stop_the_run(desk: Desk, fails: Fails) -> None:
    rows = good_rows()["videos"]
    rows[0]["video_duration"] = float("nan")
    rows[1]["video_duration"] = rows[2]["video_duration"] = -1.0
    desk.write("videos", rows)
    found = fails()
    assert "rows of videos cannot be used, mostly because video_duration is negative (2 rows)" in found
    assert found.startswith("3 of 8 rows of videos")


@pytest.mark.usefixtures("unfitted")
def test_all_interactions_at_one_instant_have_no_windows_and_leave_no_folder(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    desk.write("interactions", [row | {"interaction_time": START} for row in good_rows()["interactions"]])
    out = desk.folder / "fresh" / "out"
    assert main(["run", "--data-dir", str(desk.data), "--output-dir", str(out), *NO_TITLES]) == 1
    assert re.fullmatch(
        r"error: The first 80% of the \d+ exposures share one instant, 2025-03-01 00:00:00 UTC, so that no time ends "
        r"the training window; set split\.val_from\.\n",
        capfd.readouterr().err,
    )
    assert not out.exists()


BAD_ROWS: dict[str, list[tuple[Row, str]]] = {
    "users": [
        ({"user_id": 1, "age": 77}, "user_id occurs in an earlier row"),
        ({"user_id": None, "age": 5}, "user_id is null"),
        ({"user_id": 50, "age": -1}, "age is negative"),
    ],
    "videos": [
        ({"video_id": 50, "video_duration": float("nan")}, "video_duration is NaN"),
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
        (event(1, 1, 0, watch_time=float("nan")), "watch_time is NaN"),
        (event(1, 1, 0, "swipe"), "interaction_type is none of impression, click, watch, like, comment, share"),
        (event(1, 1, 0, None), "interaction_type is none of impression, click, watch, like, comment, share"),
        (event(1, 1, -40_000), "interaction_time is not a time between 1970 and 2200"),
        (event(1, 1, 0, interaction_time=None), "interaction_time is null"),
    ],
}


def test_rejected_rows_are_written_with_their_reason_and_place_and_counted_exactly(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    good = good_rows()
    places: dict[str, list[tuple[str, int, str]]] = {}
    for table, bad in BAD_ROWS.items():
        # Two files of two row groups each; the bad rows are spread over them.
        mixed: list[tuple[Row, str | None]] = [(row, None) for row in good[table]]
        for number, row in enumerate(bad):
            mixed.insert(1 + 3 * number + len(mixed) // 2 * (number % 2), row)
        rows = table_of([{name: row.get(name) for name in good[table][0]} for row, _ in mixed])
        (desk.data / f"{table}.parquet").unlink()
        (desk.data / table).mkdir()
        half = -(-len(mixed) // 2)
        for part in range(2):
            path = desk.data / table / f"part-{part}.parquet"
            pq.write_table(rows.slice(part * half, half), path, row_group_size=max(half // 2, 1))
        places[table] = [
            (str(desk.data / table / f"part-{number // half}.parquet"), number % half, reason)
            for number, (_, reason) in enumerate(mixed)
            if reason
        ]
    config = desk.config("max_rejected_fraction: 0.7\noutput: {users_per_shard: 5, videos_per_shard: 4}")

    counts = succeeds(desk, capfd, "--config", config)["counts"]

    for table, bad in BAD_ROWS.items():
        files = sorted((desk.out / "rejected" / table).glob("*.parquet"))
        found = pd.concat(map(pd.read_parquet, files))
        written = list(found[["source_file", "source_row", "reason"]].itertuples(index=False, name=None))
        assert sorted(written) == sorted(places[table])
        reasons = [reason for _, reason in bad]
        counted = {name.split("/", 2)[2]: n for name, n in counts.items() if name.startswith(f"rejected/{table}/")}
        assert counted == {reason: reasons.count(reason) for reason in reasons}
        assert counts[f"rows/{table}/in"] == len(good[table]) + len(bad)
        assert counts[f"rows/{table}/used"] == len(good[table])
    users = pd.concat(map(pd.read_parquet, (desk.out / "rejected/users").glob("*.parquet")))
    assert sorted(users["age"]) == [-1, 5, 77]


def test_wide_tables_under_names_of_ones_own_and_without_drawn_negatives_work(
    desk: Desk, capfd: pytest.CaptureFixture[str]
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
    desk.write("interactions", pa.Table.from_pylist(rows, pa.schema(types)))
    config = desk.config(
        "columns: {interactions: {viewer: user_id, item: video_id, ts: interaction_time, tapped: clicked}}\n"
        "labels: {positive: {click: 0.5, like: 1.0}}"
    )

    counts = succeeds(desk, capfd, "--config", config, "--negative-ratio", "0")["counts"]

    exposures = {name: n for name, n in counts.items() if name.startswith("exposures/")}
    assert sum(exposures.values()) == USERS * DAYS
    assert sum(n for name, n in exposures.items() if name.endswith("/positive")) == USERS * DAYS // 2
    assert not any(name.endswith("/sampled") for name in counts)
    assert counts["written/ranker/train"] == sum(counts[f"exposures/train/{kind}"] for kind in ("positive", "exposed"))
    assert counts["rows/interactions/used"] == USERS * DAYS


# --- The output folder


def test_an_output_that_exists_is_replaced_only_when_told_to(desk: Desk, fails: Fails) -> None:
    assert fails(arguments=desk.arguments()) == (
        f"{desk.out}/processed_data exists already; give --overwrite to replace the output there."
    )


def test_raw_tables_of_ones_own_are_not_replaced_by_synthetic_ones(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in REPLACED:
        (desk.out / name / "below" / "file").unlink()
        (desk.out / name / "below").rmdir()
        (desk.out / name).rmdir()
    desk.data.rename(desk.out / "raw")
    before = desk.state()
    sizes = ["--users", "20", "--videos", "20", "--interactions", "300"]
    assert main(["run", "--synthetic", "--output-dir", str(desk.out), *NO_TITLES, *sizes]) == 1
    assert capfd.readouterr().err == (
        f"error: {desk.out}/raw exists already; give --overwrite to replace the output there.\n"
    )
    assert desk.state() == before


@pytest.mark.parametrize("below", ["", "/deeper/out"])
def test_an_output_folder_that_cannot_be_written_is_named(
    desk: Desk, capfd: pytest.CaptureFixture[str], below: str
) -> None:
    (desk.folder / "file").write_text("in the way")
    out = f"{desk.folder}/file{below}"
    assert main(["run", "--data-dir", str(desk.data), "--output-dir", out, *NO_TITLES, "--overwrite"]) == 1
    assert re.fullmatch(rf"error: {desk.folder}/file\S*: cannot write there \(.+\)\.\n", capfd.readouterr().err)
    assert (desk.folder / "file").read_text() == "in the way"


def test_a_killed_run_leaves_the_previous_output_and_the_next_one_succeeds_on_one_user_alone(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    before = desk.state()
    staged = desk.out / ".staging" / "processed_data"
    command = [sys.executable, "-m", "recsys_tft", *desk.arguments("--overwrite")]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and not any(staged.rglob("part-*")):
        time.sleep(0.002)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    assert any(staged.rglob("part-*"))
    kept = {name: digest for name, digest in desk.state().items() if not name.startswith(".")}
    assert kept == before
    desk.write("users", good_rows()["users"][:1])
    desk.write("interactions", [row for row in good_rows()["interactions"] if row["user_id"] == 1])

    counts = succeeds(desk, capfd)["counts"]

    assert counts["written/users"] == 1
    assert counts["exposures/train/positive"] == 8
    assert not before.keys() & desk.state().keys()


@pytest.fixture
def staged_output(desk: Desk) -> Output:
    """A new output that is whole, but not yet in the place of the previous one."""
    output = Output.at(str(desk.out))
    output.begin(overwrite=True)
    for name in REPLACED:
        (pathlib.Path(output.staged(name)) / "new").write_text(f"the new {name}")
    return output


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Lets the rename of a folder of that number, from 0, raise an error."""
    calls: list[Any] = []
    rename = FileSystems.rename

    def failing(source: list[str], target: list[str]) -> None:
        calls.extend(source if pathlib.Path(source[0]).is_dir() else [])
        if len(calls) == number + 1:
            raise error
        rename(source, target)

    monkeypatch.setattr(FileSystems, "rename", failing)


NEW = {f"{name}/new": hashlib.sha256(f"the new {name}".encode()).hexdigest() for name in REPLACED}


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("number", range(2 * len(REPLACED)))
def test_a_commit_that_is_killed_between_two_renames_is_finished_by_the_next_run(
    desk: Desk, staged_output: Output, monkeypatch: pytest.MonkeyPatch, number: int, overwrite: bool
) -> None:
    with monkeypatch.context() as patched:
        fail_at(patched, number, SystemExit("killed"))
        with pytest.raises(SystemExit):
            staged_output.commit()
    if overwrite:
        staged_output.begin(overwrite=True)
        staged_output.discard()
    else:
        with pytest.raises(InputError, match="exists already"):
            staged_output.begin(overwrite=False)
    assert desk.state() == NEW


@pytest.mark.parametrize("number", range(2 * len(REPLACED)))
def test_a_commit_that_fails_loses_neither_the_previous_output_nor_the_new_one(
    desk: Desk, staged_output: Output, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patched:
        fail_at(patched, number, OSError("no space left"))
        with pytest.raises(OSError, match="no space left"):
            staged_output.commit()
        staged_output.discard()  # as a run that fails does
    staged_output.begin(overwrite=True)
    staged_output.discard()
    assert desk.state() == NEW


def test_a_run_that_fails_before_it_is_whole_leaves_the_previous_output(desk: Desk, staged_output: Output) -> None:
    staged_output.discard()
    assert {path.name for path in desk.out.iterdir()} == set(REPLACED)
    assert {name.split("/", 1)[1] for name in desk.state()} == {"below/file"}


# --- The command itself


@pytest.mark.parametrize("command", [[], ["run"], ["dataset"], ["features"]])
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "example:\n  recsys-tft " in printed


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rum"],
        ["run"],
        ["run", "--synthetic", "--data-dir", "x"],
        ["features", "--users", "3"],
        ["dataset", "imdb"],
    ],
)
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert ": error: " in error.splitlines()[-1]


@pytest.mark.parametrize("code", ["import recsys_tft", "from recsys_tft.cli import main; main(['run', '--help'])"])
def test_importing_the_package_and_asking_for_help_load_no_heavy_library(code: str) -> None:
    heavy = "{'tensorflow', 'apache_beam', 'catboost', 'keras', 'polars'}"
    program = f"import atexit, sys\natexit.register(lambda: print('loaded', {heavy} & sys.modules.keys()))\n{code}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded set()"


def test_an_error_is_one_sentence_also_in_a_process_of_its_own(desk: Desk) -> None:
    config = desk.config("sede: 1")
    command = [sys.executable, "-m", "recsys_tft", *desk.arguments("--config", config)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == f"error: {config}: unknown setting 'sede'. Did you mean 'seed'?\n"


def test_debug_shows_where_an_error_comes_from(desk: Desk) -> None:
    with pytest.raises(InputError, match="exists already"):
        main(desk.arguments("--debug"))


@pytest.mark.parametrize(
    "command", [["train", "two-tower"], ["train", "ranker"], ["export"], ["verify"], ["recommend"], ["similar"]]
)
def test_what_needs_a_local_run_says_so(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    title = ["--title", "x"] if command == ["similar"] else []
    assert main([*command, *title, "--output-dir", "gs://bucket/out"]) == 1
    said = "error: gs://bucket/out: only the main job works there; copy its output into a local folder.\n"
    assert capsys.readouterr().err == said
