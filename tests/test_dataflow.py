"""A job submitted to Dataflow by Beam's own client, to a stub on the loopback interface; and that job, executed."""

import base64
import bz2
import contextlib
import dataclasses
import datetime
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
import apache_beam.internal.gcp.auth as beam_auth
import pyarrow as pa
import pytest
import tensorflow as tf
import yaml
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, SetupOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from cloud_stub import Cloud
from conftest import Ran
from test_determinism import assert_same_output

from beam_pipelines import dataflow, pairs, run, wheel
from beam_pipelines.run import Submitted, beam_options
from recsys_tft import PipelineConfig, ProcessingPipeline, cli
from recsys_tft.configuration.settings import Settings, parse
from recsys_tft.errors import InputError, StillRunning, UsageError
from recsys_tft.titles import tiny_bert, title_encoder

ROOT = pathlib.Path(__file__).parent.parent
DATAFLOW = yaml.safe_load((ROOT / "configs" / "dataflow.yaml").read_text())["beam"]
PACKAGE = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "preprocessing_fn.py", "recsys_tft", "beam_pipelines")
RUNNER = ("--runner=DataflowRunner",)


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
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as cloud, pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        # Beam asks for credentials once per process, with retries that take 24 s where there are none.
        patch.setattr(beam_auth._Credentials, "_credentials_init", True)
        yield cloud


def beam_args(cloud: Cloud, *more: str) -> tuple[str, ...]:
    """Where to submit; which runner, the config says."""
    where = ("--project=my-project", "--region=europe-west1", "--temp_location=gs://bucket/temp")
    return (*where, f"--dataflow_endpoint={cloud.endpoint}", "--no_auth", *more)


@pytest.fixture(scope="module")
def submission(cloud: Cloud, synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> Submission:
    """By the shipped config, with the package built from a checkout."""
    cloud.upload(synthetic_run.raw, "bucket/films/raw")
    folder = tmp_path_factory.mktemp("submission")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in PACKAGE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, checkout / name)
    settings = {**yaml.safe_load(synthetic_run.config.read_text()), "beam": DATAFLOW}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    more = (f"--setup_file={checkout / 'setup.py'}", "--label=team=video", "--max_num_workers=8", "--save_main_session")
    config = PipelineConfig(
        output_dir="gs://bucket/out", config=str(folder / "config.yaml"), beam_args=beam_args(cloud, *more)
    )
    returned = ProcessingPipeline(config).submit("gs://bucket/films/raw")
    job = cloud.jobs[-1]
    url = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"].removeprefix("gs://")
    pipeline = beam_runner_api_pb2.Pipeline.FromString(cloud.read(url))
    return Submission(returned, job, url.rpartition("/")[0], pipeline)


@pytest.fixture(scope="module")
def executed(cloud: Cloud, submission: Submission) -> None:
    """Runs the staged graph to its end, in this process instead of containers."""
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.CopyFrom(submission.pipeline)
    for environment in pipeline.components.environments.values():
        environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(pipeline, PipelineOptions()).wait_until_finish()


# --- What Dataflow gets


def test_the_job_has_a_name_and_labels_that_say_data_set_and_time(submission: Submission) -> None:
    job = submission.job
    assert re.fullmatch(r"recsys-tft-films-raw-20\d{6}-\d{6}", job["name"])
    assert job["labels"] == {"recsys-tft": "0-1-0", "data-set": "films-raw", "team": "video"}
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


