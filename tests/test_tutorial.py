"""The tutorial runs as it stands."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

TUTORIAL = (pathlib.Path(__file__).parent.parent / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE)
COMMANDS = [line for language, block in BLOCKS if not language for line in block.splitlines()]
PYTHON = [block for language, block in BLOCKS if language == "python"]


# All in one process, since what takes long is to load TensorFlow and Beam.
PROGRAM = """
import contextlib, io, json, shlex, subprocess, sys
from recsys_tft.cli import main

commands, code = json.load(sys.stdin)
printed = {}
for command in commands:
    name, *arguments = shlex.split(command)
    if name != "recsys-tft":
        subprocess.run(command, shell=True, check=True)
        continue
    if arguments[0] == "run":
        arguments += ["--title-encoder", "none", "--interactions", "4000", "--users", "200", "--videos", "200"]
    with contextlib.redirect_stdout(io.StringIO()) as printed[command]:
        assert main(arguments) == 0, command
with contextlib.redirect_stdout(io.StringIO()) as printed["python"]:
    exec(code, {})
json.dump({command: text.getvalue() for command, text in printed.items()}, sys.stdout)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command printed, all run in one folder by this checkout; titles are not encoded."""
    folder, given = tmp_path_factory.mktemp("tutorial"), json.dumps([COMMANDS, PYTHON[0]])
    program = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(program, input=given, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert not run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
def test_five_commands_lead_to_both_models(done: dict[str, str]) -> None:
    assert sum(command.startswith("recsys-tft") for command in COMMANDS) + len(PYTHON) == 5
    two_tower, ranker, other = (done[command] for command in COMMANDS if " train " in command)
    for printed, names in ((two_tower, ("item-kNN", "popularity", "random")), (ranker, ("popularity", "constant"))):
        for split in ("val", "test"):
            assert re.search(rf"^{split}: .* users, with 95 % confidence intervals", printed, re.MULTILINE)
        for name in names:
            assert re.search(rf"^{name} +0\.\d{{4}} \[", printed, re.MULTILINE)
    assert re.search(r"^ranker .* - ", other, re.MULTILINE)  # a ranking has no log loss


@pytest.mark.slow
def test_the_python_part_opens_both_models(done: dict[str, str]) -> None:
    assert done["python"].splitlines()[-1] == "True"


def test_every_command_of_real_data_names_what_exists() -> None:
    (block,) = (block for language, block in BLOCKS if language == "sh")
    root = pathlib.Path(__file__).parent.parent
    for name in re.findall(r"configs/\S+", block):
        assert (root / name).is_file()
