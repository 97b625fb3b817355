"""SIGTERM and Ctrl-C: one sentence, the right exit code, the output as it was, and nothing left in TMPDIR."""

import argparse
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

import catboost
import pytest
from workspace import Workspace

from recsys_tft import cli, interruption
from recsys_tft.errors import StillRunning
from recsys_tft.faults import is_interrupt
from recsys_tft.processing import ProcessingPipeline
from recsys_tft.run_layout.output import REPLACED
from recsys_tft.storage.temporary import PREFIX, temporary_folder

Prints = pytest.CaptureFixture[str]


def ends_by(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Puts an act in the place of a command without arguments."""

    def command(_: argparse.Namespace, __: Sequence[str]) -> int:
        act()
        return 0

    monkeypatch.setattr(cli, "features", command)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_sigterm_ends_a_command_with_a_sentence_and_143(monkeypatch: pytest.MonkeyPatch, capsys: Prints) -> None:
    ends_by(monkeypatch, terminate)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["features"]) == 143
    assert capsys.readouterr().err == "error: ended by SIGTERM.\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Prints) -> None:
    ends_by(monkeypatch, interrupt)
    assert cli.main(["features"]) == 1
    assert capsys.readouterr().err == "error: interrupted.\n"


def test_sigterm_that_a_library_makes_ctrl_c_of_is_told_as_what_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: Prints
) -> None:
    def act() -> None:
        try:
            terminate()
        except KeyboardInterrupt:
            other = KeyboardInterrupt("training was interrupted")
            other.add_note("--resume goes on")
            raise other from None

    ends_by(monkeypatch, act)
    assert cli.main(["features"]) == 143
    assert capsys.readouterr().err == "error: ended by SIGTERM; --resume goes on.\n"


def test_ctrl_c_that_catboost_wraps_is_known() -> None:
    assert is_interrupt(catboost.CatBoostError("File _catboost.pyx, line 9\nKeyboardInterrupt: "))
    assert not is_interrupt(catboost.CatBoostError("All features are either constant or ignored."))


def test_a_second_sigterm_does_not_interrupt_the_cleaning_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[bool] = []

    def act() -> None:
        try:
            terminate()
        finally:
            terminate()
            cleaned.append(True)

    ends_by(monkeypatch, act)
    assert cli.main(["features"]) == 143
    assert cleaned


def test_a_job_that_goes_on_elsewhere_is_said_to_and_ends_with_143(
    monkeypatch: pytest.MonkeyPatch, capsys: Prints
) -> None:
    def act() -> None:
        try:
            terminate()
        except KeyboardInterrupt as error:
            raise StillRunning("stopped waiting, but the job goes on.") from error

    ends_by(monkeypatch, act)
    assert cli.main(["features"]) == 143
    assert capsys.readouterr().err == "error: stopped waiting, but the job goes on.\n"


@pytest.mark.parametrize(("act", "code", "how"), [(terminate, 143, "ended by SIGTERM"), (interrupt, 1, "interrupted")])
def test_an_interrupted_run_leaves_the_output_as_it_was_and_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: Prints, act: Callable[[], None], code: int, how: str
) -> None:
    monkeypatch.setattr(ProcessingPipeline, "_run", lambda *_: act())
    before = workspace.state()
    assert cli.main(workspace.arguments("--overwrite")) == code
    assert capsys.readouterr().err == f"error: {how}; the output is unchanged.\n"
    assert workspace.state() == before
    assert sorted(path.name for path in workspace.out.iterdir()) == sorted(REPLACED)


def test_a_run_that_is_interrupted_after_its_commit_does_not_say_that_nothing_changed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: Prints
) -> None:
    def commit(pipeline: ProcessingPipeline, *_: object) -> None:
        pipeline._output.commit()
        interrupt()

    monkeypatch.setattr(ProcessingPipeline, "_run", commit)
    assert cli.main(workspace.arguments("--overwrite")) == 1
    assert capsys.readouterr().err == "error: interrupted.\n"


def test_sigterm_outside_the_main_thread_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    script = (
        "import threading, signal; from recsys_tft import interruption\n"
        "def act():\n"
        "    with interruption.ending_on_sigterm(): pass\n"
        "thread = threading.Thread(target=act); thread.start(); thread.join()"
    )
    assert subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stderr == b""
    assert signal.getsignal(signal.SIGTERM) == before


# --- Temporary folders

KILLED = """
import os, pathlib, signal, sys
from recsys_tft.storage.temporary import temporary_folder
with temporary_folder(sys.argv[1]) as folder:
    pathlib.Path(folder, "spilled").write_text("rows")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_and_a_living_one_keeps_its_own(
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "other").mkdir()
    with temporary_folder(tmp_path) as living:
        assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == -signal.SIGKILL
        assert len(list(tmp_path.iterdir())) == 3
        with temporary_folder(tmp_path) as later:
            assert {path.name for path in tmp_path.iterdir()} == {
                "other",
                pathlib.Path(living).name,
                pathlib.Path(later).name,
            }
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("locked", [False, True])
def test_a_new_folder_that_another_process_takes_for_a_left_one_is_made_again(
    locked: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made, held = tempfile.mkdtemp, [], []

    def taken_once(**options: object) -> str:
        made.append(make(**options))
        if len(made) == 1 and locked:  # it is about to be removed
            held.append(os.open(made[0], os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_EX)
        elif len(made) == 1:
            pathlib.Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken_once)
    with temporary_folder(tmp_path) as folder:
        assert folder == made[1]
    for opened in held:
        os.close(opened)


def test_a_link_of_that_name_is_not_followed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("precious")
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "precious")
    with temporary_folder(tmp_path):
        pass
    assert (tmp_path / "precious" / "file").read_text() == "precious"


def test_brackets_in_a_prefix_are_no_pattern(tmp_path: pathlib.Path) -> None:
    (tmp_path / ".x-left").mkdir()
    with temporary_folder(tmp_path, ".[x]-") as folder:
        assert pathlib.Path(folder).name.startswith(".[x]-")
    assert [path.name for path in tmp_path.iterdir()] == [".x-left"]


def test_the_exit_code_is_that_of_shells() -> None:
    assert interruption.EXIT_CODE == 143