def import_from(folder: pathlib.Path) -> str:
    """Imports all of the package in an interpreter that finds it in the folder only, and returns where it was found."""
    code = f"""
import pathlib, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
sys.path.insert(0, {str(folder)!r})
import recsys_tft.cli, recsys_tft.configuration.settings, preprocessing_fn, beam_pipelines
print(*(pathlib.Path(module.__file__) for module in (recsys_tft, preprocessing_fn, beam_pipelines)))
missing = set()
for package in (recsys_tft, beam_pipelines):
    here, source = pathlib.Path(package.__file__).parent, pathlib.Path({str(ROOT)!r}, package.__name__)
    missing |= {{f for f in source.rglob("*.py") if not (here / f.relative_to(source)).exists()}}
assert not missing, missing
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(file: pathlib.Path, folder: pathlib.Path) -> None:
    """Installs a package alone into an empty folder, without a network."""
    alone = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *alone, "--target", str(folder), str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


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


def test_no_path_of_this_machine_is_in_the_graph(submission: Submission, synthetic_run: Ran) -> None:
    found = list(contents(submission.pipeline.SerializeToString()))
    assert len(found) > 100
    assert any(b"ForEachPair" in data and b"gs://bucket/films/raw" in data for data in found)
    # Functions of Beam and tf.Transform that have no name are sent with the file that they stand in.
    libraries = str(pathlib.Path(apache_beam.__file__).parent.parent).encode()
    here = [tempfile.gettempdir(), pathlib.Path.home(), ROOT, synthetic_run.root]
    leaks = {
        match[0]
        for data in found
        for path in here
        for match in re.finditer(re.escape(f"{path}/".encode()) + rb"[\w./-]*", data.replace(libraries, b""))
    }
    assert not leaks


def steps(pipeline: beam_runner_api_pb2.Pipeline) -> Iterator[pairs.ForEachPair]:
    """The functions of ours in a graph."""
    for transform in pipeline.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            pardo = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            function = pickler.loads(pardo.do_fn.payload)[0] if pardo.do_fn.payload else None
            if isinstance(function, pairs.ForEachPair):
                yield function


def test_no_step_uses_threads_or_files_of_one_machine(submission: Submission) -> None:
    found = list(steps(submission.pipeline))
    assert len(found) > 10
    assert {(step._threads, step._spill_folder) for step in found} == {(1, None)}


# --- What it does


@pytest.mark.usefixtures("executed")
def test_the_staged_graph_writes_what_a_local_run_writes(
    cloud: Cloud, synthetic_run: Ran, tmp_path: pathlib.Path
) -> None:
    for name, data in cloud.below("bucket/out").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    parts = ("processed_data", "artifacts", "rejected")
    assert_same_output(tmp_path, synthetic_run.root, *parts)
    assert {path.name for path in tmp_path.iterdir()} <= set(parts)


@pytest.mark.usefixtures("executed")
def test_a_finished_job_is_read_from_the_bucket(
    cloud: Cloud, synthetic_run: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_start", lambda *_: Result())
    monkeypatch.setattr(ProcessingPipeline, "_writing", lambda *_: contextlib.nullcontext())
    said: list[str] = []
    config = PipelineConfig(output_dir="gs://bucket/out", beam_args=(*RUNNER, *beam_args(cloud)), title_encoder="none")
    result = ProcessingPipeline(config, said.append).run("gs://bucket/films/raw")
    assert [text for text in said if "https://console.cloud.google.com/dataflow/jobs/europe-west1/job-7" in text]
    assert result.manifest["counts"] == synthetic_run.result.manifest["counts"]
    assert result["ranker_val"].feature_spec() == synthetic_run.result["ranker_val"].feature_spec()
    assert result["users"].pandas().equals(synthetic_run.result["users"].pandas())


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


# --- Before it is submitted


def options_of(*arguments: str) -> PipelineOptions:
    return beam_options([*RUNNER, "--project=p-123456", "--region=r", "--temp_location=gs://b/t", *arguments])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            "--data-dir gs://b/raw --output-dir gs://b/out",
            "needs --project=my-project --region=europe-west1 --temp_loc",
        ),
        (
            "--data-dir raw --output-dir gs://b/out CLOUD",
            "--data-dir is 'raw', on this machine, where Dataflow's workers",
        ),
        ("--data-dir gs://b/raw --output-dir out CLOUD", "--output-dir is 'out', on this machine"),
        (
            "--data-dir gs://b/raw --output-dir gs://b/out CLOUD --temp_location=tmp",
            "--temp_location is 'tmp'; Dataflow",
        ),
        (
            "--data-dir gs://b/raw --output-dir gs://b/out CLOUD --job_name=Films",
            "--job_name is 'Films'; it has to be of",
        ),
        (
            "--synthetic --output-dir gs://b/out CLOUD",
            "--synthetic makes its tables on this machine, but the output is",
        ),
        ("--synthetic --output-dir out CLOUD", "--data-dir is './.staging/raw'|--data-dir is 'out/.staging/raw'"),
        ("--synthetic --no-wait --output-dir gs://b/out CLOUD", "--no-wait is for --data-dir"),
    ],
)
def test_what_cannot_run_is_said_in_one_sentence(
    arguments: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = "--project=p-123456 --region=r --temp_location=gs://b/t"
    assert cli.main(["run", "--runner=DataflowRunner", *arguments.replace("CLOUD", where).split()]) == 2
    error = capsys.readouterr().err
    assert re.search(expected, error)
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_cache_of_vectors_on_this_machine_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.yaml").write_text(f"encoder_cache: {tmp_path}\n")
    arguments = ("--project=p-123456", "--region=r", "--temp_location=gs://b/t")
    config = PipelineConfig("gs://b/out", config=str(tmp_path / "config.yaml"), beam_args=(*RUNNER, *arguments))
    with pytest.raises(UsageError, match=f"encoder_cache is '{tmp_path}', on this machine"):
        ProcessingPipeline(config).run("gs://b/raw")


def test_not_waiting_is_for_dataflow(synthetic_run: Ran) -> None:
    with pytest.raises(UsageError, match="--no-wait is for a job that runs elsewhere; give --runner=DataflowRunner"):
        ProcessingPipeline(PipelineConfig("out")).submit(str(synthetic_run.raw))


@pytest.mark.parametrize(
    ("data_dir", "expected"),
    [
        ("gs://bucket/movielens/raw/", "movielens-raw"),
        ("gs://My_Bucket", "my-bucket"),
        ("gs://bucket/Ünï cödé 2024.01", "bucket-n-c-d-2024-01"),
        (f"gs://bucket/{'long' * 30}/raw", "longlonglonglonglonglonglonglong-raw"),
    ],
)
def test_names_keep_to_the_rules_of_dataflow(data_dir: str, expected: str) -> None:
    options = options_of()
    dataflow.name_job(options, data_dir, datetime.datetime(2025, 3, 1, 12, 30, 5, tzinfo=datetime.UTC))
    google = options.view_as(GoogleCloudOptions)
    assert google.job_name == f"recsys-tft-{expected}-20250301-123005"
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", google.job_name)
    labels = dict(label.split("=") for label in google.labels)
    assert all(re.fullmatch(r"[a-z0-9]([-_a-z0-9]{0,62})", text) for text in (*labels, *labels.values()))
    assert labels["data-set"].endswith(expected)


def test_a_name_and_labels_of_the_user_win() -> None:
    options = options_of("--job_name=mine", "--labels=data-set=theirs", "--labels={'team': 'video'}")
    dataflow.name_job(options, "gs://b/raw", datetime.datetime.now(datetime.UTC))
    google = options.view_as(GoogleCloudOptions)
    assert google.job_name == "mine"
    assert google.labels[-2:] == ["data-set=theirs", "{'team': 'video'}"]


# --- What workers lack


def test_without_container_or_setup_file_the_installed_package_is_sent(tmp_path: pathlib.Path) -> None:
    options = options_of()
    dataflow.add_package(options, str(tmp_path))
    (built,) = options.view_as(SetupOptions).extra_packages
    install(pathlib.Path(built), tmp_path / "installed")
    assert import_from(tmp_path / "installed").count(str(tmp_path / "installed")) == 3
    (tmp_path / "again").mkdir()
    assert pathlib.Path(wheel.build(tmp_path / "again")).read_bytes() == pathlib.Path(built).read_bytes()


@pytest.mark.parametrize(
    "argument",
    ["--setup_file=./setup.py", "--sdk_container_image=eu/recsys:1", "--extra_package=dist/recsys_tft-0.1.0.tar.gz"],
)
def test_a_package_that_is_sent_otherwise_is_not_built(argument: str, tmp_path: pathlib.Path) -> None:
    options = options_of(argument)
    before = options.view_as(SetupOptions).extra_packages
    dataflow.add_package(options, str(tmp_path))
    assert options.view_as(SetupOptions).extra_packages == before
    assert not list(tmp_path.iterdir())


def test_workers_install_the_versions_of_the_constraints() -> None:
    pinned = {line.lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert "tensorflow-transform==1.21.0" in pinned
    assert {requirement.lower() for requirement in wheel.requirements()} <= pinned


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A title encoder on this machine."""
    encoder, folder = tiny_bert.tiny(), str(tmp_path_factory.mktemp("encoder"))
    tf.saved_model.save(encoder, folder, signatures=encoder.__call__.get_concrete_function())
    return folder


