"""Another runner, in other processes: the job crosses as a serialised graph, and its data over the network."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from conftest import Ran
from test_determinism import files_below

from recsys_tft import PipelineConfig, ProcessingPipeline


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _serving(port: int, *command: str) -> Iterator[None]:
    """A process that listens on `port`."""
    folder = str(pathlib.Path(sys.executable).parent)
    path = {**os.environ, "PATH": os.pathsep.join([folder, os.environ["PATH"]])}
    process = subprocess.Popen([sys.executable, "-m", *command], env=path, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
                break
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def beam_args() -> Iterator[tuple[str, ...]]:
    """Options for a job server and a pool of workers, each a process of its own."""
    jobs, workers = _free_port(), _free_port()
    server = ("apache_beam.runners.portability.local_job_service_main", "-p", str(jobs))
    pool = ("apache_beam.runners.worker.worker_pool_main", f"--service_port={workers}")
    with _serving(jobs, *server), _serving(workers, *pool):
        yield (
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{jobs}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{workers}",
        )


def test_a_separate_worker_process_writes_the_same_bytes(
    synthetic_run: Ran, beam_args: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    config = PipelineConfig(output_dir=str(tmp_path / "out"), config=str(synthetic_run.config), beam_args=beam_args)
    ProcessingPipeline(config).run(str(synthetic_run.raw))
    expected = {name: data for name, data in files_below(synthetic_run.root).items() if not name.startswith("raw/")}
    assert files_below(tmp_path / "out") == expected
