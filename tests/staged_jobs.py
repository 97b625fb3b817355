"""A job that was submitted to the stub of Dataflow: its graph as it is staged there, and that executed."""

from collections.abc import Iterator
from typing import Any

from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from cloud_stub import Cloud

from recsys_tft.beam_pipelines import pairs


def beam_args(cloud: Cloud, *more: str) -> tuple[str, ...]:
    """Where to submit; which runner, the config says."""
    where = ("--project=my-project", "--region=europe-west1", "--temp_location=gs://bucket/temp")
    return (*where, f"--dataflow_endpoint={cloud.endpoint}", "--no_auth", *more)


def staged(cloud: Cloud, job: dict[str, Any]) -> tuple[str, beam_runner_api_pb2.Pipeline]:
    """The folder of staged files, `bucket/folder`, and the graph in it."""
    url = job["environment"]["sdkPipelineOptions"]["options"]["pipelineUrl"].removeprefix("gs://")
    return url.rpartition("/")[0], beam_runner_api_pb2.Pipeline.FromString(cloud.read(url))


def execute(graph: beam_runner_api_pb2.Pipeline) -> None:
    """Runs a graph to its end, in this process instead of containers."""
    pipeline = beam_runner_api_pb2.Pipeline()
    pipeline.CopyFrom(graph)
    for environment in pipeline.components.environments.values():
        environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
        del environment.dependencies[:]
    FnApiRunner().run_via_runner_api(pipeline, PipelineOptions()).wait_until_finish()


def steps(pipeline: beam_runner_api_pb2.Pipeline) -> Iterator[pairs.ForEachPair]:
    """The functions of ours in a graph."""
    for transform in pipeline.components.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            pardo = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
            function = pickler.loads(pardo.do_fn.payload)[0] if pardo.do_fn.payload else None
            if isinstance(function, pairs.ForEachPair):
                yield function
