"""What commands print fits the terminal: no name is cut, no interval breaks, and piped rows are lines."""

import fcntl
import io
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from rich.console import Console

from recsys_tft import terminal
from recsys_tft.cli import main
from recsys_tft.progress import Progress
from recsys_tft.terminal import Listing

MODELS = ("popularity of the last 14 days", "two-tower without titles")
INTERVALS = [f"0.{n}234 [.{n}01, .{n}99]" for n in range(1, 7)]
WIDTHS = (60, 80, 100, 1000)


def printed(listing: Listing, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(listing)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def metrics() -> Listing:
    listing = Listing("\nval: 1,234 users, with 95 % confidence intervals of a bootstrap over users")
    listing.add_names("model")
    listing.add_numbers(*(f"NDCG@{n}" for n in range(1, 7)))
    for model in MODELS:
        listing.add_row(model, *INTERVALS)
    return listing


@pytest.mark.parametrize("width", WIDTHS)
def test_names_and_intervals_are_whole_on_lines_that_fit(width: int) -> None:
    lines = printed(metrics(), width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert [text.count(interval) for interval in INTERVALS] == [2] * 6
    for line in lines:
        if re.search(r"0\.\d234", line):
            assert line.startswith(MODELS)
    assert text.count("NDCG@") == 6


def test_a_wide_terminal_has_one_table() -> None:
    assert len(printed(metrics(), 1000)) == 2 + 1 + len(MODELS)


def test_texts_wrap_between_words_and_not_in_them() -> None:
    words = "watched in a language that the user has never chosen before"
    listing = Listing()
    listing.add_names("video_id")
    listing.add_texts("because of")
    listing.add_row("0" * 36, words)
    lines = printed(listing, 80)
    assert len(lines) > 2
    assert "".join(line.removeprefix("0" * 36).strip() + " " for line in lines[1:]).split() == words.split()


def test_piped_rows_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert terminal.console().width > 10_000


def test_steps_stay_with_their_times_and_what_is_left_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=100, file=io.StringIO(), force_terminal=True, color_system=None)
    monkeypatch.setattr(terminal, "console", lambda: console)
    with Progress() as progress:
        progress.say("Reading")
        progress.say("Writing")
        progress.say("progress: rows, 300 of 1,000 rows (30 % of all)")
        live = progress._live
        (task,) = live.tasks
        assert task.description == "Writing: rows, 300 of 1,000 rows"
        task.start_time, task.stop_time = 0.0, 30.0
        assert live.columns[1](task).plain == "0:30, about 1:10 left"
    shown = re.sub(r"\x1b\[[0-9;?]*\w", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert re.search(r"Reading: \d+\.\d s", shown)
    assert re.search(r"Writing: \d+\.\d s", shown)


def in_terminal(arguments: list[str], columns: int) -> str:
    """What a command prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "dumb"}
    command = [sys.executable, "-m", "recsys_tft", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.STDOUT, env=environment) as process:
        os.close(theirs)
        found = bytearray()
        while True:
            try:
                found += os.read(ours, 65536)
            except OSError:  # as the other end is closed
                break
    os.close(ours)
    assert process.returncode in (0, 1), found.decode()
    return re.sub(r"\x1b\[[0-9;?]*\w", "", found.decode()).replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 100])
def test_commands_fit_a_terminal(served: pathlib.Path, columns: int) -> None:
    out = str(served)
    compared = in_terminal(["compare", out, out, "--all"], columns)
    recommended = in_terminal(["recommend", "--output-dir", out, "--time", "2025-04-01", "--explain"], columns)
    again = in_terminal(["recommend", "--output-dir", out, "--time", "2025-04-01", "--explain"], columns)
    for text in (compared, recommended):
        assert max(len(line.rstrip()) for line in text.splitlines()) <= columns
        assert "…" not in text
    assert recommended == again
    assert "user_category_affinity" in compared


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--synthetic", "--users", "many"], "--users is 'many'; expected a whole number."),
        (["run", "--synthetic", "--data-dir", "x"], "--data-dir and --synthetic exclude each other; give one of them."),
        (["run"], "one of these is missing: --data-dir or --synthetic."),
        (["run", "--synthetic", "--format", "tfrecrod"], "expected tfrecord or parquet. Did you mean 'tfrecord'?"),
        (["verify", "--rows"], "--rows needs a value."),
        (["compare", "old"], "NEW is missing."),
        (["compare", "a", "b", "--jsn"], "there is no option --jsn. Did you mean '--json'?"),
        (["compare", "a", "b", "c"], "'c' is not the value of an option."),
        (["rum"], "there is no command 'rum'. Did you mean 'run'?"),
        (["run", "--debug=3", "--synthetic"], "--debug takes no value; found '3'."),
    ],
)
def test_wrong_arguments_are_a_sentence_of_ours(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert sentence in error
    assert "usage:" not in error
    assert len(error.splitlines()) == 1
