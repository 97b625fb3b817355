"""The command itself: help, wrong arguments, and errors in one sentence."""

import subprocess
import sys

import pytest
from workspace import Workspace

from recsys_tft.cli import main
from recsys_tft.errors import InputError

# --- The command itself


@pytest.mark.parametrize("command", [[], ["run"], ["dataset"], ["features"]])
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert "example:\n  recsys-tft " in printed


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rum"],
        ["run"],
        ["run", "--synthetic", "--data-dir", "x"],
        ["features", "--users", "3"],
        ["dataset", "imdb"],
    ],
)
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("code", ["import recsys_tft", "from recsys_tft.cli import main; main(['run', '--help'])"])
def test_importing_the_package_and_asking_for_help_load_no_heavy_library(code: str) -> None:
    heavy = "{'tensorflow', 'apache_beam', 'catboost', 'keras', 'polars'}"
    program = f"import atexit, sys\natexit.register(lambda: print('loaded', {heavy} & sys.modules.keys()))\n{code}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "loaded set()"


def test_an_error_is_one_sentence_also_in_a_process_of_its_own(workspace: Workspace) -> None:
    config = workspace.config("sede: 1")
    command = [sys.executable, "-m", "recsys_tft", *workspace.arguments("--config", config)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == f"error: {config}: unknown setting 'sede'. Did you mean 'seed'?\n"


def test_debug_shows_where_an_error_comes_from(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="exists already"):
        main(workspace.arguments("--debug"))


@pytest.mark.parametrize(
    "command", [["train", "two-tower"], ["train", "ranker"], ["export"], ["verify"], ["recommend"], ["similar"]]
)
def test_what_needs_a_local_run_says_so(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    title = ["--title", "x"] if command == ["similar"] else []
    assert main([*command, *title, "--output-dir", "gs://bucket/out"]) == 1
    said = "error: gs://bucket/out: only the main job supports this filesystem; copy its output into a local folder.\n"
    assert capsys.readouterr().err == said


def test_a_ranker_has_nothing_to_go_on_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ranker", "--from-scratch"]) == 2
    error = "error: --from-scratch is for two-tower; a ranker always starts from scratch.\n"
    assert capsys.readouterr().err == error
