"""Another runner, in other processes: the job crosses as a serialised graph, and its data over the network.

The ids of the tables are text, so that codes and what they stand for cross too.
"""

import os
import pathlib
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from compared_outputs import assert_same_output, counted, files_below
from conftest import Ran

from bench.determinism import portable_runner
from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.run_layout.output import REPLACED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def beam_args() -> Iterator[tuple[str, ...]]:
    with portable_runner() as options:
        yield options


def worker_of(pool: str) -> int:
    """The worker that the pool with these words in its command has started: a child of it."""
    commands = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text().replace("\0", " ")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        commands[int(folder.name)] = command, parent
    (found,) = (pid for pid, (_, parent) in commands.items() if pool in commands.get(parent, ("", 0))[0])
    return found


def test_a_worker_killed_while_it_writes_leaves_nothing_and_the_next_one_writes_the_same_bytes(
    texts_run: Ran, beam_args: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    config = PipelineConfig(output_dir=str(tmp_path / "out"), config=str(texts_run.config), beam_args=beam_args)
    port = beam_args[-1].rpartition(":")[2]
    killed = []

    def kill_when_it_writes() -> None:
        staged = tmp_path / "out" / ".staging" / "processed_data"
        while not any(staged.rglob("part-*")):
            time.sleep(0.01)
        killed.append(worker_of(f"worker_pool_main --service_port={port}"))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_when_it_writes, daemon=True)
    killer.start()
    with pytest.raises(RuntimeError, match="failed in state FAILED"):
        ProcessingPipeline(config).run(str(texts_run.raw))
    killer.join()
    assert killed[0] != os.getpid()
    assert not (tmp_path / "out").exists()

    ran = ProcessingPipeline(config).run(str(texts_run.raw))

    assert files_below(tmp_path / "out").keys() == {n for n in files_below(texts_run.root) if n[:4] != "raw/"}
    assert_same_output(texts_run.root, tmp_path / "out", *REPLACED)
    assert ran.counters == counted(ran.manifest) == counted(texts_run.result.manifest)
