"""A job submitted to Dataflow by Beam's own client, to a stub on the loopback interface; and that job, executed.

Its tables have text ids, so that codes and what they stand for travel too.
"""

import base64
import bz2
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any

import apache_beam
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from cloud_stub import Cloud
from compared_outputs import assert_same_output, rejected_rows
from conftest import Ran
from ordered_ids import REJECTED
from staged_jobs import beam_args, execute, staged, steps
from user_project import HEAD, Project
from worker_packages import ROOT, RUNNER, import_from, install

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.beam_pipelines import dataflow, run, wheel
from recsys_tft.beam_pipelines.run import Submitted
from recsys_tft.errors import InputError, StillRunning

DATAFLOW = yaml.safe_load((ROOT / "configs" / "dataflow.yaml").read_text())["beam"]
PACKAGE = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "preprocessing_fn.py", "recsys_tft", "beam_pipelines")
PLAN = 'features=[Feature("plan_token", "plan", Lookup(Vocabulary("plan")), RANKER)]'


class Result:
    """Of a job that has ended, or whose end never comes."""

    has_job = True

    def __init__(self, error: BaseException | None = None):
        self._error = error

    def job_id(self) -> str:
        return "job-7"

    def wait_until_finish(self) -> None:
        if self._error:
            raise self._error

    def metrics(self) -> "Result":
        return self

    def query(self, _: object) -> dict[str, list[Any]]:
        return {"counters": []}


@dataclasses.dataclass(frozen=True)
class Submission:
    """What was submitted.

    Attributes:
        returned: to the caller.
        job: what Dataflow got.
        staged: the folder of staged files, `bucket/folder`.
        pipeline: the staged graph.
    """

    returned: Submitted
    job: dict
    staged: str
    pipeline: beam_runner_api_pb2.Pipeline


