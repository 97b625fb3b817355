"""What a user has who makes a mistake: raw tables, which may be spoilt, and a previous output, which must stay."""

import dataclasses
import datetime
import hashlib
import json
import logging
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_tft.cli import main
from recsys_tft.run_layout.output import REPLACED
from recsys_tft.storage.version_folders import CURRENT, VERSIONS

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
class Workspace:
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


def files_seen(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """All files of an output, or of a part of one, by the names under which they are seen, in order."""
    parts = [path for path in root.iterdir() if path.name not in (CURRENT, VERSIONS)]
    files = [path for part in parts for path in (part, *part.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path for path in sorted(files)}


def digests(root: pathlib.Path) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files_seen(root).items()}


@pytest.fixture
def workspace(tmp_path: pathlib.Path) -> Workspace:
    workspace = Workspace(tmp_path / "raw", tmp_path / "out")
    workspace.data.mkdir()
    for name, rows in good_rows().items():
        workspace.write(name, rows)
    for name in REPLACED:
        (workspace.out / name / "below").mkdir(parents=True)
        (workspace.out / name / "below" / "file").write_text(f"the previous {name}")
    return workspace


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """The command line silences the libraries' logs for good."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the fit out of a run that fails before it: to trace the graph is half of what such a run does."""

    import apache_beam as beam

    from recsys_tft.beam_pipelines.main_job import MainJob

    def fit(_: MainJob, training: beam.PCollection, begun: object) -> beam.PCollection:
        # It waits for the training rows, as the fit does, and so nothing that needs a graph comes before them.
        return training | "No fit" >> beam.combiners.Count.Globally() | "No graph" >> beam.Map(str)

    monkeypatch.setattr(MainJob, "_fit", fit)


Fails = Callable[..., str]


@pytest.fixture
def fails(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command that must fail, over a previous output that must stay; returns the sentence.

    Several problems with the tables are one sentence each, on lines of their own, behind a line that counts them.
    """

    def run(*options: str, code: int = 1, arguments: list[str] | None = None) -> str:
        before = workspace.state()
        capfd.readouterr()
        assert main(arguments or workspace.arguments("--overwrite", *options)) == code
        printed, error = capfd.readouterr()
        first, *others = error.removesuffix("\n").split("\n")
        if others:
            assert first == f"error: {len(others)} problems with the tables:", error
        assert all(re.fullmatch(r"[^\n]+[.?)]", sentence) for sentence in others or [first]), error
        assert error.startswith("error: ")
        assert error.endswith("\n")
        assert "--debug" not in error, error  # which would be a defect's
        assert "Traceback" not in printed + error
        assert workspace.state() == before
        assert {path.name for path in workspace.out.iterdir()} == set(REPLACED)
        if code == 1 and arguments is None and set(options[::2]) <= {"--config"}:
            _is_foretold(workspace, error.removeprefix("error: "), options, capfd)
        return error.removeprefix("error: ").rstrip("\n")

    return run


def _is_foretold(workspace: Workspace, error: str, options: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    """`check` says of the tables what stops a run."""
    assert main(["check", "--data-dir", str(workspace.data), *options]) == 1
    told = "".join(capfd.readouterr())
    for sentence in error.splitlines():
        assert sentence.removesuffix(" (the output is unchanged)").strip() in told


def succeeds(workspace: Workspace, capfd: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """Runs a command that must succeed; returns the manifest."""
    capfd.readouterr()
    code = main(workspace.arguments("--overwrite", *options))
    error = capfd.readouterr().err
    assert (code, error) == (0, "")
    assert {path.name for path in workspace.out.iterdir()} == {*REPLACED, CURRENT, VERSIONS}
    return json.loads((workspace.out / "artifacts/manifest.json").read_text())
