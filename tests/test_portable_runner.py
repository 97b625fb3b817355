"""Another runner, in other processes: the job crosses as a serialised graph, and its data over the network."""

import pathlib
from collections.abc import Iterator

import pytest
from conftest import Ran
from test_counts import counted
from test_determinism import files_below

from bench.determinism import portable_runner
from recsys_tft import PipelineConfig, ProcessingPipeline


@pytest.fixture(scope="module")
def beam_args() -> Iterator[tuple[str, ...]]:
    with portable_runner() as options:
        yield options


def test_a_separate_worker_process_writes_the_same_bytes(
    synthetic_run: Ran, beam_args: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    config = PipelineConfig(output_dir=str(tmp_path / "out"), config=str(synthetic_run.config), beam_args=beam_args)
    ran = ProcessingPipeline(config).run(str(synthetic_run.raw))
    expected = {name: data for name, data in files_below(synthetic_run.root).items() if not name.startswith("raw/")}
    assert files_below(tmp_path / "out") == expected
    assert ran.counters == counted(ran.manifest) == counted(synthetic_run.result.manifest)
