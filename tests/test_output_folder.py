"""The output folder: whole or as it was, whatever fails or is killed."""

import errno
import hashlib
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from workspace import NO_TITLES, Fails, Workspace, good_rows, succeeds

from recsys_tft.cli import main
from recsys_tft.errors import InputError
from recsys_tft.run_layout.output import REPLACED, Output

# --- The output folder


def test_an_output_that_exists_is_replaced_only_when_told_to(workspace: Workspace, fails: Fails) -> None:
    assert fails(arguments=workspace.arguments()) == (
        f"{workspace.out}/processed_data exists already; give --overwrite to replace the output there."
    )


def test_raw_tables_of_ones_own_are_not_replaced_by_synthetic_ones(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in REPLACED:
        (workspace.out / name / "below" / "file").unlink()
        (workspace.out / name / "below").rmdir()
        (workspace.out / name).rmdir()
    workspace.data.rename(workspace.out / "raw")
    before = workspace.state()
    sizes = ["--users", "20", "--videos", "20", "--interactions", "300"]
    assert main(["run", "--synthetic", "--output-dir", str(workspace.out), *NO_TITLES, *sizes]) == 1
    assert capfd.readouterr().err == (
        f"error: {workspace.out}/raw exists already; give --overwrite to replace the output there.\n"
    )
    assert workspace.state() == before


@pytest.mark.parametrize("below", ["", "/deeper/out"])
def test_an_output_folder_that_cannot_be_written_is_named(
    workspace: Workspace, capfd: pytest.CaptureFixture[str], below: str
) -> None:
    (workspace.folder / "file").write_text("in the way")
    out = f"{workspace.folder}/file{below}"
    assert main(["run", "--data-dir", str(workspace.data), "--output-dir", out, *NO_TITLES, "--overwrite"]) == 1
    assert re.fullmatch(rf"error: {workspace.folder}/file\S*: cannot write there \(.+\)\.\n", capfd.readouterr().err)
    assert (workspace.folder / "file").read_text() == "in the way"


@pytest.mark.slow
def test_a_killed_run_leaves_the_previous_output_and_the_next_one_succeeds_on_one_user_alone(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    before = workspace.state()
    staged = workspace.out / ".staging" / "processed_data"
    command = [sys.executable, "-m", "recsys_tft", *workspace.arguments("--overwrite")]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and not any(staged.rglob("part-*")):
        time.sleep(0.002)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    assert any(staged.rglob("part-*"))
    kept = {name: digest for name, digest in workspace.state().items() if not name.startswith(".")}
    assert kept == before
    workspace.write("users", good_rows()["users"][:1])
    workspace.write("interactions", [row for row in good_rows()["interactions"] if row["user_id"] == 1])

    counts = succeeds(workspace, capfd)["counts"]

    assert counts["written/users"] == 1
    assert counts["exposures/train/positive"] == 8
    assert not before.keys() & workspace.state().keys()


@pytest.fixture
def staged_output(workspace: Workspace) -> Output:
    """A new output that is whole, but not yet in the place of the previous one."""
    output = Output.at(str(workspace.out))
    output.begin(overwrite=True)
    for name in REPLACED:
        (pathlib.Path(output.staged(name)) / "new").write_text(f"the new {name}")
    return output


NEW = {f"{name}/new": hashlib.sha256(f"the new {name}".encode()).hexdigest() for name in REPLACED}


@pytest.mark.parametrize("number", range(2))  # links in the place of folders, and the step that is seen
def test_a_commit_that_fails_leaves_the_previous_output_and_the_next_run_works(
    workspace: Workspace, staged_output: Output, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    before = {name: digest for name, digest in workspace.state().items() if not name.startswith(".")}
    rename, calls = pathlib.Path.rename, []

    def failing(path: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        calls.append(path)
        if len(calls) == number + 1:
            raise OSError(errno.ENOSPC, "no space left")
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "rename", failing)
        with pytest.raises(OSError, match="no space left"):
            staged_output.commit()
        staged_output.discard()  # as a run that fails does
    assert workspace.state() == before
    with pytest.raises(InputError, match="exists already"):
        staged_output.begin(overwrite=False)
    staged_output.begin(overwrite=True)
    for name in REPLACED:
        (pathlib.Path(staged_output.staged(name)) / "new").write_text(f"the new {name}")
    staged_output.commit()
    assert workspace.state() == NEW


def test_a_run_that_fails_before_it_is_whole_leaves_the_previous_output(
    workspace: Workspace, staged_output: Output
) -> None:
    staged_output.discard()
    assert {path.name for path in workspace.out.iterdir()} == set(REPLACED)
    assert {name.split("/", 1)[1] for name in workspace.state()} == {"below/file"}
