"""Running the main job: runner and workers."""

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)
from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineResult

from recsys_tft import feature_tables, interruption
from recsys_tft.beam_pipelines import dataflow
from recsys_tft.beam_pipelines.job import Job
from recsys_tft.beam_pipelines.main_job import MainJob
from recsys_tft.beam_pipelines.options import labels_as_they_are, pipeline_in
from recsys_tft.beam_pipelines.pairs import METRICS
from recsys_tft.beam_pipelines.prefetch import Prefetch
from recsys_tft.beam_pipelines.prepare import COUNTS
from recsys_tft.beam_pipelines.watching import Partitions, watched
from recsys_tft.errors import InputError, StillRunning, UsageError, readable, reason, sentence_of
from recsys_tft.run_layout.output import Output
from recsys_tft.storage.files import read_text
from recsys_tft.storage.temporary import temporary_folder

IN_MEMORY = "in_memory"  # Beam's name for a job in this process
# The manifest, what Beam's metrics counted, and the seconds spent in each step.
Finished = tuple[dict[str, Any], dict[str, int], dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Submitted:
    """A job that runs elsewhere.

    Attributes:
        name: of the job.
        job_id: its id; None if an option of Beam had it described and not submitted.
        where: the address of its page, or of its description; None for `--dry_run`, which has neither.
        output: the output folder.
    """

    name: str
    job_id: str | None
    where: str | None
    output: Output


def run_job(job: Job, options: PipelineOptions, workers: int | None, say: Callable[[str], None]) -> Finished:
    """Runs the job to its end and returns its manifest, its counters, and the seconds spent in each step.

    Args:
        job: the job.
        options: of Beam; without a runner it runs in this process.
        workers: threads that process partitions in this process; None: one for each core that a partition keeps busy.
        say: called with a sentence about where the job runs, and on how many workers.

    Raises:
        StillRunning: if waiting for it was interrupted, while it goes on elsewhere.
    """
    with _place_to_work(job) as folder:
        with watched(Partitions(job.user_partitions, job.tables["interactions"].rows, say)):
            result = _start(job, options, workers, folder, say)
        if dataflow.is_dataflow(options):
            _wait(_submitted(job, options, result), result, say)
        else:
            result.wait_until_finish()
    with readable(job.output.manifest, "another run has written there at the same time; run again"):
        manifest = json.loads(read_text(job.output.manifest))
    seconds = {step: microseconds / 1e6 for step, microseconds in _counters(result, METRICS).items()}
    return manifest, _counters(result, COUNTS), seconds


def submit_job(job: Job, options: PipelineOptions, say: Callable[[str], None]) -> Submitted:
    """Submits the job to Dataflow, and does not wait for it."""
    with _place_to_work(job) as folder:
        return _submitted(job, options, _start(job, options, None, folder, say))


@contextlib.contextmanager
def _place_to_work(job: Job) -> Iterator[str]:
    with temporary_folder() as folder, _environment_first(feature_tables.root_of(job.settings.features)):
        yield folder


def _start(
    job: Job, options: PipelineOptions, workers: int | None, folder: str, say: Callable[[str], None]
) -> PipelineResult:
    options.view_as(SetupOptions).save_main_session = False  # all code is in importable modules
    runner = options.view_as(StandardOptions).runner
    threads = _threads(job, options, workers, say)
    location = options.view_as(GoogleCloudOptions).temp_location
    if dataflow.is_dataflow(options):
        dataflow.add_package(options, folder)
        dataflow.add_project(options, folder, job.given.features)
    local: dict[str, Any] = {} if runner else {"threads": threads, "staging_folder": f"{folder}/tables"}
    pipeline = pipeline_in(folder, runner or FnApiRunner(), options)
    with Prefetch(**local).open() if threads > 1 else contextlib.nullcontext() as prefetch, labels_as_they_are():
        graphs = dataflow.scratch(options) if location else f"{folder}/graphs"
        MainJob(pipeline, job, graphs, prefetch, **local).build()
        return pipeline.run()


def _submitted(job: Job, options: PipelineOptions, result: Any) -> Submitted:
    google = options.view_as(GoogleCloudOptions)
    if not getattr(result, "has_job", False):  # for --template_location and --dry_run
        return Submitted(google.job_name, None, google.template_location, job.output)
    return Submitted(google.job_name, result.job_id(), dataflow.console(options, result.job_id()), job.output)


def _wait(submitted: Submitted, result: PipelineResult, say: Callable[[str], None]) -> None:
    if submitted.job_id is None:
        raise UsageError(
            "--template_location and --dry_run submit no job that could be waited for; give --no-wait with them."
        )
    say(f"note: Job {submitted.name}, {submitted.job_id}: {submitted.where}")
    say("Waiting for the job")
    try:
        result.wait_until_finish()
    except DataflowRuntimeException as error:
        last = (str(error).strip().splitlines() or [""])[-1].removesuffix("Error:").strip(" ,.")
        sentence = sentence_of(error) or f"the job failed ({last}); {submitted.where} shows why."
        raise InputError(sentence) from error
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt):
            why = interruption.sentence(error).rstrip(".")
        else:
            why = f"{type(error).__name__}: {reason(error)}"
        raise StillRunning(
            f"stopped waiting ({why}), but the job goes on: {submitted.where}; "
            f"`gcloud dataflow jobs cancel {submitted.job_id}` ends it."
        ) from error


def _counters(result: PipelineResult, namespace: str) -> dict[str, int]:
    """Beam's metrics of one namespace by name, without those of failed attempts."""
    found = result.metrics().query(MetricsFilter().with_namespace(namespace))["counters"]
    return {counter.key.metric.name: counter.committed for counter in found}


def _threads(job: Job, options: PipelineOptions, workers: int | None, say: Callable[[str], None]) -> int:
    """How many partitions are processed at a time in this process; 1 if Beam divides the work among its workers.

    Raises:
        UsageError: if both Beam's option and ours set the number of workers.
    """
    runner = options.view_as(StandardOptions).runner
    direct = options.view_as(DirectOptions)
    if runner or direct.direct_running_mode != IN_MEMORY or direct.direct_num_workers != 1:
        if workers is not None:
            raise UsageError(
                "--workers is for a job in this process; with --runner or --direct_* options, Beam decides."
            )
        where = runner or f"{direct.direct_num_workers or os.cpu_count()} workers of Beam, {direct.direct_running_mode}"
        say(f"Running on {where}")
        return 1
    threads = workers or min(_cores(), max(job.user_partitions, job.video_partitions))
    say(f"Running in this process on {threads} thread{'s' if threads > 1 else ''}")
    return threads


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _environment_first(root: pathlib.Path | None) -> Iterator[None]:
    """Puts this environment first in PATH: Beam starts plain `python` for its workers, which has to find all code.

    Args:
        root: of the module of the feature table.
    """
    before = {name: os.environ.get(name) for name in ("PATH", "PYTHONPATH")}
    first = {"PATH": pathlib.Path(sys.executable).parent, "PYTHONPATH": root}
    for name, folder in first.items():
        if folder is not None:
            os.environ[name] = os.pathsep.join(filter(None, [str(folder), before[name]]))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
