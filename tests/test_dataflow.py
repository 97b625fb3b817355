"""A job submitted to Dataflow by Beam's own client, to a stub on the loopback interface; and that job, executed."""

import dataclasses
import pathlib
from collections.abc import Iterator

import apache_beam.internal.gcp.auth as beam_auth
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from cloud_stub import Cloud
from conftest import Ran
from test_determinism import assert_same_output

from beam_pipelines.run import Submitted
from recsys_tft import PipelineConfig, ProcessingPipeline


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
    where = ("--project=my-project", "--region=europe-west1", "--temp_location=gs://bucket/temp")
    return ("--runner=DataflowRunner", *where, f"--dataflow_endpoint={cloud.endpoint}", "--no_auth", *more)


@pytest.fixture(scope="module")
def submission(cloud: Cloud, synthetic_run: Ran) -> Submission:
    cloud.upload(synthetic_run.raw, "bucket/films/raw")
    config = PipelineConfig(
        output_dir="gs://bucket/out", config=str(synthetic_run.config), beam_args=beam_args(cloud, "--label=team=video")
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


def test_the_job_says_what_it_is(submission: Submission) -> None:
    import json

    print(json.dumps(submission.job, indent=1)[:6000])
    print(submission.returned, submission.staged)


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