def test_workers_load_a_copy_of_the_title_encoder(cloud: Cloud, model: str) -> None:
    options, said = options_of("--temp_location=gs://bucket/temp"), []
    settings = parse({"title_encoder": model}, "a test")
    sent = dataflow.reachable(settings, options, said.append)
    assert sent.title_encoder.startswith("gs://bucket/temp/recsys_tft/title_encoders/")
    assert sent.encoder_cache == "gs://bucket/temp/recsys_tft/title_vectors"
    assert said == [f"Copying the title encoder to {sent.title_encoder}"]
    titles = pa.array(["Star Wars", "Toy Story"])
    expected = title_encoder.encode(model, titles)
    assert (title_encoder.encode(sent.title_encoder, titles) == expected).all()
    assert title_encoder.fingerprint(sent.title_encoder) == title_encoder.fingerprint(model)
    assert dataflow.reachable(settings, options, said.append) == sent
    pair = title_encoder.Pair("gs://models/preprocessor", model, "mean")
    paired = dataflow.reachable(parse({"title_encoder": pair}, "a test"), options, said.append).title_encoder
    assert paired == title_encoder.Pair("gs://models/preprocessor", sent.title_encoder, "mean")
    assert len(said) == 1  # what is there is not copied again


def test_an_address_that_workers_reach_stays(model: str) -> None:
    addresses = ("none", "gs://models/titles", "https://tfhub.dev/google/universal-sentence-encoder/4")
    for address in addresses:
        assert (
            dataflow.reachable(parse({"title_encoder": address}, "a test"), options_of(), print).title_encoder
            == address
        )


def test_options_of_the_config_come_before_those_of_the_command_line() -> None:
    found = parse(
        {
            "beam": {
                "runner": "DataflowRunner",
                "use_public_ips": False,
                "streaming": True,
                "experiments": ["a", "b"],
                "num_workers": 3,
            }
        },
        "a test",
    )
    assert found.beam_arguments == (
        "--runner=DataflowRunner", "--no_use_public_ips", "--streaming", "--experiments=a", "--experiments=b",
        "--num_workers=3",
    )  # fmt: skip
    assert beam_options(found.beam_arguments).get_all_options()["use_public_ips"] is False
    with pytest.raises(UsageError, match="neither recsys-tft nor Beam has an option '--machine-typo'"):
        beam_options(parse({"beam": {"machine_typo": "x"}}, "a test").beam_arguments)
    assert Settings().beam_arguments == ()