@pytest.fixture(scope="module")
def submission(cloud: Cloud, texts_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> Submission:
    """By the shipped config, with the package built from a checkout."""
    cloud.upload(texts_run.raw, "bucket/films/raw")
    folder = tmp_path_factory.mktemp("submission")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in PACKAGE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    settings = {**yaml.safe_load(texts_run.config.read_text()), "beam": DATAFLOW}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    more = (f"--setup_file={checkout / 'setup.py'}", "--label=team=video", "--max_num_workers=8", "--save_main_session")
    config = PipelineConfig(
        output_dir="gs://bucket/out", config=str(folder / "config.yaml"), beam_args=beam_args(cloud, *more)
    )
    returned = ProcessingPipeline(config).submit("gs://bucket/films/raw")
    job = cloud.jobs[-1]
    return Submission(returned, job, *staged(cloud, job))


@pytest.fixture(scope="module")
def executed(cloud: Cloud, submission: Submission) -> None:
    """Runs the staged graph to its end."""
    execute(submission.pipeline)


# --- What Dataflow gets


def test_the_job_has_a_name_and_labels_that_say_data_set_and_time(submission: Submission) -> None:
    job = submission.job
    assert re.fullmatch(r"recsys-tft-films-raw-20\d{6}-\d{6}", job["name"])
    assert job["labels"] == {"recsys-tft": "0-2-0", "data-set": "films-raw", "team": "video"}
    assert job["type"] in ("JOB_TYPE_BATCH", 1)
    assert submission.returned.name == job["name"]
    assert submission.returned.where.startswith("https://console.cloud.google.com/dataflow/jobs/europe-west1/2025-")


def test_the_worker_pool_is_the_one_of_the_config(submission: Submission) -> None:
    environment = submission.job["environment"]
    (pool,) = environment["workerPools"]
    assert pool["machineType"] == DATAFLOW["machine_type"]
    assert pool["diskSizeGb"] == DATAFLOW["disk_size_gb"]
    assert pool["numWorkers"] == DATAFLOW["num_workers"]
    assert pool["numThreadsPerWorker"] == DATAFLOW["number_of_worker_harness_threads"]
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 8  # the command line wins
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert "use_multiple_sdk_containers" not in environment["experiments"]
    (container,) = pool["sdkHarnessContainerImages"]
    assert container["containerImage"].endswith("/beam_python3.11_sdk:2.77.0")


def test_the_options_that_workers_get(cloud: Cloud, submission: Submission) -> None:
    options = submission.job["environment"]["sdkPipelineOptions"]["options"]
    assert options["save_main_session"] is False  # though it was asked for
    assert options["temp_location"].startswith("gs://bucket/temp/")
    staged = {name.rpartition("/")[2] for name in cloud.names(submission.staged)}
    assert staged == {"pipeline.pb", "workflow.tar.gz", "submission_environment_dependencies.txt"}


def test_every_step_runs_in_the_container_with_the_package(submission: Submission) -> None:
    components = submission.pipeline.components
    (environment,) = components.environments.values()
    assert environment.urn == "beam:env:docker:v1"
    names = [
        beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(dependency.role_payload).staged_name
        for dependency in environment.dependencies
    ]
    assert "workflow.tar.gz" in names
    assert len(components.transforms) > 100


def test_the_staged_package_installs_and_imports(cloud: Cloud, submission: Submission, tmp_path: pathlib.Path) -> None:
    (tmp_path / "workflow.tar.gz").write_bytes(cloud.read(f"{submission.staged}/workflow.tar.gz"))
    install(tmp_path / "workflow.tar.gz", tmp_path / "installed")
    assert import_from(tmp_path / "installed").count(str(tmp_path / "installed")) == 3


def contents(data: bytes) -> Iterator[bytes]:
    """The bytes, and what is encoded or compressed in them, to the bottom."""
    yield data
    for found in re.finditer(rb"[A-Za-z0-9+/\n]{24,}={0,2}", data):
        for start in range(min(4, len(found[0]))):  # a length before it may look like a digit of base64
            text = found[0][start:]
            try:
                decoded = base64.b64decode(text[: len(text) // 4 * 4], validate=True)
            except ValueError:
                continue
            for unpack in (bz2.decompress, zlib.decompress):
                try:
                    yield from contents(unpack(decoded))
                except (OSError, ValueError, zlib.error):
                    continue
    for magic, unpack in ((b"BZh", bz2.decompress), (b"x\x9c", zlib.decompress)):
        for found in re.finditer(re.escape(magic), data):
            try:
                yield from contents(unpack(data[found.start() :]))
            except (OSError, ValueError, zlib.error):
                continue


def test_no_path_of_this_machine_is_in_the_graph(submission: Submission, texts_run: Ran) -> None:
    found = list(contents(submission.pipeline.SerializeToString()))
    assert len(found) > 100
    assert any(b"ForEachPair" in data and b"gs://bucket/films/raw" in data for data in found)
    # Functions of Beam and tf.Transform that have no name are sent with the file that they stand in.
    libraries = str(pathlib.Path(apache_beam.__file__).parent.parent).encode()
    here = [tempfile.gettempdir(), pathlib.Path.home(), ROOT, texts_run.root]
    leaks = {
        match[0]
        for data in found
        for path in here
        for match in re.finditer(re.escape(f"{path}/".encode()) + rb"[\w./-]*", data.replace(libraries, b""))
    }
    assert not leaks


def test_no_step_uses_threads_or_files_of_one_machine(submission: Submission) -> None:
    found = list(steps(submission.pipeline))
    assert len(found) > 10
    assert {(step._threads, step._staging_folder) for step in found} == {(1, None)}


# --- What it does


@pytest.mark.usefixtures("executed")
def test_the_staged_graph_writes_what_a_local_run_writes(cloud: Cloud, texts_run: Ran, tmp_path: pathlib.Path) -> None:
    for name, data in cloud.below("bucket/out").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    parts = ("processed_data", "artifacts", "state")
    assert_same_output(tmp_path, texts_run.root, *parts)
    assert rejected_rows(tmp_path) == rejected_rows(texts_run.root)
    assert len(rejected_rows(tmp_path)) == sum(map(len, REJECTED.values()))
    assert {path.name for path in tmp_path.iterdir()} <= {*parts, "rejected"}


@pytest.mark.usefixtures("executed")
def test_a_finished_job_is_read_from_the_bucket(cloud: Cloud, texts_run: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_start", lambda *_: Result())
    monkeypatch.setattr(ProcessingPipeline, "_writing", lambda *_: contextlib.nullcontext())
    said: list[str] = []
    config = PipelineConfig(output_dir="gs://bucket/out", beam_args=(*RUNNER, *beam_args(cloud)), title_encoder="none")
    result = ProcessingPipeline(config, said.append).run("gs://bucket/films/raw")
    assert [text for text in said if "https://console.cloud.google.com/dataflow/jobs/europe-west1/job-7" in text]
    assert result.manifest["counts"] == texts_run.result.manifest["counts"]
    assert result["ranker_val"].feature_spec() == texts_run.result["ranker_val"].feature_spec()
    assert result["users"].pandas().equals(texts_run.result["users"].pandas())


@pytest.mark.usefixtures("submission")  # for the raw tables
@pytest.mark.parametrize(
    ("error", "expected", "stays"),
    [
        (KeyboardInterrupt(), r"stopped waiting \(interrupted\), but the job goes on: https://console\..*/job-7", True),
        (OSError("no route"), r"stopped waiting \(OSError: no route\), but the job goes on: .*jobs cancel job-7", True),
        (
            DataflowRuntimeException("State: FAILED, Error:\nNo quota.", None),
            r"^the job failed \(No quota\); http",
            False,
        ),
        (
            DataflowRuntimeException("failed. Error:\nInputError: no users. [while running 'x'\n", None),
            "^no users",
            False,
        ),
    ],
)
def test_what_is_staged_stays_while_the_job_goes_on(
    error: BaseException,
    expected: str,
    stays: bool,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(*_: object) -> Result:
        cloud.write("bucket/other/.staging/processed_data/part", b"of a worker")
        return Result(error)

    monkeypatch.setattr(run, "_start", start)
    config = PipelineConfig(
        output_dir="gs://bucket/other", beam_args=(*RUNNER, *beam_args(cloud)), title_encoder="none"
    )
    with pytest.raises(StillRunning if stays else InputError, match=expected):
        ProcessingPipeline(config).run("gs://bucket/films/raw")
    assert bool(cloud.names("bucket/other")) is stays


# --- A user's own feature table


def test_the_users_modules_travel_to_the_workers_under_their_names(
    cloud: Cloud, texts_run: Ran, project: Project, tmp_path: pathlib.Path
) -> None:
    project.write("shop/__init__.py", "")
    project.write("shop/names.py", "PLAN = 'plan'\n")
    project.write("shop/unrelated.py", "")
    table = f'TABLE = DEFAULT.extend(columns=[Column(PLAN, "users", STRING)], {PLAN})'
    project.write("shop/features.py", f"{HEAD}from shop.names import PLAN\n{table}\n")
    cloud.upload(texts_run.raw, "bucket/films/raw")
    arguments = (*RUNNER, *beam_args(cloud))
    config = PipelineConfig("gs://bucket/own", config=project.config("features: shop.features"), beam_args=arguments)
    ProcessingPipeline(config).submit("gs://bucket/films/raw")
    folder, _ = staged(cloud, cloud.jobs[-1])
    (name,) = (name for name in cloud.below(folder) if name.startswith(wheel.PROJECT))
    (tmp_path / name).write_bytes(cloud.read(f"{folder}/{name}"))
    install(tmp_path / name, tmp_path / "installed")
    files = {path.relative_to(tmp_path / "installed").as_posix() for path in (tmp_path / "installed").rglob("*.py")}
    assert files == {"shop/__init__.py", "shop/names.py", "shop/features.py"}
    program = "from recsys_tft.configuration.settings import parse; t = parse({'features': 'shop.features'}, '').table"
    paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "installed"), str(ROOT)])}
    command = [sys.executable, "-c", f"{program}; print(t.by_name['plan_token'].name)"]
    run_of_worker = subprocess.run(command, cwd="/", env={**os.environ, **paths}, capture_output=True, text=True)
    assert run_of_worker.stdout.strip() == "plan_token", run_of_worker.stderr
    options = PipelineOptions(config.beam_args)
    assert dataflow.reachable(config.settings, options, print).features == "shop.features"
