"""Workers that die, and attempts that are repeated or run side by side, leave the output that one attempt makes."""

import datetime
import pathlib
import threading
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from compared_outputs import assert_same_output, counted, files_below
from conftest import Ran

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.beam_pipelines import finish
from recsys_tft.beam_pipelines.pairs import ForEachPair
from recsys_tft.beam_pipelines.prefetch import TakeResults
from recsys_tft.configuration.settings import parse
from recsys_tft.run_layout.output import REPLACED, Output
from recsys_tft.storage.files import write_file, write_text
from recsys_tft.storage.version_folders import CURRENT, VERSIONS


class Attempts:
    """Makes Beam's local runner attempt each bundle three times, as a cluster does whose workers die.

    The first attempt dies after its first pair, having written what it makes of it; the second does all of its work,
    and dies before it can say so; the results of the third are taken.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.died = 0
        self._dying = False
        for step in (ForEachPair, TakeResults):
            monkeypatch.setattr(step, "process", self._and_die(step.process))
        monkeypatch.setattr(FnApiRunner, "_run_bundle_multiple_times_for_testing", self._attempt)

    def _and_die(self, process: Callable[..., Iterable[Any]]) -> Callable[..., Iterator[Any]]:
        def process_and_die(step: object, *arguments: Any) -> Iterator[Any]:
            yield from process(step, *arguments)
            if self._dying:
                raise RuntimeError("a worker died")

        return process_and_die

    def _attempt(self, execution: Any, bundle_manager: Any, *bundle: Any) -> None:
        for self._dying in (True, False):
            execution.state_servicer.checkpoint()
            try:
                bundle_manager.process_bundle(*bundle, dry_run=True)
            except RuntimeError as error:
                assert "a worker died" in str(error)  # noqa: PT017, as no other bundle may fail
                self.died += 1
            finally:
                execution.state_servicer.restore()
        self._dying = False


@pytest.mark.slow
def test_bundles_whose_worker_died_are_repeated_without_a_trace(
    synthetic_run: Ran, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Attempts(monkeypatch)
    config = PipelineConfig(output_dir=str(tmp_path / "out"), config=str(synthetic_run.config))
    ran = ProcessingPipeline(config).run(str(synthetic_run.raw))
    assert attempts.died > 10
    (tmp_path / "out" / "raw").symlink_to(synthetic_run.raw)
    assert files_below(tmp_path / "out").keys() == files_below(synthetic_run.root).keys()
    assert_same_output(synthetic_run.root, tmp_path / "out", *REPLACED)
    assert ran.counters == counted(ran.manifest) == counted(synthetic_run.result.manifest)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".current",
        ".versions",
        "artifacts",
        "processed_data",
        "raw",
        "rejected",
        "state",
    ]


def test_two_attempts_at_one_file_at_the_same_time_leave_one_whole_file(tmp_path: pathlib.Path) -> None:
    output = Output.at(str(tmp_path))
    path = output.staged("processed_data", "users", "part")
    both = threading.Barrier(2)

    def attempt() -> None:
        def write(file: Any) -> None:
            file.write(b"first half, ")
            both.wait(timeout=60)  # both have begun, and neither has finished
            file.write(b"second half")

        write_file(path, write)

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = pathlib.Path(path).parent
    assert {found.name: found.read_bytes() for found in folder.iterdir()} == {"part": b"first half, second half"}


def test_an_attempt_that_dies_while_writing_leaves_nothing_in_the_output(tmp_path: pathlib.Path) -> None:
    output = Output.at(str(tmp_path))
    output.begin(overwrite=False)

    def write(file: Any) -> None:
        file.write(b"half of ")
        raise RuntimeError("a worker died")

    with pytest.raises(RuntimeError, match="a worker died"):
        write_file(output.staged("processed_data", "users", "part"), write)
    write_text(output.staged("processed_data", "users", "other"), "whole")
    output.commit()
    assert files_below(tmp_path) == {"processed_data/users/other": b"whole"}


def test_an_attempt_at_the_commit_that_another_one_overtakes_takes_nothing_away(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What describes the output is empty here; the attempts at committing it are what they are in a run."""
    job = SimpleNamespace(output=Output.at(str(tmp_path)), settings=parse({"title_encoder": "none"}, "the test"))
    job.output.begin(overwrite=False)
    started = datetime.datetime(2025, 3, 1, tzinfo=datetime.UTC)
    manifest = {"run": "1f", "times": {"started": started.isoformat()}}
    attempts: list[dict[str, Any]] = []

    def overtaken(*_: object) -> dict[str, Any]:
        if not attempts:
            attempts.append({})  # the one that is at this point now
            attempts.append(finish.finish("", {}, None, job=job, started=started))
        return manifest

    monkeypatch.setattr(finish, "make_manifest", overtaken)
    monkeypatch.setattr(finish, "DATA_SETS", ())
    monkeypatch.setattr(finish, "save_graph", lambda *_: None)
    monkeypatch.setattr(finish.transform_graph, "load", lambda _: None)
    for name in ("vocabularies", "describe", "categories"):
        monkeypatch.setattr(finish.artifacts, name, lambda *_: {})
    write_text(job.output.staged("processed_data", "users", "part"), "whole")

    assert finish.finish("", {}, None, job=job, started=started) == manifest == attempts[1]
    assert finish.finish("", {}, None, job=job, started=started) == manifest  # one that is later still

    rows = {name: data for name, data in files_below(tmp_path).items() if name != "processed_data/run.json"}
    assert rows == {"processed_data/users/part": b"whole"}
    assert {path.name for path in tmp_path.iterdir()} == {*REPLACED, CURRENT, VERSIONS}
