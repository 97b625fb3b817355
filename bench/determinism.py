"""Checks that a run writes the same bytes in every running mode, with any number of workers.

    python -m bench.determinism --interactions 1000000

Runs the main job on generated tables in each local mode, and on another runner with a worker process of its own, and
compares a digest of all files; of the saved graph its variables and assets, as TensorFlow numbers functions at random.
"""

import argparse
import contextlib
import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from recsys_tft.tables import synthetic

MODES = {
    "1 thread": ("--workers=1",),
    "2 threads": ("--workers=2",),
    "4 threads": ("--workers=4",),
    "2 workers of Beam, threads": ("--direct_running_mode=multi_threading", "--direct_num_workers=2"),
    "2 workers of Beam, processes": ("--direct_running_mode=multi_processing", "--direct_num_workers=2"),
}
NOT_COMPARED = ("manifest.json", "saved_model.pb", "fingerprint.pb")


@contextlib.contextmanager
def portable_runner() -> Iterator[tuple[str, ...]]:
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


def digest(root: pathlib.Path) -> str:
    """Of the names and contents of all files."""
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name not in NOT_COMPARED:
            with path.open("rb") as file:
                found.update(f"{path.relative_to(root)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


def run(raw: pathlib.Path, output: pathlib.Path, options: tuple[str, ...]) -> tuple[float, str]:
    """Seconds of a run, and the digest of its output, which is removed."""
    command: list[str | pathlib.Path] = [
        sys.executable,
        "-m",
        "recsys_tft",
        "run",
        "--data-dir",
        raw,
        "--output-dir",
        output,
    ]
    began = time.monotonic()
    subprocess.run([*command, "--title-encoder=none", *options], check=True, stdout=subprocess.DEVNULL)
    seconds, found = time.monotonic() - began, digest(output)
    shutil.rmtree(output)
    return seconds, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, default=1_000_000)
    interactions = parser.parse_args().interactions
    with tempfile.TemporaryDirectory() as temporary, portable_runner() as portable:
        raw, output = pathlib.Path(temporary, "raw"), pathlib.Path(temporary, "output")
        sizes = {"users": max(interactions // 20, 1), "videos": max(interactions // 50, 1)}
        synthetic.write_tables(raw, **sizes, interactions=interactions)
        digests = set()
        for mode, options in {**MODES, "another runner, worker process": portable}.items():
            seconds, found = run(raw, output, options)
            digests.add(found)
            print(f"{mode:32}{seconds:7.1f} s  {found}", flush=True)
    if len(digests) > 1:
        raise SystemExit("The modes differ.")
    print("All the same.")


if __name__ == "__main__":
    main()
