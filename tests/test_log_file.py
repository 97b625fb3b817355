"""`--log-file`, and what reaches the terminal of who uses the package from Python."""

import logging
import os
import pathlib
import re
import subprocess
import sys
import warnings

import pytest

from recsys_tft import libraries
from recsys_tft.cli import main
from recsys_tft.commands.log_file import logging_to

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (INFO|WARNING|ERROR) +\S+: ")


def test_a_log_has_what_libraries_say_and_leaves_logging_as_it_was(tmp_path: pathlib.Path) -> None:
    path, root = tmp_path / "run.log", logging.getLogger()
    before = (root.level, list(root.handlers), root.manager.disable)
    with warnings.catch_warnings(), logging_to(str(path), ["run", "--synthetic"]):
        logging.getLogger("some.library").warning("a library's own words")
        logging.getLogger("some.library").warning("from https://user:hush@host/model")
        warnings.warn("it is old", DeprecationWarning, stacklevel=1)
        with libraries.quietly():
            os.write(2, b"I0000 C++ code\n")
    lines = path.read_text().splitlines()
    assert all(LINE.match(line) for line in (lines[0], lines[1], lines[-1]))
    text = path.read_text()
    assert "hush" not in text
    for told in ("recsys-tft run --synthetic", "some.library: a library's own words", "it is old", "C++ code", "Ended"):
        assert told in text
    assert (root.level, list(root.handlers), root.manager.disable) == before


def test_a_command_logs_its_error_with_its_place(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "verify.log"
    assert main(["verify", "--output-dir", str(tmp_path / "none"), "--log-file", str(path)]) == 1
    error = capsys.readouterr().err.removeprefix("error: ").strip()
    text = path.read_text()
    assert f"ERROR   recsys_tft: {error}" in text
    assert "Traceback" in text


def test_a_log_that_cannot_be_written_is_a_sentence(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "none" / "run.log")
    assert main(["features", "--log-file", path]) == 2
    assert capsys.readouterr().err.startswith(f"error: --log-file is {path}, which cannot be written: ")


SNIPPET = """
import logging, os, sys
root = logging.getLogger()
before = (root.level, list(root.handlers), root.manager.disable, dict(os.environ))
from recsys_tft import PipelineConfig, ProcessingPipeline
config = PipelineConfig(output_dir=sys.argv[1], title_encoder="none")
result = ProcessingPipeline(pipeline_config=config).run_synthetic(num_users=20, num_videos=12, num_interactions=120)
rows = sum(len(batch["label"]) for batch in result["ranker_train"].dataset())
now = (root.level, list(root.handlers), root.manager.disable, dict(os.environ))
print(rows > 0, *(a == b for a, b in zip(before[:3], now)), os.environ.get("TF_CPP_MIN_LOG_LEVEL"))
"""


@pytest.mark.slow
def test_from_python_nothing_is_printed_and_logging_is_the_users_own(tmp_path: pathlib.Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != libraries._LEVEL}
    command = [sys.executable, "-c", SNIPPET, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stderr == ""
    assert done.stdout.split() == ["True"] * 4 + ["None"]
